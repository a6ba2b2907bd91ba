import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate.bradley_terry.ranking import rank_models


def test_models_that_are_far_apart_have_one_rank() -> None:
    ranking = rank_models(("x", "y", "z"), np.array([0.0, 5.0, -5.0]), 0.01 * np.eye(3), level=0.95)
    assert ranking.order.tolist() == [1, 0, 2]
    assert ranking.rank.tolist() == ranking.best.tolist() == ranking.worst.tolist() == [2, 1, 3]
    assert ranking.ties == (("y",), ("x",), ("z",))


def test_models_that_are_near_share_ranks_and_a_tie() -> None:
    strengths = np.array([3.0, 2.9, 0.0, -0.1, -0.2])
    ranking = rank_models(tuple("abcde"), strengths, 0.01 * np.eye(5), level=0.9)
    assert ranking.rank.tolist() == [1, 2, 3, 4, 5]
    assert ranking.best.tolist() == [1, 1, 3, 3, 3]
    assert ranking.worst.tolist() == [2, 2, 5, 5, 5]
    assert ranking.ties == (("a", "b"), ("c", "d", "e"))


def test_ties_may_overlap() -> None:
    ranking = rank_models(tuple("abc"), np.array([0.2, 0.0, -0.2]), 0.01 * np.eye(3), level=0.9)
    assert ranking.ties == (("a", "b"), ("b", "c"))
    assert ranking.is_better.sum() == 1


def test_what_two_estimates_have_in_common_does_not_blur_their_difference() -> None:
    shared = np.array([[1.0, 0.999], [0.999, 1.0]])
    assert rank_models(("x", "y"), np.array([0.3, 0.0]), shared, level=0.9).is_better[0, 1]
    assert not rank_models(("x", "y"), np.array([0.3, 0.0]), np.eye(2), level=0.9).is_better.any()


def test_equal_strengths_share_a_rank_however_sure() -> None:
    ranking = rank_models(("x", "y", "z"), np.array([1.0, 1.0, 0.0]), np.zeros((3, 3)), level=0.9)
    assert ranking.rank.tolist() == [1, 1, 3]
    assert ranking.ties == (("x", "y"), ("z",))


def test_a_model_of_which_nothing_is_known_may_have_any_rank() -> None:
    covariance = np.diag([0.01, np.inf, 0.01])
    ranking = rank_models(("x", "y", "z"), np.array([2.0, 0.0, -2.0]), covariance, level=0.9)
    assert (ranking.best[1], ranking.worst[1]) == (1, 3)
    assert ranking.is_better[0, 2]


@pytest.mark.parametrize("n_models", [0, 1])
def test_one_model_is_the_first(n_models: int) -> None:
    names = ("x",)[:n_models]
    ranking = rank_models(names, np.zeros(n_models), np.zeros((n_models,) * 2), level=0.9)
    assert ranking.worst.tolist() == ranking.best.tolist() == [1] * n_models
    assert ranking.ties == ((names,) if n_models else ())


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=7), st.floats(0, 2), st.randoms())
def test_intervals_hold_ranks_and_ties_cover_all_models(
    given_strengths: list[float], spread: float, random: object
) -> None:
    strengths = np.array(given_strengths)
    n_models = len(strengths)
    names = tuple(f"m{index}" for index in range(n_models))
    ranking = rank_models(names, strengths, spread * np.eye(n_models), level=0.9)
    assert (ranking.best <= ranking.rank).all()
    assert (ranking.rank <= ranking.worst).all()
    assert {name for run in ranking.ties for name in run} == set(names)
    for run in ranking.ties:
        members = [names.index(name) for name in run]
        assert not ranking.is_better[np.ix_(members, members)].any()


def test_rank_intervals_hold_as_often_as_they_should() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.0, 0.1, 0.2, 1.0, 1.1, 2.0])
    true_rank = np.array([6, 5, 4, 3, 2, 1])
    held = np.zeros(6)
    for _ in range(1000):
        strengths = truth + 0.15 * rng.normal(size=6)
        ranking = rank_models(tuple("abcdef"), strengths, 0.15**2 * np.eye(6), level=0.9)
        held += (ranking.best <= true_rank) & (true_rank <= ranking.worst)
    assert (held >= 880).all()
