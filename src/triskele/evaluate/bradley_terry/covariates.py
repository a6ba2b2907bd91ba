"""Bradley–Terry strengths beside the effect of what else differs between two answers.

Each comparison has covariates x, such as how much longer the answer of b is than that of a:

    P(b beats a) = σ(θ_b − θ_a + x·β).

θ is then the strength at equal length. A covariate is a difference, b's value minus a's, so that
telling the comparison the other way round changes its sign; scaled to a deviation of about one, it
is pulled towards zero as strengths are.

Newton's method works on the rows. A step is halved until it halves the gradient or stops short of
the minimum along its line; as the objective is convex, it is then lower. The strengths and the
coefficients are one vector φ = (θ, β) of n_models + n_covariates entries.
"""

from typing import NamedTuple
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from triskele.evaluate.columns import Floats, frozen
from triskele.evaluate.comparisons import Comparisons

MAX_ROUNDS = 200
SMALL_STEP = 1e-6
"""Once a whole step changes no log odds by more, what is left is of the order of its square."""


class Effects(NamedTuple):
    """Strengths of the models, (n_models,), and coefficients of the covariates."""

    strengths: Floats
    coefficients: Floats


def check_covariates(covariates: ArrayLike, n: int) -> Floats:
    """Return covariates as (n, n_covariates), read-only.

    Raises
    ------
    ValueError
        If there is not one row for each comparison, or one holds what is not a finite number.
    """
    x = np.asarray(covariates)
    if x.ndim != 2 or len(x) != n or x.dtype.kind not in "iufb":
        raise ValueError(
            f"expected covariates as a table of numbers with {n} rows, one per comparison, got "
            f"shape {x.shape} of {x.dtype}"
        )
    is_finite = np.isfinite(x).all(1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise ValueError(f"row {row}: expected finite covariates, got {x[row].tolist()}")
    return frozen(np.array(x, np.float64))


def fit_effects(
    comparisons: Comparisons,
    covariates: Floats,
    *,
    ridge: float,
    prior: Floats,
    start: Effects,
    weight: Floats | None = None,
) -> Effects:
    """Return the maximum of the penalised likelihood.

    Parameters
    ----------
    comparisons
        In any order.
    covariates
        (n, n_covariates), b's value minus a's.
    ridge
        Strength of the pull of θ towards the prior and of β towards zero, above 0: with covariates,
        whether there is a maximum without one cannot be seen from who won against whom.
    prior
        (n_models,).
    start
        Where to begin.
    weight
        Other weights than those of the comparisons, (n,).

    Raises
    ------
    ValueError
        If there is no ridge.

    Warns
    -----
    ConvergenceWarning
        If the steps do not become small.
    """
    if not ridge > 0:
        raise ValueError(f"expected a ridge above 0 with covariates, got {ridge}")
    rows = _Rows(comparisons, covariates, comparisons.weight if weight is None else weight)
    μ = np.concatenate([prior, np.zeros(covariates.shape[1])])
    φ = np.concatenate(start)
    φ[: comparisons.n_models] += prior.mean() - start.strengths.mean() if len(prior) else 0.0
    scale = rows.most_curvature() + ridge
    gradient = rows.gradient(φ) + ridge * (φ - μ)
    least = float((np.abs(gradient) / scale).max(initial=0.0))
    for _ in range(MAX_ROUNDS):
        Δ = -np.linalg.solve(rows.curvature(φ) + ridge * np.eye(len(φ)), gradient)
        is_small = np.abs(rows.log_odds(Δ)).max(initial=0.0) <= SMALL_STEP
        while True:
            gradient = rows.gradient(φ + Δ) + ridge * (φ + Δ - μ)
            merit = float((np.abs(gradient) / scale).max(initial=0.0))
            # Along a step at whose end the objective still falls it has fallen all the way.
            if is_small or merit <= least / 2 or gradient @ Δ <= 0:
                break
            Δ = Δ / 2
        φ = φ + Δ
        least = min(least, merit)
        if is_small:
            return rows.effects(φ)
    warn("the fit with covariates did not converge", ConvergenceWarning, stacklevel=2)
    return rows.effects(φ)


def information(comparisons: Comparisons, covariates: Floats, at: Effects) -> Floats:
    """Return the curvature of the negative log likelihood, without the ridge.

    Returns
    -------
    Array
        (n_models + n_covariates,) squared.
    """
    return _Rows(comparisons, covariates, comparisons.weight).curvature(np.concatenate(at))


def log_odds(comparisons: Comparisons, covariates: Floats, at: Effects) -> Floats:
    """Return θ_b − θ_a + x·β of each comparison, (n,)."""
    return _Rows(comparisons, covariates, comparisons.weight).log_odds(np.concatenate(at))


class _Rows(NamedTuple):
    comparisons: Comparisons
    x: Floats
    weight: Floats

    def log_odds(self, φ: Floats) -> Floats:
        θ, β = self.effects(φ)
        comparisons = self.comparisons
        return np.asarray(θ[comparisons.model_b] - θ[comparisons.model_a] + self.x @ β)

    def gradient(self, φ: Floats) -> Floats:
        surplus = self.weight * (expit(self.log_odds(φ)) - self.comparisons.outcome)
        return np.concatenate([self._to_models(surplus), surplus @ self.x])

    def curvature(self, φ: Floats) -> Floats:
        η = self.log_odds(φ)
        curvature = self.weight * expit(η) * expit(-η)
        n_models = self.comparisons.n_models
        a, b = self.comparisons.model_a, self.comparisons.model_b
        cells = np.bincount(a * n_models + b, curvature, minlength=n_models * n_models)
        pairs = cells.reshape(n_models, n_models) + cells.reshape(n_models, n_models).T
        weighted = curvature[:, None] * self.x
        mixed = np.empty((n_models, self.x.shape[1]))
        for column in range(self.x.shape[1]):
            mixed[:, column] = self._to_models(weighted[:, column])
        laplacian = np.diag(pairs.sum(1)) - pairs
        return np.block([[laplacian, mixed], [mixed.T, self.x.T @ weighted]])

    def most_curvature(self) -> Floats:
        """Return a bound on the diagonal of the curvature."""
        n_models = self.comparisons.n_models
        a, b = self.comparisons.model_a, self.comparisons.model_b
        of_models = np.bincount(a, self.weight, n_models) + np.bincount(b, self.weight, n_models)
        return np.concatenate([of_models, self.weight @ np.square(self.x)]) / 4

    def effects(self, φ: Floats) -> Effects:
        n_models = self.comparisons.n_models
        return Effects(φ[:n_models], φ[n_models:])

    def _to_models(self, values: Floats) -> Floats:
        """Add each row's value to b and take it from a."""
        n_models = self.comparisons.n_models
        return np.asarray(
            np.bincount(self.comparisons.model_b, values, n_models)
            - np.bincount(self.comparisons.model_a, values, n_models)
        )
