from collections import Counter

import numpy as np
import pytest
from tests.contracts.router import workers
from tests.serve.routing.prompts import chained, failed, finished, first_token, pages_of, prompt
from tests.serve.routing.script import AffinityContract, Script, rng

from triskele.serve.routing import OverlapCost, Router, Worker

AB = workers("ab")


class TestOverlapCost(AffinityContract):
    def make(self, seed: int = 0) -> Router:
        return OverlapCost(np.random.default_rng(seed))

    def reserved(self, router: Router) -> float:
        return super().reserved(router) + float(router._prefill.sum() + router._in_use.sum())


class TestSofterOverlapCost(TestOverlapCost):
    load_bound = 1.5

    def make(self, seed: int = 0) -> Router:
        return OverlapCost(np.random.default_rng(seed), temperature=0.5)


def costs(router: OverlapCost) -> tuple[list[float], list[float]]:
    return router._prefill.tolist(), router._in_use.tolist()


def test_overlap_cost_adds_up_as_by_hand() -> None:
    router = OverlapCost(rng(), prefill_weight=2.0)
    # Alone, a takes 10 blocks and answers; b joins.
    assert router.choose(prompt(0, *pages_of(1, 10)), workers("a"), 0.0).name == "a"
    assert costs(router) == ([10], [10])
    router.observe(first_token(0, "a"), 0.0)
    assert costs(router) == ([0], [10])
    # 3 of 6 known to and in use at a: 2·3 + 10 + 3 = 19 there, 2·6 + 0 + 6 = 18 at b.
    shared = (*pages_of(1, 3), *pages_of(2, 3))
    assert router.choose(prompt(1, *shared), AB, 0.0).name == "b"
    assert costs(router) == ([0, 6], [10, 6])
    # a ends. Of 8, 5 known to a: 2·3 + 0 + 8 = 14; b knows 3 and has 6 to prefill:
    # 2·(6 + 8 − 3) + 6 + 5 = 33.
    router.observe(finished(0, "a"), 0.0)
    third = (*pages_of(1, 5), *pages_of(3, 3))
    assert router.choose(prompt(2, *third), AB, 0.0).name == "a"
    assert costs(router) == ([3, 6], [8, 6])
    # A failure before the first token frees both.
    router.observe(failed(1, "b"), 0.0)
    assert costs(router) == ([3, 0], [8, 0])
    router.observe(finished(2, "a"), 0.0)
    assert costs(router) == ([0, 0], [0, 0])


@pytest.mark.parametrize(("weight", "expected"), [(0.0, "b"), (1.4, "b"), (1.6, "a")])
def test_the_weight_is_of_blocks_to_prefill(weight: float, expected: str) -> None:
    router = OverlapCost(rng(), prefill_weight=weight)
    router.choose(prompt(0, *pages_of(1, 10)), workers("a"), 0.0)
    router.observe(first_token(0, "a"), 0.0)
    # 2·weight + 10 + 2 at a, 6·weight + 0 + 6 at b.
    shared = (*pages_of(1, 4), *pages_of(2, 2))
    assert router.choose(prompt(1, *shared), AB, 0.0).name == expected


def test_all_that_is_known_costs_no_prefill_but_still_its_room() -> None:
    chosen = Counter[str]()
    for seed in range(200):
        script = Script(OverlapCost(np.random.default_rng(seed)), workers("a"))
        script.send(*pages_of(1, 10))
        script.send(*pages_of(2, 10), waits=True)
        script.router.observe(first_token(1, "a"), 0.0)
        script.fleet = AB
        # All 10 known to a, and 10 others in use: 0 + 10 + 10 there, 10 + 0 + 10 at b. A tie.
        chosen[script.send(*pages_of(1, 10))] += 1
    assert min(chosen.values()) > 60


def test_blocks_that_requests_share_are_in_use_once_until_the_last_has_ended() -> None:
    router = OverlapCost(rng())
    script = Script(router, workers("a"))
    script.send(*pages_of(1, 10), waits=True)
    script.send(*pages_of(1, 4), *pages_of(2, 6), waits=True)
    script.send(*pages_of(1, 4), waits=True)
    assert costs(router) == ([16], [16])
    script.fleet = AB
    # 16 to prefill and 16 in use, of which 10 are its own: 16 + 16 at a, 10 + 10 at b.
    assert script.send(*pages_of(1, 10), waits=True) == "b"
    router.observe(finished(0, "a"), 0.0)
    assert costs(router) == ([6, 10], [10, 10])
    router.observe(failed(1, "a"), 0.0)
    assert costs(router) == ([0, 10], [4, 10])
    router.check()
    router.observe(finished(2, "a"), 0.0)
    assert costs(router) == ([0, 10], [0, 10])


def test_who_is_known_to_have_no_room_is_not_chosen() -> None:
    for larger in (Worker("b", 10), Worker("b", None)):
        script = Script(OverlapCost(rng()), (Worker("a", 9), larger))
        assert {script.send(*pages_of(n, 10), waits=True) for n in range(20)} == {"b"}
        assert script.send(*pages_of(90, 9)) == "a"
    # Where nobody has, it does not matter.
    script = Script(OverlapCost(rng()), workers("ab", 5))
    assert {script.send(*pages_of(n, 10), waits=True) for n in range(4)} == {"a", "b"}


def test_a_worker_that_left_takes_its_charges_along() -> None:
    router = OverlapCost(rng())
    script = Script(router, workers("a"))
    script.send(*pages_of(1, 10), waits=True)
    script.fleet = workers("b")
    script.send(*pages_of(2, 3), waits=True)
    assert costs(router) == ([0, 3], [0, 3])
    router.observe(finished(0, "a"), 0.0)
    router.check()


@pytest.mark.parametrize(("temperature", "share"), [(0.5, np.e**2), (1.0, np.e), (4.0, np.e**0.25)])
def test_the_temperature_draws_by_costs_relative_to_their_range(
    temperature: float, share: float
) -> None:
    counts = Counter[str]()
    router = OverlapCost(rng(), temperature=temperature)
    script = Script(router, workers("a"))
    for n in range(3000):
        script.fleet = workers("a")
        script.send(*pages_of(n, 4))
        script.fleet = AB
        counts[script.send(*pages_of(n, 4))] += 1
    # The holder is cheaper by the whole range.
    assert counts["a"] / counts["b"] == pytest.approx(share, rel=0.15)


def test_overlap_cost_believes_workers_that_speak() -> None:
    router = OverlapCost(rng())
    script = Script(router, AB)
    first = script.send(*pages_of(1, 10))
    other = "b" if first == "a" else "a"
    assert {script.send(*pages_of(1, 10)) for _ in range(5)} == {first}
    router.stored(other, chained(*pages_of(1, 10)))
    router.removed(first, chained(*pages_of(1, 10)))
    assert {script.send(*pages_of(1, 10)) for _ in range(5)} == {other}
    router.cleared(other)
    hashes = chained(*pages_of(1, 10))
    assert router._trees.held(hashes).tolist() == [0, 0]
    router.stored("nobody", hashes)
    router.check()


def test_what_is_on_its_way_to_a_worker_that_speaks_is_credited_until_its_first_token() -> None:
    router = OverlapCost(rng())
    hashes = chained(*pages_of(1, 10))
    router.choose(prompt(0, 1), workers("a"), 0.0)
    router.stored("a", chained(1))
    router.choose(prompt(1, *pages_of(1, 10)), workers("a"), 0.0)
    assert router._trees.held(hashes).tolist() == [10]
    router.observe(first_token(1, "a"), 0.0)
    assert router._trees.held(hashes).tolist() == [0]
