from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.contracts.router import workers
from tests.serve.routing.prompts import chained, pages_of
from tests.serve.routing.script import AffinityContract, Script, rng

from triskele.serve.routing import CacheAware, OverlapCost, PrefixAffinity, Router

AB, ABC = workers("ab"), workers("abc")


def by_size(rng: np.random.Generator, **how: Any) -> CacheAware:
    """Return the policy of the older crate."""
    return CacheAware(rng, fallback="smallest tree", **how)


class TestCacheAware(AffinityContract):
    def make(self, seed: int = 0) -> Router:
        return CacheAware(np.random.default_rng(seed))


class TestCacheAwareBySize(AffinityContract):
    def make(self, seed: int = 0) -> Router:
        return by_size(np.random.default_rng(seed))


class TestPrefixAffinity(AffinityContract):
    def make(self, seed: int = 0) -> Router:
        return PrefixAffinity(np.random.default_rng(seed))


class TestUnevenPrefixAffinity(AffinityContract):
    # The better of two as soon as queues differ.
    load_bound = 1.2

    def make(self, seed: int = 0) -> Router:
        return PrefixAffinity(np.random.default_rng(seed), imbalance=0)


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
    script, holder, other = warmed(by_size(rng(), threshold=0.3), n_held)
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
    script, holder, _ = warmed(by_size(rng(), threshold=0.5, measure=measure), 2)
    assert script.send(*pages_of(1, 2), *pages_of(3, 8)) == holder


@pytest.mark.parametrize("make", [by_size, PrefixAffinity])
def test_a_prompt_that_nobody_knows_goes_to_the_smallest_tree(make: Any) -> None:
    script, _, other = warmed(make(rng()), 4)
    chosen = [script.send(*pages_of(n, 10)) for n in range(10, 14)]
    # 50 pages, then 60, 70, 80, 90 against 94.
    assert chosen == [other] * 4


def test_cache_aware_sends_what_nobody_knows_to_the_shortest_queue() -> None:
    script = Script(CacheAware(rng()), AB)
    holder = script.send(*pages_of(1, 4), waits=True)
    other = "b" if holder == "a" else "a"
    assert script.send(*pages_of(2, 90), waits=True) == other
    assert script.send(*pages_of(1, 4), waits=True) == holder
    # Its tree is by far the larger one.
    assert script.send(*pages_of(3, 4), waits=True) == other
    # Between equals the choice is random.
    assert {script.send(*pages_of(n, 4)) for n in range(10, 40)} == {"a", "b"}


@pytest.mark.parametrize("make", [by_size, PrefixAffinity])
def test_trees_that_are_full_are_equal_and_share_what_nobody_knows(make: Any) -> None:
    script = Script(make(rng(), tree_pages=20), ABC)
    counts = Counter(script.send(*pages_of(n, 8)) for n in range(300))
    assert min(counts.values()) > 60


@pytest.mark.parametrize("make", [by_size, PrefixAffinity])
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
    script = Script(by_size(rng(), absolute=2, relative=relative), AB)
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


def test_overlap_cost_mirrors_a_worker_that_names_its_capacity_and_the_others_do_not() -> None:
    hashes = chained(*pages_of(1, 20))
    for router, n_held in ((OverlapCost(rng()), 5), (CacheAware(rng()), 20)):
        for fleet, expected in ((workers("a", 5), n_held), (workers("b", None), 20)):
            Script(router, fleet).send(*pages_of(1, 20))
            assert router._trees.held(hashes).max() == expected
