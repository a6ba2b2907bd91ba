from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.evaluate.tournaments import tournament, tournaments
from tests.oracles.bradley_terry import curvature, scores_by_query

from triskele.evaluate.bradley_terry.connectivity import groups, links
from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.covariates import Effects, fit_effects
from triskele.evaluate.bradley_terry.intervals import (
    curvature_of_counts,
    inverse_curvature,
    laplace,
    n_queries_compared,
    resample_counts,
    resample_effects,
    sandwich,
)
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.comparisons import Comparisons


def centring(n_models: int) -> NDArray[np.float64]:
    return np.eye(n_models) - 1 / n_models


def inverse_of(
    comparisons: Comparisons, strengths: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    wins = count_wins(comparisons)
    group = groups(links(wins))
    return inverse_curvature(curvature_of_counts(wins, strengths), group, ridge=ridge), group


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(tournaments(), st.data())
def test_the_curvature_of_counts_is_that_of_the_comparisons(
    comparisons: Comparisons, data: st.DataObject
) -> None:
    n = comparisons.n_models
    strengths = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=n, max_size=n)))
    found = curvature_of_counts(count_wins(comparisons), strengths)
    assert found == pytest.approx(curvature(strengths, comparisons, ridge=0.0), abs=1e-12)


def test_curvature_far_out_is_small_but_not_lost() -> None:
    found = curvature_of_counts(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([300.0, -300.0]))
    assert found[0, 0] == pytest.approx(np.exp(-600.0))
    assert found[0, 1] == pytest.approx(-np.exp(-600.0))


@given(tournaments(), st.sampled_from([1e-3, 1.0, 30.0]))
def test_with_a_ridge_the_inverse_is_that_of_the_centred_posterior(
    comparisons: Comparisons, ridge: float
) -> None:
    strengths = np.linspace(-1, 1, comparisons.n_models)
    found, _ = inverse_of(comparisons, strengths, ridge)
    plain = np.linalg.inv(curvature(strengths, comparisons, ridge=ridge))
    C = centring(comparisons.n_models)
    assert found == pytest.approx(C @ plain @ C, rel=1e-6, abs=1e-8 / ridge)


def test_without_a_ridge_the_inverse_is_the_pseudoinverse() -> None:
    comparisons = tournament(np.zeros(6), 60, rng())
    found, _ = inverse_of(comparisons, np.zeros(6), 0.0)
    expected = np.linalg.pinv(curvature(np.zeros(6), comparisons, ridge=0.0))
    assert found == pytest.approx(expected, abs=1e-10)
    tiny, _ = inverse_of(comparisons, np.zeros(6), 1e-14)
    assert tiny == pytest.approx(expected, abs=1e-10)


def test_levels_of_groups_are_as_sure_as_the_ridge() -> None:
    comparisons = Comparisons.from_arrays([0] * 4, [0, 1, 2, 3], [1, 0, 3, 2], [1, 1, 1, 1])
    found, _ = inverse_of(comparisons, np.zeros(4), 1e-6)
    # Two groups of two: the difference of their levels has variance (1/2 + 1/2) / ridge.
    of_difference = found[0, 0] + found[2, 2] - 2 * found[0, 2]
    assert of_difference == pytest.approx(1e6, rel=1e-4)
    within = found[0, 0] + found[1, 1] - 2 * found[0, 1]
    assert within == pytest.approx(2.0, rel=1e-4)


def test_of_a_model_without_comparisons_nothing_is_known_without_a_ridge() -> None:
    comparisons = Comparisons.from_arrays([0, 0], [0, 1], [1, 0], [1, 1], models=["x", "y", "z"])
    inverse, group = inverse_of(comparisons, np.zeros(3), 0.0)
    covariance = laplace(inverse, group, ridge=0.0)
    assert covariance[2, 2] == np.inf
    assert np.isfinite(covariance[:2, :2]).all()
    assert np.isfinite(laplace(*inverse_of(comparisons, np.zeros(3), 1.0), ridge=1.0)).all()


@settings(deadline=None)
@given(tournaments(), st.sampled_from([0.01, 1.0]))
def test_the_sandwich_is_made_of_the_scores_of_the_queries(
    comparisons: Comparisons, ridge: float
) -> None:
    strengths = fit_counts(count_wins(comparisons), ridge=ridge)
    inverse, group = inverse_of(comparisons, strengths, ridge)
    lead = strengths[comparisons.model_b] - strengths[comparisons.model_a]
    surplus = comparisons.weight * (1 / (1 + np.exp(-lead)) - comparisons.outcome)
    none = np.zeros((len(comparisons), 0))
    found = sandwich(inverse, group, comparisons, none, surplus, ridge=ridge)
    scores = scores_by_query(strengths, comparisons)
    n_queries = n_queries_compared(comparisons)
    evidence = scores.T @ scores * (n_queries / max(n_queries - 1, 1))
    expected = inverse @ (evidence + ridge * np.eye(len(inverse))) @ inverse
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12 / ridge)


def test_the_sandwich_of_covariates_is_made_of_their_scores_too() -> None:
    comparisons = tournament(np.zeros(3), 40, rng(), per_query=4)
    x = rng().normal(size=(40, 2))
    surplus = rng().normal(size=40)
    found = sandwich(np.eye(5), np.zeros(3, np.int64), comparisons, x, surplus, ridge=0.0)
    design = np.hstack([np.eye(3)[comparisons.model_b] - np.eye(3)[comparisons.model_a], x])
    scores = np.zeros((10, 5))
    np.add.at(scores, comparisons.query, surplus[:, None] * design)
    assert found == pytest.approx(10 / 9 * scores.T @ scores)


def test_where_the_model_is_right_the_sandwich_is_laplace() -> None:
    comparisons = tournament([0.0, 1.0, -1.0, 0.5], 40_000, rng())
    strengths = fit_counts(count_wins(comparisons), ridge=1.0)
    inverse, group = inverse_of(comparisons, strengths, 1.0)
    lead = strengths[comparisons.model_b] - strengths[comparisons.model_a]
    surplus = 1 / (1 + np.exp(-lead)) - comparisons.outcome
    none = np.zeros((len(comparisons), 0))
    found = sandwich(inverse, group, comparisons, none, surplus, ridge=1.0)
    assert np.diagonal(found) == pytest.approx(np.diagonal(inverse), rel=0.03)


def test_repeating_every_comparison_within_its_query_makes_nothing_surer() -> None:
    comparisons = tournament([0.0, 1.0, -1.0], 500, rng())
    twice = comparisons.take(np.repeat(np.arange(500), 2))

    def spread(of: Comparisons) -> NDArray[np.float64]:
        strengths = fit_counts(count_wins(of), ridge=1e-9)
        inverse, group = inverse_of(of, strengths, 1e-9)
        lead = strengths[of.model_b] - strengths[of.model_a]
        surplus = 1 / (1 + np.exp(-lead)) - of.outcome
        return sandwich(inverse, group, of, np.zeros((len(of), 0)), surplus, ridge=1e-9)

    assert spread(twice) == pytest.approx(spread(comparisons), rel=1e-6)


def resampled(comparisons: Comparisons, n: int, *, ridge: float = 0.01) -> NDArray[np.float64]:
    n_models = comparisons.n_models
    return resample_counts(
        comparisons,
        ridge=ridge,
        prior=np.zeros(n_models),
        start=np.zeros(n_models),
        n_resamples=n,
        rng=rng(),
    )


def test_resamples_are_those_of_drawing_queries_one_by_one() -> None:
    # Three queries: all 27 ordered draws can be listed, and their fits with them.
    comparisons = Comparisons.from_arrays([0, 1, 1, 2], [0, 0, 1, 0], [1, 2, 2, 1], [1, 0, 1, 0])
    drawn = [
        np.concatenate([np.flatnonzero(comparisons.query == query) for query in draw])
        for draw in product(range(3), repeat=3)
    ]
    listed = np.array([fit_counts(count_wins(comparisons.take(rows))) for rows in drawn])
    found = resampled(comparisons, 4000)
    assert {tuple(row) for row in found.round(6)} == {tuple(row) for row in listed.round(6)}
    assert found.mean(0) == pytest.approx(listed.mean(0), abs=0.15)
    assert np.cov(found.T) == pytest.approx(np.cov(listed.T, bias=True), rel=0.1, abs=0.1)


def test_queries_of_a_kind_are_resampled_as_if_each_were_drawn() -> None:
    comparisons = tournament([0.0, 0.7, -0.7], 300, rng(), tie_share=0.2)
    together = resampled(comparisons, 2000)
    # A weightless comparison beside each makes every query one of its own kind.
    apart = Comparisons.concat([comparisons, comparisons.take(np.arange(300))])
    weights = np.concatenate([np.ones(300), np.full(300, 1e-12)])
    apart = Comparisons.from_arrays(
        apart.query, apart.model_a, apart.model_b, apart.outcome, weight=weights
    )
    one_by_one = resampled(apart, 2000)
    assert together.std(0) == pytest.approx(one_by_one.std(0), rel=0.08)
    assert together.mean(0) == pytest.approx(one_by_one.mean(0), abs=0.02)


def test_the_spread_of_resamples_is_the_sandwich() -> None:
    comparisons = tournament([0.0, 0.7, -0.7], 1500, rng(), per_query=5)
    strengths = fit_counts(count_wins(comparisons), ridge=0.01)
    inverse, group = inverse_of(comparisons, strengths, 0.01)
    lead = strengths[comparisons.model_b] - strengths[comparisons.model_a]
    surplus = 1 / (1 + np.exp(-lead)) - comparisons.outcome
    none = np.zeros((len(comparisons), 0))
    expected = sandwich(inverse, group, comparisons, none, surplus, ridge=0.01)
    assert np.cov(resampled(comparisons, 2000).T) == pytest.approx(expected, rel=0.15)


def test_batches_of_resamples_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons = tournament([0.0, 0.7, -0.7], 100, rng())
    whole = resampled(comparisons, 20)
    monkeypatch.setattr("triskele.evaluate.bradley_terry.intervals.AT_ONCE", 1)
    assert resampled(comparisons, 20) == pytest.approx(whole)


def test_a_resample_in_which_someone_lost_everything_is_finite_without_a_ridge() -> None:
    comparisons = Comparisons.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 1], [1, 1, 0])
    found = resampled(comparisons, 50, ridge=0.0)
    assert np.isfinite(found).all()
    assert np.ptp(found) > 10


def test_without_comparisons_every_resample_is_the_prior() -> None:
    nothing = Comparisons.from_arrays([], [], [], [], models=["x", "y"])
    assert resampled(nothing, 3).tolist() == [[0.0, 0.0]] * 3


def test_resamples_with_covariates_spread_as_those_without() -> None:
    comparisons = tournament([0.0, 0.7, -0.7], 600, rng(), per_query=3)
    found = resample_effects(
        comparisons,
        np.zeros((600, 0)),
        ridge=0.01,
        prior=np.zeros(3),
        start=Effects(np.zeros(3), np.zeros(0)),
        n_resamples=300,
        rng=rng(),
    )
    assert found.std(0) == pytest.approx(resampled(comparisons, 300).std(0), rel=0.2)


def test_resamples_of_coefficients_lie_around_the_fit() -> None:
    comparisons = tournament([0.0, 0.7, -0.7], 600, rng())
    x = rng().normal(size=(600, 1))
    start = Effects(np.zeros(3), np.zeros(1))
    fit = fit_effects(comparisons, x, ridge=0.01, prior=np.zeros(3), start=start)
    found = resample_effects(
        comparisons, x, ridge=0.01, prior=np.zeros(3), start=fit, n_resamples=100, rng=rng()
    )
    assert found.shape == (100, 4)
    assert found.mean(0) == pytest.approx(np.concatenate(fit), abs=0.05)
    assert 0.05 < found[:, 3].std() < 0.15


def test_queries_without_weight_do_not_count() -> None:
    comparisons = Comparisons.from_arrays(
        [0, 1, 1, 3], [0] * 4, [1] * 4, [1] * 4, weight=[1, 0, 0, 2], n_queries=9
    )
    assert n_queries_compared(comparisons) == 2
