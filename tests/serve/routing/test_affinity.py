from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.contracts.router import RouterContract, workers
from tests.serve.routing.prompts import chained, failed, finished, first_token, pages_of, prompt

from triskele.serve.routing import CacheAware, OverlapCost, PrefixAffinity, Router, Worker

AB, ABC = workers("ab"), workers("abc")


class AffinityContract(RouterContract):
    load_bound = 1.0

    def reserved(self, router: Router) -> float:
        return float(router._trees.load.counts.sum())


class TestCacheAware(AffinityContract):
    def make(self, seed: int = 0) -> Router:
        return CacheAware(np.random.default_rng(seed))


class TestPrefixAffinity(AffinityContract):
    def make(self, seed: int = 0) -> Router:
        return PrefixAffinity(np.random.default_rng(seed))


class TestUnevenPrefixAffinity(AffinityContract):
    # The better of two as soon as queues differ.
    load_bound = 1.2

    def make(self, seed: int = 0) -> Router:
        return PrefixAffinity(np.random.default_rng(seed), imbalance=0)


class TestOverlapCost(AffinityContract):
    def make(self, seed: int = 0) -> Router:
        return OverlapCost(np.random.default_rng(seed))

    def reserved(self, router: Router) -> float:
        return super().reserved(router) + float(router._prefill.sum() + router._in_use.sum())


class TestSofterOverlapCost(TestOverlapCost):
    load_bound = 1.5

    def make(self, seed: int = 0) -> Router:
        return OverlapCost(np.random.default_rng(seed), temperature=0.5)


class Script:
    """Sends prompts one after the other, and ends each at once unless told to let it wait."""

    def __init__(self, router: Router, fleet: tuple[Worker, ...]) -> None:
        self.router, self.fleet, self.n = router, fleet, 0

    def send(self, *pages: int, to: str | None = None, waits: bool = False) -> str:
        """Return who was chosen; ``to`` leaves no choice by offering one worker alone."""
        assert to is None or len(self.fleet) == 1
        name = self.router.choose(prompt(self.n, *pages), self.fleet, 0.0).name
        if not waits:
            self.router.observe(finished(self.n, name), 0.0)
        self.n += 1
        return name


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def warmed(router: Router, n_held: int) -> tuple[Script, str, str]:
    """Two workers: one holds ``n_held`` pages of prompt 1 and a larger tree, the other less."""
    script = Script(router, AB)
    holder = script.send(*pages_of(1, n_held), *pages_of(9, 90))
    other = script.send(*pages_of(2, 50))
    assert {holder, other} == {"a", "b"}
    return script, holder, other


@pytest.mark.parametrize(("n_held", "goes_to_holder"), [(3, False), (4, True)])
def test_cache_aware_needs_strictly_more_than_the_threshold(
    n_held: int, goes_to_holder: bool
) -> None:
    script, holder, other = warmed(CacheAware(rng(), threshold=0.3), n_held)
    chosen = script.send(*pages_of(1, n_held), *pages_of(3, 10 - n_held))
    assert chosen == (holder if goes_to_holder else other)


@pytest.mark.parametrize(("n_held", "goes_to_holder"), [(2, False), (3, True)])
def test_prefix_affinity_needs_at_least_the_threshold(n_held: int, goes_to_holder: bool) -> None:
    script, holder, other = warmed(PrefixAffinity(rng(), threshold=0.3), n_held)
    chosen = script.send(*pages_of(1, n_held), *pages_of(3, 10 - n_held))
    assert chosen == (holder if goes_to_holder else other)


def test_the_measure_of_lengths_decides_what_share_is_matched() -> None:
    def measure(key: bytes) -> float:
        """Of prompt 1, the first pages are ten times as long as others."""
        n_long = sum(key[8 * n : 8 * n + 8] in long for n in range(len(key) // 8))
        return len(key) / 8 + 9 * n_long

    long = {page.to_bytes(8, "little") for page in chained(*pages_of(1, 2))}
    script, holder, _ = warmed(CacheAware(rng(), threshold=0.5, measure=measure), 2)
    assert script.send(*pages_of(1, 2), *pages_of(3, 8)) == holder


@pytest.mark.parametrize("make", [CacheAware, PrefixAffinity])
def test_a_prompt_that_nobody_knows_goes_to_the_smallest_tree(make: Any) -> None:
    script, _, other = warmed(make(rng()), 4)
    chosen = [script.send(*pages_of(n, 10)) for n in range(10, 14)]
    # 50 pages, then 60, 70, 80, 90 against 94.
    assert chosen == [other] * 4


@pytest.mark.parametrize("make", [CacheAware, PrefixAffinity])
def test_trees_that_are_full_are_equal_and_share_what_nobody_knows(make: Any) -> None:
    script = Script(make(rng(), tree_pages=20), ABC)
    counts = Counter(script.send(*pages_of(n, 8)) for n in range(300))
    assert min(counts.values()) > 60


@pytest.mark.parametrize("make", [CacheAware, PrefixAffinity])
def test_prompts_shorter_than_a_page_do_not_all_go_to_the_smallest_tree(make: Any) -> None:
    script, _, other = warmed(make(rng()), 4)
    counts = Counter(script.send() for _ in range(200))
    assert 70 < counts[other] < 130


def queued(router: Router, n: int) -> tuple[Script, str, str]:
    """Let ``n`` requests of one prefix wait at its holder, and none at the other worker."""
    script = Script(router, AB)
    holder = script.send(*pages_of(1, 8))
    for _ in range(n):
        assert script.send(*pages_of(1, 8), waits=True) == holder
    return script, holder, "b" if holder == "a" else "a"


@pytest.mark.parametrize(("n_waiting", "is_balanced"), [(4, True), (5, False)])
def test_cache_aware_takes_the_shortest_queue_of_an_unbalanced_fleet(
    n_waiting: int, is_balanced: bool
) -> None:
    script, holder, other = queued(CacheAware(rng(), absolute=4, relative=1.5), n_waiting)
    assert script.send(*pages_of(1, 8)) == (holder if is_balanced else other)


@pytest.mark.parametrize(("relative", "is_balanced"), [(1.75, True), (1.7, False)])
def test_cache_aware_is_balanced_while_queues_are_alike_in_proportion(
    relative: float, is_balanced: bool
) -> None:
    script = Script(CacheAware(rng(), absolute=2, relative=relative), AB)
    homes = {number: script.send(*pages_of(number, 8)) for number in (1, 2)}
    assert len(set(homes.values())) == 2
    for number in (1, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1):
        assert script.send(*pages_of(number, 8), waits=True) == homes[number]
    # 7 against 4.
    assert script.send(*pages_of(1, 8)) == homes[1 if is_balanced else 2]


@pytest.mark.parametrize(("n_waiting", "is_balanced"), [(3, True), (4, False)])
def test_prefix_affinity_takes_the_better_of_two_of_an_unbalanced_fleet(
    n_waiting: int, is_balanced: bool
) -> None:
    script, holder, other = queued(PrefixAffinity(rng(), imbalance=3), n_waiting)
    assert script.send(*pages_of(1, 8)) == (holder if is_balanced else other)
    never, holder, _ = queued(PrefixAffinity(rng()), 500)
    assert never.send(*pages_of(1, 8)) == holder


@pytest.mark.parametrize("make", [CacheAware, PrefixAffinity, OverlapCost])
def test_a_worker_that_comes_back_is_not_credited_with_what_it_held(make: Any) -> None:
    script = Script(make(rng()), workers("a"))
    script.send(*pages_of(1, 8))
    script.fleet = AB
    assert {script.send(*pages_of(1, 8)) for _ in range(5)} == {"a"}
    script.fleet = workers("b")
    script.send(*pages_of(2, 2))
    script.fleet = AB
    hashes = chained(*pages_of(1, 8))
    script.send(*pages_of(2, 2))
    assert script.router._trees.held(hashes).tolist() == [0, 0]


def costs(router: OverlapCost) -> tuple[list[float], list[float]]:
    return router._prefill.tolist(), router._in_use.tolist()


def test_overlap_cost_adds_up_as_by_hand() -> None:
    router = OverlapCost(rng(), prefill_weight=2.0)
    # Alone, a takes 10 blocks and answers; b joins.
    assert router.choose(prompt(0, *pages_of(1, 10)), workers("a"), 0.0).name == "a"
    assert costs(router) == ([10], [10])
    router.observe(first_token(0, "a"), 0.0)
    assert costs(router) == ([0], [10])
    # 4 of 6 known to a: 2·(6 − 4) + 10 + 6 = 20 there, 2·6 + 0 + 6 = 18 at b.
    shared = (*pages_of(1, 4), *pages_of(2, 2))
    assert router.choose(prompt(1, *shared), AB, 0.0).name == "b"
    assert costs(router) == ([0, 6], [10, 6])
    # a ends. Of 8, 5 known to a: 2·3 + 0 + 8 = 14; b knows 4 and has 6 to prefill:
    # 2·(6 + 8 − 4) + 6 + 8 = 34.
    router.observe(finished(0, "a"), 0.0)
    third = (*pages_of(1, 5), *pages_of(3, 3))
    assert router.choose(prompt(2, *third), AB, 0.0).name == "a"
    assert costs(router) == ([3, 6], [8, 6])
    # A failure before the first token frees both.
    router.observe(failed(1, "b"), 0.0)
    assert costs(router) == ([3, 0], [8, 0])
    router.observe(finished(2, "a"), 0.0)
    assert costs(router) == ([0, 0], [0, 0])


@pytest.mark.parametrize(("weight", "expected"), [(0.0, "b"), (2.0, "b"), (3.0, "a")])
def test_the_weight_is_of_blocks_to_prefill(weight: float, expected: str) -> None:
    router = OverlapCost(rng(), prefill_weight=weight)
    router.choose(prompt(0, *pages_of(1, 10)), workers("a"), 0.0)
    router.observe(first_token(0, "a"), 0.0)
    # 2·weight + 10 + 6 at a, 6·weight + 0 + 6 at b.
    shared = (*pages_of(1, 4), *pages_of(2, 2))
    assert router.choose(prompt(1, *shared), AB, 0.0).name == expected


def test_all_that_is_known_costs_no_prefill_but_still_its_room() -> None:
    chosen = Counter[str]()
    for seed in range(200):
        script = Script(OverlapCost(np.random.default_rng(seed)), workers("a"))
        script.send(*pages_of(1, 10))
        script.fleet = AB
        # All 10 known to a: 0 + 0 + 10 there, 10 + 0 + 10 at b.
        assert script.send(*pages_of(1, 10), waits=True) == "a"
        # 0 + 10 + 10 there: a tie.
        chosen[script.send(*pages_of(1, 10))] += 1
    assert min(chosen.values()) > 60


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


def test_overlap_cost_mirrors_a_worker_that_names_its_capacity_and_the_others_do_not() -> None:
    hashes = chained(*pages_of(1, 20))
    for router, n_held in ((OverlapCost(rng()), 5), (CacheAware(rng()), 20)):
        for fleet, expected in ((workers("a", 5), n_held), (workers("b", None), 20)):
            Script(router, fleet).send(*pages_of(1, 20))
            assert router._trees.held(hashes).max() == expected
