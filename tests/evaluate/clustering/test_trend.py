from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from tests.evaluate.planted import planted

from triskele.evaluate.clustering import trend as module
from triskele.evaluate.clustering.trend import (
    Trend,
    fit_trend,
    trend_curvature,
    trend_loss,
    updated_trend,
)
from triskele.evaluate.comparisons import Comparisons

N_FEATURES = 5


def features(n: int, seed: int = 0) -> NDArray[np.float64]:
    x = np.random.default_rng(seed).standard_normal((n, N_FEATURES))
    return x - x.mean(0)


def votes(n: int = 40, n_models: int = 4, *, seed: int = 0) -> Comparisons:
    return planted(n, n_models=n_models, per_query=3, seed=seed).comparisons


def linear_votes(n: int, weights: NDArray[np.float64], *, seed: int = 0) -> Comparisons:
    """Outcomes as a trend of these weights expects them: shares, without noise."""
    rng = np.random.default_rng(seed)
    n_models = weights.shape[1]
    query = np.repeat(np.arange(n), 4)
    a = rng.integers(n_models, size=4 * n)
    b = (a + rng.integers(1, n_models, size=4 * n)) % n_models
    θ = features(n)[query] @ weights
    rows = np.arange(4 * n)
    outcome = 1 / (1 + np.exp(θ[rows, a] - θ[rows, b]))
    return Comparisons.from_arrays(query, a, b, outcome, models=list(map(str, range(n_models))))


def a_trend(weights: NDArray[np.float64], *, ridge: float = 1.0) -> Trend:
    n_models = weights.shape[1]
    mean, covariance = np.linspace(-1, 1, n_models), np.eye(n_models)
    return Trend(mean_M=mean, weights_LM=weights, covariance_MM=covariance, ridge=ridge)


def test_capabilities_are_linear_in_the_features() -> None:
    weights = np.random.default_rng(0).standard_normal((N_FEATURES, 4))
    trend = a_trend(weights)
    np.testing.assert_allclose(
        trend.capabilities(features(7)), features(7) @ weights + trend.mean_M
    )


def test_the_loss_is_that_of_a_loop() -> None:
    trend = a_trend(np.random.default_rng(0).standard_normal((N_FEATURES, 4)))
    given, x = votes(), features(40)
    given = replace(given, weight=np.random.default_rng(1).random(len(given)))
    θ, total = trend.capabilities(x), 0.0
    for row in range(len(given)):
        query, a, b = given.query[row], given.model_a[row], given.model_b[row]
        p = 1 / (1 + np.exp(θ[query, a] - θ[query, b]))
        total -= given.weight[row] * np.log(p if given.outcome[row] else 1 - p)
    assert trend_loss(trend, x, given) == pytest.approx(total / given.weight.sum())


def test_the_gradient_is_that_of_finite_differences() -> None:
    given = votes()
    given = replace(given, weight=np.random.default_rng(1).random(len(given)))
    rows = module._Rows(features(40), given, np.linspace(-1, 1, 4))
    weights = np.random.default_rng(2).standard_normal((N_FEATURES, 4))

    def loss(flat: NDArray[np.float64]) -> float:
        return rows.loss(flat.reshape(weights.shape))[0]

    numeric = approx_fprime(weights.ravel(), loss, 1e-7)
    np.testing.assert_allclose(rows.loss(weights)[1].ravel(), numeric, atol=1e-4)


def test_the_curvature_is_that_of_finite_differences() -> None:
    given, x = votes(), features(40)
    trend = a_trend(np.random.default_rng(2).standard_normal((N_FEATURES, 4)))
    rows = module._Rows(x, given, trend.mean_M)
    numeric = np.zeros_like(trend.weights_LM)
    for at in np.ndindex(*numeric.shape):
        step = np.zeros_like(numeric)
        step[at] = 1e-5
        slopes = [rows.loss(trend.weights_LM + sign * step)[1][at] for sign in (1, -1)]
        numeric[at] = (slopes[0] - slopes[1]) / 2e-5
    np.testing.assert_allclose(trend_curvature(trend, x, given), numeric, rtol=1e-6)


def test_blocks_give_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given, x = votes().take(np.random.default_rng(0).permutation(120)), features(40)
    trend = a_trend(np.random.default_rng(2).standard_normal((N_FEATURES, 4)))
    found = []
    for block in (7, 1000):
        monkeypatch.setattr(module, "BLOCK", block)
        rows = module._Rows(x, given, trend.mean_M)
        found.append((*rows.loss(trend.weights_LM), rows.curvature(trend.weights_LM)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_fit_is_where_the_slope_is_zero() -> None:
    given, x = votes(), features(40)
    mean, ridge = np.linspace(-1, 1, 4), 2.0
    covariance = np.eye(4) + 0.5
    trend = fit_trend(
        x, given, mean_M=mean, ridge=ridge, covariance_MM=covariance, n_rounds=1, max_iter=500
    )
    slope = module._Rows(x, given, mean).loss(trend.weights_LM)[1]
    slope += ridge * trend.weights_LM @ np.linalg.inv(covariance)
    np.testing.assert_allclose(slope, 0.0, atol=1e-3)


def test_weights_are_recovered_from_many_comparisons() -> None:
    weights = np.random.default_rng(3).standard_normal((N_FEATURES, 4))
    weights -= weights.mean(1, keepdims=True)
    trend = fit_trend(
        features(2000), linear_votes(2000, weights), mean_M=np.zeros(4), ridge=1e-3, max_iter=300
    )
    found = trend.weights_LM - trend.weights_LM.mean(1, keepdims=True)
    np.testing.assert_allclose(found, weights, atol=0.02)


def test_models_that_vary_together_are_found() -> None:
    shared = np.random.default_rng(3).standard_normal((N_FEATURES, 1))
    weights = np.hstack([shared, shared, -shared, -shared])
    trend = fit_trend(features(500), linear_votes(500, weights), mean_M=np.zeros(4), ridge=1.0)
    Λ = trend.covariance_MM
    assert np.trace(Λ) == pytest.approx(4.0)
    assert min(Λ[0, 1], Λ[2, 3]) > 0.4
    assert max(Λ[0, 2], Λ[1, 3]) < -0.4


def test_what_is_seen_of_a_model_tells_of_its_sibling() -> None:
    shared = np.random.default_rng(3).standard_normal((N_FEATURES, 1))
    weights = np.hstack([shared, shared, -shared, -shared])
    Λ = 0.7 * np.outer([1, 1, -1, -1], [1, 1, -1, -1]) + 0.3 * np.eye(4)
    given = linear_votes(300, weights)
    unseen = given.take((given.model_a != 0) & (given.model_b != 0))
    for covariance, least in ((Λ, 0.8), (None, -0.1)):
        trend = fit_trend(
            features(300),
            unseen,
            mean_M=np.zeros(4),
            ridge=1.0,
            covariance_MM=covariance,
            n_rounds=1,
        )
        correlation = np.corrcoef(trend.weights_LM[:, 0] - trend.weights_LM[:, 2], shared[:, 0])[
            0, 1
        ]
        assert correlation > least
        own = np.abs(trend.weights_LM[:, 0]).max()
        assert (own > 0.3) == (covariance is not None)


def test_a_large_ridge_leaves_the_mean() -> None:
    trend = fit_trend(features(40), votes(), mean_M=np.arange(4.0), ridge=1e9)
    expected = np.tile(np.arange(4.0), (40, 1))
    np.testing.assert_allclose(trend.capabilities(features(40)), expected, atol=1e-6)


def test_without_comparisons_there_is_the_mean() -> None:
    none = Comparisons.from_arrays([], [], [], [], models=["x", "y"], n_queries=40)
    trend = fit_trend(features(40), none, mean_M=np.array([1.0, -1.0]), ridge=1.0)
    assert not trend.weights_LM.any()
    np.testing.assert_array_equal(trend.covariance_MM, np.eye(2))


def test_models_may_be_in_any_order() -> None:
    given, order = votes(), [2, 0, 3, 1]
    put = given.with_models([given.models[index] for index in order])
    mean = np.linspace(-1, 1, 4)
    fit = fit_trend(features(40), given, mean_M=mean, ridge=1.0)
    other = fit_trend(features(40), put, mean_M=mean[order], ridge=1.0)
    np.testing.assert_allclose(fit.weights_LM[:, order], other.weights_LM, atol=1e-3)


@pytest.mark.parametrize("told", ["swapped", "halved", "shuffled"])
def test_comparisons_may_be_told_otherwise(told: str) -> None:
    given = votes()
    half = replace(given, weight=given.weight / 2)
    other = {
        "swapped": given.swapped(),
        "halved": Comparisons.concat([half, half]),
        "shuffled": given.take(np.random.default_rng(0).permutation(len(given))),
    }[told]
    weights = [
        fit_trend(features(40), each, mean_M=np.zeros(4), ridge=1.0).weights_LM
        for each in (given, other)
    ]
    np.testing.assert_allclose(*weights, atol=1e-3)


def test_single_precision_is_nearly_double() -> None:
    given = votes()
    double, single = (
        fit_trend(x, given, mean_M=np.zeros(4), ridge=1.0).weights_LM
        for x in (features(40), features(40).astype(np.float32))
    )
    np.testing.assert_allclose(double, single, atol=1e-2)
    assert single.dtype == np.float64


def test_an_update_by_nothing_changes_nothing() -> None:
    trend = fit_trend(features(40), votes(), mean_M=np.zeros(4), ridge=1.0)
    none = votes().take(np.zeros(120, bool))
    same = updated_trend(
        trend, features(40), none, mean_M=np.zeros(4), curvature_LM=np.zeros((N_FEATURES, 4))
    )
    np.testing.assert_allclose(same.weights_LM, trend.weights_LM)


def test_an_update_from_nothing_is_a_fit() -> None:
    start = a_trend(np.zeros((N_FEATURES, 4)))
    updated = updated_trend(
        start,
        features(40),
        votes(),
        mean_M=start.mean_M,
        curvature_LM=np.zeros((N_FEATURES, 4)),
        max_iter=300,
    )
    fitted = fit_trend(
        features(40), votes(), mean_M=start.mean_M, ridge=1.0, n_rounds=1, max_iter=300
    )
    np.testing.assert_allclose(updated.weights_LM, fitted.weights_LM, atol=1e-3)


def test_the_more_is_known_the_less_an_update_changes() -> None:
    trend = a_trend(np.zeros((N_FEATURES, 4)))
    lengths = [
        np.linalg.norm(
            updated_trend(
                trend,
                features(40),
                votes(),
                mean_M=trend.mean_M,
                curvature_LM=np.full((N_FEATURES, 4), known),
            ).weights_LM
        )
        for known in (0.0, 10.0, 1e3, 1e9)
    ]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 1e-6
