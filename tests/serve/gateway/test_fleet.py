from collections.abc import Callable

import msgspec
import pytest
from tests.serve.gateway.openai_worker import member

from triskele.serve.cache import hash_key
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.health import Fault
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.pool import Pool
from triskele.serve.routing import LearnedGreedy, Request, Router
from triskele.serve.routing.named import Policy


def lbgr() -> Router:
    return LearnedGreedy(page_size=16)


def round_robin() -> Router:
    return Policy("round-robin", "lru").route(0, page_size=16)


class Changes:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self) -> None:
        self.n += 1


def listing(
    *served: tuple[str, str],
    make: Callable[[], Router] = lbgr,
    changed: Callable[[], None] = lambda: None,
) -> Fleet:
    """Return a fleet of ready workers, given as name and models, a letter each."""
    fleet = Fleet(make, changed)
    for name, models in served:
        join(fleet, name, models)
    return fleet


def join(fleet: Fleet, name: str, models: str) -> Member:
    made = member(name)
    fleet.add(made)
    says(fleet, made, models)
    made.health.checked(True, 0.0)
    fleet.look(made)
    return made


def says(fleet: Fleet, made: Member, models: str, n_pages: int | None = None) -> None:
    catalogue = {model: msgspec.Raw(f'{{"id":"{model}"}}'.encode()) for model in models}
    fleet.describe(made, catalogue, n_pages)


def pool(fleet: Fleet, model: str) -> Pool:
    found = fleet.pool(model)
    assert found is not None
    return found


def names(pool: Pool) -> set[str]:
    return {each.name for each in pool.members}


def request(number: int) -> Request:
    return Request(number, hash_key([number]), n_prompt=20)


def test_workers_that_have_a_model_in_common_are_one_pool() -> None:
    fleet = listing(("a", "x"), ("b", "y"), ("c", "yz"), ("d", "z"), ("e", "w"))
    assert sorted(map(sorted, map(names, fleet.pools))) == [["a"], ["b", "c", "d"], ["e"]]
    assert fleet.pool("y") is fleet.pool("z")
    assert fleet.pool("x") is not fleet.pool("y")
    assert fleet.pool("q") is None
    assert fleet.n_usable == 5
    assert list(fleet.models()) == ["x", "y", "z", "w"]


def test_who_says_nothing_is_in_no_pool() -> None:
    fleet = Fleet(lbgr, Changes())
    fleet.add(member("a"))
    assert fleet.pools == ()
    assert fleet.n_usable == 0
    assert len(fleet) == 1


def test_a_worker_that_joins_a_pool_finds_its_router() -> None:
    fleet = listing(("a", "x"))
    router = pool(fleet, "x").router
    join(fleet, "b", "x")
    assert pool(fleet, "x").router is router
    assert names(pool(fleet, "x")) == {"a", "b"}


def test_pools_that_merge_keep_the_router_of_the_first() -> None:
    fleet = listing(("a", "x"), ("b", "y"))
    first = pool(fleet, "x").router
    join(fleet, "c", "xy")
    assert pool(fleet, "x") is pool(fleet, "y")
    assert pool(fleet, "x").router is first


def test_of_a_pool_that_splits_one_part_keeps_the_router() -> None:
    fleet = listing(("a", "x"), ("b", "y"), ("c", "xy"))
    router = pool(fleet, "x").router
    fleet.remove("c")
    assert pool(fleet, "x").router is router
    assert pool(fleet, "y").router is not router


def test_a_pool_whose_models_stay_keeps_its_router_when_others_change_theirs() -> None:
    fleet = listing(("a", "x"), ("b", "y"))
    of_y = pool(fleet, "y").router
    says(fleet, next(iter(fleet)), "y")
    assert fleet.pool("x") is None
    assert names(pool(fleet, "y")) == {"a", "b"}
    assert pool(fleet, "y").router is of_y, "not that of x, which nobody serves now"


def test_a_catalogue_is_the_first_that_anybody_gave_of_a_model() -> None:
    fleet = listing(("a", "x"))
    other = join(fleet, "b", "x")
    fleet.describe(other, {"x": msgspec.Raw(b'{"id":"x","by":"b"}')}, None)
    assert bytes(fleet.models()["x"]) == b'{"id":"x"}'
    fleet.remove("a")
    assert bytes(fleet.models()["x"]) == b'{"id":"x","by":"b"}'


def test_routers_hear_of_a_caches_capacity() -> None:
    fleet = listing(("a", "x"))
    says(fleet, next(iter(fleet)), "x", 512)
    assert [worker.n_pages for worker in pool(fleet, "x").offered] == [512]


def test_a_name_or_an_address_is_listed_once() -> None:
    fleet = listing(("a", "x"))
    with pytest.raises(ValueError, match="a worker of the name 'a' is listed already"):
        fleet.add(member("a", port=2))
    for other in ("a", "A"):
        twin = member(other)
        twin.name = "twin"
        with pytest.raises(ValueError, match="is listed already"):
            fleet.add(twin)
    assert len(fleet) == 1


def test_a_port_that_goes_without_saying_is_the_same_address() -> None:
    fleet = Fleet(lbgr, Changes())
    fleet.add(member("a", port=80))
    twin = member("twin")
    twin.origin.url = "http://a.local"
    with pytest.raises(ValueError, match=r"http://a\.local is listed already"):
        fleet.add(twin)


def test_a_worker_that_is_removed_is_gone_for_good() -> None:
    fleet = listing(("a", "x"), ("b", "x"))
    removed = fleet.remove("a")
    assert fleet.get("a") is None
    assert names(pool(fleet, "x")) == {"b"}
    says(fleet, removed, "xyz")
    assert fleet.pool("z") is None, "a check that was under way changes nothing"
    with pytest.raises(KeyError):
        fleet.remove("a")


def test_changes_are_told() -> None:
    changes = Changes()
    fleet = listing(("a", "x"), changed=changes)
    before = changes.n
    made = next(iter(fleet))
    fleet.look(made)
    assert changes.n == before, "nothing has changed"
    made.health.drain(1.0)
    fleet.look(made)
    assert changes.n == before + 1
    assert fleet.n_usable == 0


class Exchange:
    def __init__(self) -> None:
        self.is_abandoned = False

    def abandon(self) -> None:
        self.is_abandoned = True


def test_what_a_worker_has_that_goes_down_is_given_up() -> None:
    fleet = listing(("a", "x"), ("b", "x"))
    a, b = fleet
    exchanges = Exchange(), Exchange()
    a.exchanges.add(exchanges[0])
    b.exchanges.add(exchanges[1])
    fleet.failed(a, a.health.sent(), Fault.REFUSED, 1.0, "no connection")
    assert [each.is_abandoned for each in exchanges] == [True, False]
    assert a.tally.n_failures == 1
    assert pool(fleet, "x").offered == (b.worker,)


def test_another_policy_is_used_from_now_on_by_pools_to_come_too() -> None:
    fleet = listing(("a", "x"))
    fleet.use(round_robin)
    assert type(pool(fleet, "x").router) is type(round_robin())
    join(fleet, "b", "y")
    assert type(pool(fleet, "y").router) is type(round_robin())


def test_what_was_learned_is_returned_by_the_models_of_the_pools() -> None:
    fleet = listing(("a", "x"), ("b", "yz"))
    pool(fleet, "x").choose(request(1), 0.0)
    memories = fleet.memories()
    assert [models for models, _ in memories] == [{"x"}, {"y", "z"}]
    assert memories[0][1]["workers"] == ["a"]
    assert memories[0][1]["caches"]
    assert fleet.memories(caches=False)[0][1]["caches"] == {}


def test_what_is_remembered_goes_to_the_pool_of_its_models() -> None:
    fleet = listing(("a", "x"), ("b", "y"))
    for model in "xy":
        pool(fleet, model).choose(request(1), 0.0)
    again = Fleet(lbgr, Changes())
    again.remember(fleet.memories())
    join(again, "b", "y")
    assert pool(again, "y").memory is not None
    pool(again, "y").choose(request(2), 5.0)
    state = dict(again.memories())
    assert state[frozenset("y")]["workers"] == ["b"]
    assert state[frozenset("x")]["workers"] == ["a"], "nobody serves it yet: it is kept"


def test_what_nobody_has_taken_up_yet_is_not_lost() -> None:
    fleet = listing(("a", "x"))
    pool(fleet, "x").choose(request(1), 0.0)
    first = fleet.memories()
    for _ in range(3):
        fleet = Fleet(lbgr, Changes())
        fleet.remember(first)
        assert fleet.memories() == first, "no worker is there"
        join(fleet, "a", "x")
        assert fleet.memories() == first, "no request has come"
        join(fleet, "b", "x")
        assert fleet.memories() == first


def test_what_one_policy_learned_is_not_told_to_another() -> None:
    fleet = listing(("a", "x"))
    pool(fleet, "x").choose(request(1), 0.0)
    again = Fleet(lbgr, Changes())
    again.remember([*fleet.memories(), (frozenset("q"), {})])
    join(again, "a", "x")
    again.use(round_robin)
    assert again.memories() == []
    again.use(lbgr)
    assert pool(again, "x").memory is None
