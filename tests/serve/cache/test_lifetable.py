import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.gittins import gittins_index

from triskele.serve.cache.lifetable import FADING, HORIZON, LifeTable, gittins_indices

HAZARDS = st.lists(st.floats(0, 0.9), min_size=1, max_size=8)


@given(HAZARDS, st.data())
def test_the_index_is_the_best_over_all_ages_to_give_up_at(
    hazards: list[float], data: st.DataObject
) -> None:
    n = len(hazards)
    widths = data.draw(st.lists(st.floats(1, 1000), min_size=n, max_size=n))
    indices = gittins_indices(np.array([hazards]), np.array(widths))
    expected = [gittins_index(hazards, widths, start) for start in range(n)]
    assert indices[0] == pytest.approx(expected)


def test_the_index_of_a_use_that_is_likely_but_far_rises_until_it_is_near() -> None:
    hazards = np.array([[0.0, 0.0, 0.5, 0.0]])
    indices = gittins_indices(hazards, np.array([1.0, 2.0, 4.0, 8.0]))
    # Half a use, after 1 + 2 requests and then 2 of 4 or all of them.
    assert indices[0] == pytest.approx([0.5 / 6, 0.5 / 5, 0.5 / 3, 0])


def lives_of(table: LifeTable, probability: float, n: int, *, kind: int) -> None:
    """One run at a time; each request uses it with the probability, up to an age of 64."""
    rng, now = random.Random(0), 0
    for _ in range(n):
        since = now
        table.enter(kind, since)
        while now - since < 64:
            now += 1
            if rng.random() < probability:
                table.reuse(kind, since, now)
                break
        else:
            table.lose(kind, since, now)
        now += 1
    table.check()


def test_the_hazards_of_memoryless_runs_are_those_they_were_drawn_from() -> None:
    table = LifeTable([[0]])
    lives_of(table, 0.1, 20_000, kind=0)
    widths = table.widths[1:8].astype(int)
    # Ages 1, 2, … 64: the first bin is that of the request itself.
    expected = 1 - 0.9**widths
    assert table.hazards(10**9)[0, 1:8] == pytest.approx(expected, rel=0.1)


def test_a_kind_that_was_never_seen_is_taken_for_its_pool_and_its_levels() -> None:
    pools, turns, gaps = [0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]
    table = LifeTable([pools, turns, gaps])
    for kind, share in ((0, 0.8), (1, 0.2), (2, 0.4)):
        for life in range(1000):
            table.enter(kind, 0)
            if life < 1000 * share:
                table.reuse(kind, 0, 100)
            else:
                table.lose(kind, 0, 1000)
    hazards = table.hazards(1001)[:, table.bin_of[100]]
    # Half as likely with the other turn, a quarter as likely with the other gap.
    assert hazards[:3] == pytest.approx([0.8, 0.2, 0.4], rel=0.1)
    assert hazards[3] < 0.6 * hazards[2]


def test_who_waits_counts_as_not_used_yet() -> None:
    def hazard_of(n_waiting: int) -> float:
        table = LifeTable([[0]])
        for _ in range(500):
            table.enter(0, 0)
            table.reuse(0, 0, 50)
        for _ in range(n_waiting):
            table.enter(0, 0)
        return float(table.hazards(5000)[0, table.bin_of[50]])

    assert hazard_of(0) > 0.7
    assert hazard_of(1500) == pytest.approx(0.25, abs=0.05)


def test_after_a_horizon_a_run_is_lost_and_its_use_no_longer_counts() -> None:
    table = LifeTable([[0]])
    for _ in range(200):
        table.enter(0, 0)
    before = table.hazards(HORIZON - 1)
    for now in range(HORIZON, HORIZON + 100):
        table.enter(0, now)
    table.reuse(0, 0, HORIZON + 100)
    table.check()
    after = table.hazards(HORIZON + 100)
    # The two hundred were not used at any age, and that is not forgotten with them.
    assert after[0, -2] == pytest.approx(before[0, -2], rel=0.1)


def test_a_use_beyond_the_horizon_is_lost_even_if_nothing_came_between() -> None:
    table = LifeTable([[0]])
    table.enter(0, 1)
    table.reuse(0, 1, 1 + 2 * HORIZON)
    table.check()
    assert table.hazards(1 + 2 * HORIZON).max() < 0.5


def test_what_is_long_past_fades() -> None:
    table = LifeTable([[0]])
    for _ in range(1000):
        table.enter(0, 1)
        table.reuse(0, 1, 2)
    early = table.hazards(2)[0, 1]
    for now in range(4 * FADING, 4 * FADING + 1000):
        table.enter(0, now)
        table.lose(0, now, now + 1)
    assert early > 0.8
    assert table.hazards(4 * FADING + 1000)[0, 1] < 0.2
    table.check()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), max_size=200))
def test_hazards_are_probabilities_whatever_happened(lives: list[tuple[int, int]]) -> None:
    table, now, waiting = LifeTable([[0, 0, 1, 1], [0, 1, 2, 2]]), 0, []
    for kind, wait in lives:
        now += wait
        table.enter(kind, now)
        waiting.append((kind, now))
        if wait % 3:
            table.reuse(*waiting.pop(wait % len(waiting)), now)
    table.check()
    hazards = table.hazards(now)
    assert (hazards >= 0).all()
    assert (hazards < 1).all()
    assert (gittins_indices(hazards, table.widths) >= 0).all()


def test_before_anything_is_known_the_index_falls_with_age() -> None:
    table = LifeTable([[0, 0, 1]])
    indices = gittins_indices(table.hazards(1), table.widths)
    assert (np.diff(indices[:, 6:], axis=1) < 0).all()
    assert (np.diff(indices, axis=1) <= 1e-12).all()
