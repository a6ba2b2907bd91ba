import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.serve.gateway.openai_worker import member

from triskele.serve.cache import hash_key
from triskele.serve.gateway.health import Fault
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.pool import Pool
from triskele.serve.routing import LearnedGreedy, Outcome, Phase, Request, Router, Worker
from triskele.serve.routing.named import ROUTERS, Policy

LONG = Request(7, hash_key(list(range(500, 600))), n_prompt=1600)


def serving(name: str, *models: str, is_ready: bool = True) -> Member:
    made = member(name)
    made.models = frozenset(models)
    made.catalogue = {model: msgspec.Raw(b"{}") for model in models}
    if is_ready:
        made.health.checked(True, 0.0)
    return made


def suspect(made: Member) -> None:
    made.health.checked(False, 1.0)


def down(made: Member) -> None:
    made.health.failed(made.health.sent(), Fault.REFUSED, 1.0)


def lbgr() -> Router:
    return LearnedGreedy(page_size=16)


def pool_of(*members: Member, router: Router | None = None) -> Pool:
    return Pool(list(members), router or lbgr(), lbgr)


def request(number: int, avoid: tuple[str, ...] = ()) -> Request:
    return Request(number, hash_key([number]), n_prompt=20, avoid=avoid)


def test_only_ready_workers_are_offered() -> None:
    new, good, gone = (
        serving("new", "m", is_ready=False),
        serving("good", "m"),
        serving("gone", "m"),
    )
    down(gone)
    pool = pool_of(new, good, gone)
    assert pool.offered == (good.worker,)
    assert pool.n_usable("m") == 1
    assert pool.avoided("m") == ()


def test_the_same_tuple_is_offered_until_something_changes() -> None:
    a, b = serving("a", "m"), serving("b", "m")
    pool = pool_of(a, b)
    before = pool.offered
    pool.refresh()
    assert pool.offered is before


def test_who_is_suspected_is_a_last_resort() -> None:
    a, b = serving("a", "m"), serving("b", "m")
    suspect(a)
    pool = pool_of(a, b)
    assert pool.offered == (b.worker,)
    suspect(b)
    pool.refresh()
    assert pool.offered == (a.worker, b.worker)
    down(a)
    pool.refresh()
    assert pool.offered == (b.worker,)


def test_who_is_suspected_is_a_last_resort_for_each_model() -> None:
    only, other, both = serving("only", "x"), serving("other", "y"), serving("both", "x", "y")
    suspect(only)
    pool = pool_of(only, other, both)
    assert pool.offered == (other.worker, both.worker)
    down(both)
    pool.refresh()
    assert pool.n_usable("x") == pool.n_usable("y") == 1
    assert pool.avoided("x") == ("other",)
    assert pool.avoided("y") == ("only",)
    suspect(other)
    third = serving("third", "y")
    pool = pool_of(only, other, third)
    assert pool.n_usable("x") == 1, "suspected, but nobody else has it"
    assert pool.n_usable("y") == 1, "somebody has it who is well"


@pytest.mark.parametrize("policy", ROUTERS)
def test_a_request_goes_only_to_who_has_its_model(policy: str) -> None:
    members = [serving("x", "x"), serving("y", "y"), serving("xy", "x", "y")]
    make = Policy(policy, "lru").route(0, page_size=16)
    pool = pool_of(*members, router=make)
    for number in range(60):
        model = "xy"[number % 2]
        chosen = pool.choose(request(number, pool.avoided(model)), number / 10)
        assert model in chosen.models
        # Also when all who have it have failed at it: they may be well again.
        again = pool.avoided(model, [name for name in ("x", "y", "xy") if model in name])
        assert model in pool.choose(request(1000 + number, again), number / 10).models


def test_who_has_failed_at_a_request_is_avoided_while_another_has_the_model() -> None:
    pool = pool_of(serving("a", "m"), serving("b", "m"), serving("c", "n"))
    assert set(pool.avoided("m", ["a"])) == {"a", "c"}
    assert set(pool.avoided("m", ["a", "b"])) == {"c"}


def test_a_returned_worker_gets_one_request_until_that_has_gone_well() -> None:
    a, b = serving("a", "m"), serving("b", "m")
    down(a)
    pool = pool_of(a, b)
    a.health.checked(True, 2.0)
    pool.refresh()
    assert set(pool.offered) == {a.worker, b.worker}
    assert pool.avoided("m") == ()
    ticket = a.health.sent()
    assert pool.avoided("m") == ("a",)
    a.health.succeeded(ticket, 3.0)
    pool.refresh()
    assert pool.avoided("m") == ()


def test_a_trial_keeps_no_request_from_the_only_worker() -> None:
    a, other = serving("a", "m"), serving("other", "n")
    down(a)
    pool = pool_of(a, other)
    a.health.checked(True, 2.0)
    pool.refresh()
    a.health.sent()
    assert pool.avoided("m") == ("other",), "a again, rather than one without the model"


def test_predictions_are_the_routers_if_it_makes_any() -> None:
    pool = pool_of(serving("a", "m"))
    pool.choose(request(1), 0.0)
    predicted = pool.predicted(1)
    assert predicted is not None
    assert predicted[0] <= predicted[1]
    pool.route(Policy("random", "lru").route(0, page_size=16))
    pool.choose(request(2), 0.0)
    assert pool.predicted(2) is None


def learned() -> dict[str, Any]:
    """Return what a router knows that has sent a long prompt to b."""
    router = LearnedGreedy(page_size=16)
    for number in range(20):
        router.choose(LONG, (Worker("b"),), float(number))
        for phase, latency in ((Phase.FIRST_TOKEN, 0.5), (Phase.FINISHED, 0.6)):
            router.observe(Outcome(7, "b", phase, latency, n_output=2), number + latency)
    return msgspec.json.decode(msgspec.json.encode(router.state()))


def test_what_was_learned_is_taken_up_with_the_first_choice() -> None:
    pool = pool_of(serving("a", "m"), serving("b", "m"))
    pool.memory = learned()
    router = pool.router
    assert pool.choose(LONG, 30.0).name == "b"
    assert pool_of(*pool.members).choose(LONG, 30.0).name == "a", "who knows nothing"
    assert pool.memory is None
    assert pool.router is router


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"page_size": 16},
        {"page_size": 64},
        {"workers": 3},
        {"model": None},
        {"model": {}},
        {"lengths": [1]},
        {"demand": {"a": "b"}},
        {"turns": ["x"]},
        {"turns": [1, 2, 3]},
        {"caches": []},
        {"caches": {"0": ["zz"]}},
        {"caches": {"x": []}},
    ],
)
def test_what_cannot_be_taken_up_is_told_and_harms_nobody(
    broken: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    pool = pool_of(serving("a", "m"), serving("b", "m"))
    pool.memory = learned() | broken if len(broken) == 1 else broken
    if broken == {"page_size": 16}:
        pool.memory = broken
    with caplog.at_level(logging.WARNING):
        for number in range(20):
            pool.choose(request(number), float(number))
    assert isinstance(pool.router, LearnedGreedy)
    pool.router.check()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_router_that_learns_nothing_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    pool = pool_of(serving("a", "m"), router=Policy("round-robin", "lru").route(0, page_size=16))
    pool.memory = learned()
    with caplog.at_level(logging.WARNING):
        pool.choose(request(1), 0.0)
    assert caplog.records == []


class Crooked:
    """A router that notes what it is offered."""

    def __init__(self) -> None:
        self.offered: list[Sequence[Worker]] = []

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        self.offered.append(workers)
        return workers[0]

    def observe(self, outcome: object, now: float) -> None:
        """Learn nothing."""


def test_a_drained_worker_is_not_offered() -> None:
    a, b = serving("a", "m"), serving("b", "m")
    router = Crooked()
    pool = pool_of(a, b, router=router)
    a.health.drain(1.0)
    pool.refresh()
    pool.choose(request(1), 1.0)
    assert router.offered == [(b.worker,)]
