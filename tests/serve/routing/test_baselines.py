from collections import Counter

import numpy as np
import pytest
from tests.contracts.router import RouterContract, choices, play, workers
from tests.serve.routing.prompts import finished, pages_of, prompt

from triskele.serve.routing import (
    ConsistentHash,
    Router,
    least_loaded,
    power_of_two,
    random_choice,
    round_robin,
)


class BaselineContract(RouterContract):
    def reserved(self, router: Router) -> float:
        return float(router._load.counts.sum())


class TestRandomChoice(BaselineContract):
    def make(self, seed: int = 0) -> Router:
        return random_choice(np.random.default_rng(seed))


class TestRoundRobin(BaselineContract):
    load_bound = 1.0

    def make(self, seed: int = 0) -> Router:
        return round_robin()


class TestLeastLoaded(BaselineContract):
    load_bound = 1.0

    def make(self, seed: int = 0) -> Router:
        return least_loaded(np.random.default_rng(seed))


class TestPowerOfTwo(BaselineContract):
    load_bound = 1.2

    def make(self, seed: int = 0) -> Router:
        return power_of_two(np.random.default_rng(seed))


class TestConsistentHash(BaselineContract):
    # A quarter above the mean, and one.
    load_bound = 1.35

    def make(self, seed: int = 0) -> Router:
        return ConsistentHash()


def test_turns_go_on_over_joins_and_failures() -> None:
    router = round_robin()
    fleets = (
        [workers("abc")] * 4 + [workers("abcd")] * 4 + [workers("cda")] * 3 + [workers("ba")] * 2
    )
    chosen = [router.choose(prompt(n), fleet, 0.0).name for n, fleet in enumerate(fleets)]
    assert "".join(chosen) == "abca" + "dbca" + "dca" + "ba"


def test_the_least_loaded_follows_what_has_ended() -> None:
    router = least_loaded(np.random.default_rng(0))
    fleet = workers("abc")
    names = [router.choose(prompt(n), fleet, 0.0).name for n in range(6)]
    assert sorted(names) == list("aabbcc")
    for number in (1, 4):
        router.observe(finished(number, names[number]), 1.0)
    again = [router.choose(prompt(n), fleet, 1.0).name for n in (6, 7)]
    assert sorted(again) == sorted([names[1], names[4]])


def test_the_better_of_two_is_never_the_worst() -> None:
    router = power_of_two(np.random.default_rng(0))
    first = router.choose(prompt(0), workers("abc"), 0.0).name
    for number in range(1, 100):
        name = router.choose(prompt(number), workers("abc"), 0.0).name
        assert name != first
        router.observe(finished(number, name), 0.0)
    assert router.choose(prompt(100), workers(first), 0.0).name == first


@pytest.mark.parametrize("by", ["session", "first pages"])
def test_what_belongs_together_stays_together_and_only_the_lost_move(by: str) -> None:
    router = ConsistentHash(n_pages=2)

    def homes(names: str, first: int) -> dict[int, str]:
        found: dict[int, str] = {}
        for number in range(first, first + 600):
            group = number % 200
            pages = (*pages_of(group, 2), number)
            request = prompt(number, *pages)
            if by == "session":
                request = prompt(number, number, session=f"session {group}")
            name = router.choose(request, workers(names), 0.0).name
            assert found.setdefault(group, name) == name
            router.observe(finished(number, name), 0.0)
        return found

    before, without = homes("abcd", 0), homes("adc", 600)
    assert {g: n for g, n in before.items() if n != "b"}.items() <= without.items()
    assert "b" in before.values()
    assert "b" not in without.values()
    assert homes("cbad", 1200) == before
    joined = homes("abcde", 1800)
    moved = {group for group in before if before[group] != joined[group]}
    assert {joined[group] for group in moved} == {"e"}
    assert 0.05 < len(moved) / 200 < 0.4


def test_prompts_that_begin_alike_overflow_to_the_next_worker_and_sessions_do_not() -> None:
    router, fleet = ConsistentHash(), workers()
    chosen = [router.choose(prompt(n, *pages_of(1, 16), n), fleet, 0.0).name for n in range(40)]
    counts = Counter(chosen)
    assert max(counts.values()) <= 1.25 * 10 + 2
    assert counts[chosen[0]] == max(counts.values())
    # Once the first has room again, it is the home again.
    for number, name in enumerate(chosen):
        router.observe(finished(number, name), 0.0)
    assert router.choose(prompt(50, *pages_of(1, 16), 50), fleet, 0.0).name == chosen[0]
    of_session = [
        router.choose(prompt(n, *pages_of(n, 20), session="s"), fleet, 0.0).name
        for n in range(100, 140)
    ]
    assert len(set(of_session)) == 1


def test_what_differs_only_after_the_first_pages_is_alike() -> None:
    def n_homes(n_shared: int) -> int:
        names = set[str]()
        for number in range(40):
            pages = (*pages_of(1, n_shared), *pages_of(number + 2, 20))
            names.add(ConsistentHash().choose(prompt(0, *pages), workers(), 0.0).name)
        return len(names)

    # A first page that everybody has does not bring everybody to one worker.
    assert (n_homes(1), n_homes(15), n_homes(16)) == (4, 4, 1)
    with pytest.raises(ValueError, match="at least one page to hash"):
        ConsistentHash(n_pages=0)


def test_more_points_make_more_equal_shares() -> None:
    def unevenness(n_points: int) -> float:
        counts = play(ConsistentHash(n_points=n_points), 2000, [workers("abcdefgh")])
        return max(counts.values()) / 250

    assert unevenness(160) < 1.4 < unevenness(1)
    with pytest.raises(ValueError, match="at least one point"):
        ConsistentHash(n_points=0)


def test_random_choices_are_even() -> None:
    counts = Counter(choices(random_choice(np.random.default_rng(0)), 4000, [workers()]))
    assert max(abs(n - 1000) for n in counts.values()) < 120
