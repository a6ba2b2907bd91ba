from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from tests.evaluate.tournaments import tournaments

from triskele.evaluate.clustering.evidence import N_TRACES, traces
from triskele.evaluate.comparisons import Comparisons


def by_loops(comparisons: Comparisons, expected: NDArray[np.float64]) -> NDArray[np.float64]:
    net = np.zeros_like(expected)
    surprise = np.zeros_like(expected)
    for row in range(len(comparisons)):
        query, a, b = (
            int(column[row])
            for column in (comparisons.query, comparisons.model_a, comparisons.model_b)
        )
        margin = comparisons.weight[row] * (2 * comparisons.outcome[row] - 1)
        winner, loser = (b, a) if margin > 0 else (a, b)
        p = 1 / (1 + np.exp(expected[query, loser] - expected[query, winner]))
        net[query, winner] += abs(margin)
        net[query, loser] -= abs(margin)
        surprise[query, winner] -= abs(margin) * np.log(p)
        surprise[query, loser] += abs(margin) * np.log(p)
    first = np.minimum(np.maximum(net, -1.0), 1.0)
    return np.array([first, net - first, surprise])


@given(tournaments())
def test_traces_are_those_of_a_loop(comparisons: Comparisons) -> None:
    expected = np.random.default_rng(0).standard_normal(
        (comparisons.n_queries, comparisons.n_models)
    )
    found = traces(comparisons, expected)
    assert found.shape == (N_TRACES, *expected.shape)
    np.testing.assert_allclose(found, by_loops(comparisons, expected), atol=1e-12)


def test_a_winner_leaves_what_plackett_and_luce_say() -> None:
    θ = np.array([0.4, -0.3, 1.1])
    A, B, C = np.exp(θ)
    win_of_a = Comparisons.from_arrays([0], [1], [0], [1.0], models=["a", "b", "c"])
    found = traces(win_of_a, θ[None])
    after = θ + found[2, 0]
    assert 1 / (1 + np.exp(after[2] - after[0])) == pytest.approx((A + B) / (A + B + C))


def test_wins_beyond_the_first_are_told_apart() -> None:
    votes = Comparisons.from_arrays([0] * 4, [0, 0, 0, 1], [1, 2, 3, 2], [0.0, 0.0, 0.0, 0.5])
    first, beyond, _ = traces(votes, np.zeros((1, 4)))
    np.testing.assert_array_equal(first[0], [1, -1, -1, -1])
    np.testing.assert_array_equal(beyond[0], [2, 0, 0, 0])


def test_votes_that_contradict_each_other_leave_how_surprising_they_were() -> None:
    votes = Comparisons.from_arrays([0, 0], [0, 0], [1, 1], [1.0, 0.0])
    first, beyond, surprise = traces(votes, np.array([[2.0, 0.0]]))
    assert not first.any()
    assert not beyond.any()
    # That the weaker won is news, that the stronger did is none: on balance, it gained by 2.
    np.testing.assert_allclose(surprise, [[-2.0, 2.0]])


def test_ties_and_no_weight_leave_no_trace() -> None:
    votes = Comparisons.from_arrays([0, 0], [0, 0], [1, 2], [0.5, 1.0], weight=[1.0, 0.0])
    assert not traces(votes, np.zeros((1, 3))).any()


@given(tournaments())
def test_a_comparison_leaves_the_same_told_the_other_way_round(comparisons: Comparisons) -> None:
    expected = np.zeros((comparisons.n_queries, comparisons.n_models))
    np.testing.assert_allclose(
        traces(comparisons, expected), traces(comparisons.swapped(), expected), atol=1e-12
    )


@given(tournaments())
def test_a_vote_leaves_what_two_of_half_the_weight_do(comparisons: Comparisons) -> None:
    expected = np.random.default_rng(0).standard_normal(
        (comparisons.n_queries, comparisons.n_models)
    )
    half = replace(comparisons, weight=comparisons.weight / 2)
    np.testing.assert_allclose(
        traces(Comparisons.concat([half, half]), expected),
        traces(comparisons, expected),
        atol=1e-12,
    )


def test_a_foregone_win_is_no_surprise_and_the_opposite_a_finite_one() -> None:
    sure = np.array([[0.0, 800.0]])
    won, lost = (
        traces(Comparisons.from_arrays([0], [0], [1], [outcome]), sure)[2, 0]
        for outcome in (1.0, 0.0)
    )
    np.testing.assert_allclose(won, 0.0, atol=1e-300)
    np.testing.assert_allclose(lost, [800.0, -800.0])
