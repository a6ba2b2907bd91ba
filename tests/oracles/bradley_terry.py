"""The Bradley–Terry model comparison by comparison, as one would write it down."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from triskele.evaluate.comparisons import Comparisons


def objective(
    strengths: Sequence[float],
    comparisons: Comparisons,
    *,
    ridge: float,
    prior: Sequence[float],
    coefficients: Sequence[float] = (),
    covariates: Sequence[Sequence[float]] | None = None,
) -> float:
    """Return the negative log likelihood plus the ridge."""
    total = 0.0
    for row in range(len(comparisons)):
        a, b = comparisons.model_a[row], comparisons.model_b[row]
        log_odds = strengths[b] - strengths[a]
        for column, coefficient in enumerate(coefficients):
            assert covariates is not None
            log_odds += coefficient * covariates[row][column]
        y, weight = comparisons.outcome[row], comparisons.weight[row]
        total += weight * (y * np.logaddexp(0, -log_odds) + (1 - y) * np.logaddexp(0, log_odds))
    for strength, expected in zip(strengths, prior, strict=True):
        total += ridge / 2 * (strength - expected) ** 2
    for coefficient in coefficients:
        total += ridge / 2 * coefficient**2
    return total


def maximise(
    comparisons: Comparisons,
    *,
    ridge: float,
    prior: Sequence[float],
    covariates: Sequence[Sequence[float]] | None = None,
) -> NDArray[np.float64]:
    """Return strengths and coefficients by a general minimiser."""
    n_models = comparisons.n_models
    n_covariates = 0 if covariates is None or not len(covariates) else len(covariates[0])

    def of(parameters: NDArray[np.float64]) -> float:
        return objective(
            parameters[:n_models],
            comparisons,
            ridge=ridge,
            prior=prior,
            coefficients=parameters[n_models:],
            covariates=covariates,
        )

    found = minimize(of, np.zeros(n_models + n_covariates), method="BFGS", options={"gtol": 1e-7})
    return np.asarray(found.x)


def curvature(
    strengths: Sequence[float], comparisons: Comparisons, *, ridge: float
) -> NDArray[np.float64]:
    """Return the second derivatives of the objective."""
    n_models = comparisons.n_models
    total = ridge * np.eye(n_models)
    for row in range(len(comparisons)):
        x = np.zeros(n_models)
        x[comparisons.model_b[row]] += 1
        x[comparisons.model_a[row]] -= 1
        p = 1 / (1 + np.exp(-(x @ np.asarray(strengths))))
        total += comparisons.weight[row] * p * (1 - p) * np.outer(x, x)
    return total


def scores_by_query(strengths: Sequence[float], comparisons: Comparisons) -> NDArray[np.float64]:
    """Return the gradient of each query's negative log likelihood: (n_queries, n_models)."""
    scores = np.zeros((comparisons.n_queries, comparisons.n_models))
    for row in range(len(comparisons)):
        a, b = comparisons.model_a[row], comparisons.model_b[row]
        p = 1 / (1 + np.exp(strengths[a] - strengths[b]))
        surplus = comparisons.weight[row] * (p - comparisons.outcome[row])
        scores[comparisons.query[row], b] += surplus
        scores[comparisons.query[row], a] -= surplus
    return scores
