"""The trend: how capabilities vary smoothly over the embedding space.

    θ(x) = μ + φ(x) W

with landmark features φ and W ~ N(0, I/α ⊗ Λ): features are alike before anything is seen, models
are not. Λ, the covariance between models of what a region of queries does to them, is learned: two
models of one family gain and lose in the same regions, and what is seen of one tells of the other.
The maximum a posteriori is found for a given Λ by L-BFGS on the comparisons, and Λ is the
covariance of the W found, shrunk towards the identity, in turns.

This is a kernel form of prompt-conditional Bradley–Terry regression (Frick et al. 2025, P2L), with
the coregionalisation of multi-task Gaussian processes (Bonilla et al. 2008).

Shape suffixes: Q queries, L features, M models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from triskele.evaluate.columns import Floats, Real
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.losses import losses_of_odds

SHRINKAGE = 0.3
"""Of the covariance between models towards the identity."""
BLOCK = 32_768
"""Queries at a time, which bounds the memory."""
N_CORRECTIONS = 12
"""Steps that L-BFGS remembers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trend:
    """Capabilities as a function of features."""

    mean_M: Floats
    weights_LM: Floats
    covariance_MM: Floats
    """Λ, with a mean diagonal of 1."""
    ridge: float
    """α, the prior precision of the weights."""

    def capabilities(self, features_QL: Real) -> Floats:
        """Return θ, (Q, M)."""
        weights = self.weights_LM.astype(features_QL.dtype, copy=False)
        return (features_QL @ weights).astype(np.float64) + self.mean_M


def fit_trend(
    features_QL: Real,
    comparisons: Comparisons,
    *,
    mean_M: Floats,
    ridge: float,
    covariance_MM: Floats | None = None,
    n_rounds: int = 3,
    max_iter: int = 30,
) -> Trend:
    """Fit the weights of the trend to comparisons.

    Parameters
    ----------
    features_QL
        Of all queries of the comparisons.
    comparisons
        In any order.
    mean_M
        μ, taken as given.
    ridge
        α, the prior precision of the weights.
    covariance_MM
        Λ to begin with; the identity if not given.
    n_rounds, max_iter
        Turns of weights and covariance, and steps of L-BFGS in each.
    """
    n_models = comparisons.n_models
    rows = _Rows(features_QL, comparisons, mean_M)
    covariance = np.eye(n_models) if covariance_MM is None else covariance_MM
    weights = np.zeros((features_QL.shape[1], n_models))
    for turn in range(n_rounds):
        if turn:
            covariance = _covariance(weights)
        weights = _minimise(rows.loss, weights, covariance, ridge, max_iter=max_iter)
    return Trend(mean_M=mean_M, weights_LM=weights, covariance_MM=covariance, ridge=ridge)


def updated_trend(
    trend: Trend,
    features_QL: Real,
    comparisons: Comparisons,
    *,
    mean_M: Floats,
    curvature_LM: Floats,
    max_iter: int = 30,
) -> Trend:
    """Fit a trend to further comparisons, with what it was as the prior.

    Parameters
    ----------
    trend
        As it stands: the mean of the prior, and its first precision.
    features_QL
        Of all queries of the comparisons.
    comparisons
        In any order.
    mean_M
        μ as it is by now.
    curvature_LM
        Precision that the weights have gained so far, see :func:`trend_curvature`.
    max_iter
        Steps of L-BFGS.
    """
    rows = _Rows(features_QL, comparisons, mean_M)

    def loss(step_LM: Floats) -> tuple[float, Floats]:
        value, gradient = rows.loss(trend.weights_LM + step_LM)
        pull = curvature_LM * step_LM
        return value + 0.5 * float((pull * step_LM).sum()), gradient + pull

    step = _minimise(
        loss,
        np.zeros_like(trend.weights_LM),
        trend.covariance_MM,
        trend.ridge,
        max_iter=max_iter,
    )
    return replace(trend, mean_M=mean_M, weights_LM=trend.weights_LM + step)


def trend_curvature(trend: Trend, features_QL: Real, comparisons: Comparisons) -> Floats:
    """Return the second derivative of the loss by each weight, (L, M)."""
    return _Rows(features_QL, comparisons, trend.mean_M).curvature(trend.weights_LM)


def trend_loss(trend: Trend, features_QL: Real, comparisons: Comparisons) -> float:
    """Return the mean negative log likelihood of comparisons under a trend."""
    θ = trend.capabilities(features_QL)
    query, outcome = comparisons.query, comparisons.outcome
    z = θ[query, comparisons.model_b] - θ[query, comparisons.model_a]
    return float(np.average(losses_of_odds(z, outcome), weights=comparisons.weight))


def _minimise(
    loss: Callable[[Floats], tuple[float, Floats]],
    start_LM: Floats,
    covariance_MM: Floats,
    ridge: float,
    *,
    max_iter: int,
) -> Floats:
    """Return the weights that minimise a loss and the prior, whose scale L-BFGS is given."""
    root: Floats = np.asarray(np.linalg.cholesky(covariance_MM).T, np.float64)
    start = np.linalg.solve(root.T, start_LM.T).T

    def penalised(flat: Floats) -> tuple[float, Floats]:
        free = flat.reshape(start_LM.shape)
        value, gradient = loss(free @ root)
        value += 0.5 * ridge * float(flat @ flat)
        return value, (gradient @ root.T + ridge * free).ravel()

    found = minimize(
        penalised,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iter, "maxcor": N_CORRECTIONS},
    )
    return np.asarray(found.x.reshape(start_LM.shape) @ root)


def _covariance(weights_LM: Floats) -> Floats:
    """Return the shrunk covariance of the models' weights, with a mean diagonal of 1."""
    n_models = weights_LM.shape[1]
    raw = weights_LM.T @ weights_LM
    total = np.trace(raw)
    if total > 0:
        raw *= n_models / total
    else:
        raw = np.eye(n_models)
    return np.asarray((1 - SHRINKAGE) * raw + SHRINKAGE * np.eye(n_models))


class _Rows:
    """The negative log likelihood of the comparisons and its gradient, a block of queries a time.

    Comparisons are sorted by query, so that a block of them meets a block of features.
    """

    def __init__(self, features_QL: Real, comparisons: Comparisons, mean_M: Floats) -> None:
        order = np.argsort(comparisons.query, kind="stable")
        self._query = comparisons.query[order]
        self._a, self._b = comparisons.model_a[order], comparisons.model_b[order]
        self._outcome, self._weight = comparisons.outcome[order], comparisons.weight[order]
        # Only queries that were compared have a part in it.
        compared, self._query = np.unique(self._query, return_inverse=True)
        n = len(compared)
        self._features = features_QL if n == len(features_QL) else features_QL[compared]
        self._constant = mean_M[self._b] - mean_M[self._a]
        self._n_models = comparisons.n_models
        edges = np.arange(0, n + BLOCK, BLOCK).clip(max=n)
        self._blocks = [
            (slice(first, last), slice(*np.searchsorted(self._query, (first, last))))
            for first, last in pairwise(edges.tolist())
            if last > first
        ]

    def loss(self, weights_LM: Floats) -> tuple[float, Floats]:
        """Return the loss at some weights and its gradient, (L, M)."""
        dtype = self._features.dtype
        weights = weights_LM.astype(dtype, copy=False)
        gradient = np.zeros_like(weights_LM)
        total, n_models = 0.0, self._n_models
        for queries, rows in self._blocks:
            features = self._features[queries]
            θ_QM = features @ weights
            row, a, b = self._query[rows] - queries.start, self._a[rows], self._b[rows]
            at_a, at_b = row * n_models + a, row * n_models + b
            flat = θ_QM.ravel()
            z = self._constant[rows] + flat[at_b] - flat[at_a]
            outcome, weight = self._outcome[rows], self._weight[rows]
            total += float(weight @ (np.logaddexp(0.0, z) - outcome * z))
            surplus = weight * (expit(z) - outcome)
            slope = np.bincount(at_b, surplus, θ_QM.size) - np.bincount(at_a, surplus, θ_QM.size)
            gradient += features.T @ slope.reshape(θ_QM.shape).astype(dtype, copy=False)
        return total, gradient

    def curvature(self, weights_LM: Floats) -> Floats:
        """Return the diagonal of the second derivatives at some weights, (L, M)."""
        dtype, n_models = self._features.dtype, self._n_models
        weights = weights_LM.astype(dtype, copy=False)
        total = np.zeros_like(weights_LM)
        for queries, rows in self._blocks:
            features = self._features[queries]
            θ_QM = features @ weights
            row, a, b = self._query[rows] - queries.start, self._a[rows], self._b[rows]
            at_a, at_b = row * n_models + a, row * n_models + b
            flat = θ_QM.ravel()
            p = expit(self._constant[rows] + flat[at_b] - flat[at_a])
            spread = self._weight[rows] * p * (1 - p)
            of_models = np.bincount(at_a, spread, θ_QM.size) + np.bincount(at_b, spread, θ_QM.size)
            total += np.square(features).T @ of_models.reshape(θ_QM.shape).astype(dtype, copy=False)
        return total
