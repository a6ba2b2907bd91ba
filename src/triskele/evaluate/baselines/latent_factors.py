"""Queries differ in a few hidden ways, which only their comparisons show: a latent factor model.

    θ_q = μ + A z_q,   z_q ~ N(0, I),

as in item response theory, with Bradley–Terry instead of right and wrong answers. The embedding has
no part in it: without comparisons of a query its capabilities are μ, and each comparison of it
moves z_q. It is the honest user of evidence: a comparison tells of all models, as far as they
gained and lost together before.

μ and A are found by expectation maximisation. The posterior of z_q is taken to be normal around its
mode (Laplace); its mean over what A should be is a mean over 2 n_factors points of equal mean and
covariance, which makes A a regression of the outcomes on those points. After each round the prior
of z is brought back to N(0, I) by what A is multiplied with (Liu, Rubin, Wu 1998, parameter
expansion to accelerate EM). A chance averages over the posterior, after MacKay (1992).

Shape suffixes: Q queries, N comparisons, F factors, M models.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.estimation import GLOBAL_RIDGE
from triskele.evaluate.clustering.trend import fit_trend
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import of_models, of_queries
from triskele.evaluate.predictions import (
    best_first,
    mean_log_likelihood,
    n_rows,
)

START = 0.5
"""Deviation of the loadings to begin with."""
FREE = 30.0
"""A feature so large that its weight, which moves μ, is hardly pulled towards zero."""
MAX_STEPS, SMALL_STEP = 100, 1e-6
"""Of Newton's method for a mode, in log odds."""


class LatentFactorBradleyTerry(BaseEstimator):  # type: ignore[misc]
    """Bradley–Terry strengths that vary with hidden factors of the query.

    Parameters
    ----------
    n_factors
        How many; fewer if there are not as many models.
    ridge
        Pull of the loadings towards zero; above 0.
    max_iter, tol
        Rounds of expectation maximisation at most, and the relative change of A Aᵀ that ends them.
    random_state
        Seed of the start.

    Attributes
    ----------
    models_ : tuple of str
    global_ : array (n_models,)
        μ, as log odds for the typical query.
    loadings_ : array (n_models, n_factors_)
        A, up to a rotation of the factors.
    n_factors_, n_iter_ : int
        Factors, and rounds of expectation maximisation.
    """

    def __init__(
        self,
        n_factors: int = 3,
        *,
        ridge: float = 30.0,
        max_iter: int = 40,
        tol: float = 0.01,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_factors = n_factors
        self.ridge = ridge
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Find μ and A.

        Parameters
        ----------
        X
            Queries, of which only the number matters.
        y
            Ignored.
        comparisons
            Of models on the rows of X.

        Raises
        ------
        ValueError
            If comparisons are of another number of queries, or a parameter is out of range.
        """
        if self.n_factors < 1 or self.max_iter < 1:
            raise ValueError(
                f"expected factors and rounds, got {self.n_factors} and {self.max_iter}"
            )
        if not 0 < self.ridge < np.inf:
            raise ValueError(f"expected a finite ridge above 0, got {self.ridge}")
        known = of_queries(comparisons, n_rows(X))
        self.models_, n_models = known.models, known.n_models
        self.global_ = fit_counts(count_wins(known), ridge=GLOBAL_RIDGE)
        self.n_factors_ = min(self.n_factors, max(n_models - 1, 0))
        rng = np.random.default_rng(check_random_state(self.random_state).randint(1 << 31))
        self.loadings_ = START * rng.standard_normal((n_models, self.n_factors_))
        self.n_iter_ = 0
        compared = np.unique(known.query)
        if self.n_factors_ == 0 or not len(compared):
            self.loadings_[:] = 0
            return self
        known = known.of_queries(compared)
        change, size = np.inf, 0.0
        while change > self.tol * size and self.n_iter_ < self.max_iter:
            before = self.loadings_ @ self.loadings_.T
            self._improve(known)
            now = self.loadings_ @ self.loadings_.T
            change, size = float(np.linalg.norm(now - before)), float(np.linalg.norm(now))
            self.n_iter_ += 1
        return self

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        Parameters
        ----------
        X
            Queries, of which only the number matters.
        comparisons
            What is known of these queries, of models that were fitted.
        """
        posterior = self._posterior(X, comparisons)
        return self.global_ + posterior.mean_QF @ self.loadings_.T

    def rank(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Integers:
        """Return the models of each query, best first, as indices: (n_queries, n_models)."""
        return best_first(self.capabilities(X, comparisons))

    def predict_pairwise(
        self, X: ArrayLike, pairs: Comparisons, *, comparisons: Comparisons | None = None
    ) -> Floats:
        """Return the chance that b beats a, (n,), on average over what the query may be."""
        posterior = self._posterior(X, comparisons)
        asked = of_models(of_queries(pairs, len(posterior.mean_QF)), self.models_)
        lead_NF = self.loadings_[asked.model_b] - self.loadings_[asked.model_a]
        log_odds = self.global_[asked.model_b] - self.global_[asked.model_a]
        log_odds = log_odds + np.einsum("nf,nf->n", lead_NF, posterior.mean_QF[asked.query])
        covariance_NFF = posterior.covariance_QFF[asked.query]
        variance = np.einsum("nf,nfg,ng->n", lead_NF, covariance_NFF, lead_NF)
        return np.asarray(expit(log_odds / np.sqrt(1 + np.pi / 8 * variance)))

    def score(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        comparisons: Comparisons | None = None,
        evidence: Comparisons | None = None,
    ) -> float:
        """Return the mean log likelihood of comparisons, the higher the better."""
        return mean_log_likelihood(self, X, comparisons, evidence)

    def _posterior(self, X: ArrayLike, comparisons: Comparisons | None) -> "_Posterior":
        check_is_fitted(self)
        known = of_models(of_queries(comparisons, n_rows(X)), self.models_)
        return _posterior(known, self.global_, self.loadings_)

    def _improve(self, known: Comparisons) -> None:
        """Set μ and A to what the posterior of the factors makes most likely."""
        posterior = _posterior(known, self.global_, self.loadings_)
        n_factors = posterior.mean_QF.shape[1]
        n_points = 2 * n_factors
        reach_QFF = np.linalg.cholesky(posterior.covariance_QFF) * np.sqrt(n_factors)
        points_QPF = posterior.mean_QF[:, None, :] + np.concatenate(
            [reach_QFF.swapaxes(1, 2), -reach_QFF.swapaxes(1, 2)], axis=1
        )
        points = points_QPF.reshape(-1, n_factors)
        found = fit_trend(
            np.column_stack([np.full(len(points), FREE), points]),
            _at_points(known, n_points),
            mean_M=self.global_,
            ridge=self.ridge,
            n_rounds=1,
        )
        spread_FF = points.T @ points / len(points)
        self.global_ = self.global_ + FREE * found.weights_LM[0]
        self.global_ -= self.global_.mean()
        self.loadings_ = found.weights_LM[1:].T @ np.linalg.cholesky(spread_FF)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.sparse = True
        return tags


class _Posterior(NamedTuple):
    mean_QF: Floats
    covariance_QFF: Floats


def _at_points(known: Comparisons, n_points: int) -> Comparisons:
    """Return the comparisons as seen from each of the points of their queries."""
    rows = np.repeat(np.arange(len(known)), n_points)
    point = np.tile(np.arange(n_points), len(known))
    return Comparisons.from_arrays(
        known.query[rows] * n_points + point,
        known.model_a[rows],
        known.model_b[rows],
        known.outcome[rows],
        weight=known.weight[rows] / n_points,
        models=known.models,
        n_queries=known.n_queries * n_points,
    )


def _posterior(known: Comparisons, mean_M: Floats, loadings_MF: Floats) -> _Posterior:
    """Return the normal approximation of what the factors of each query are."""
    n_queries, n_factors = known.n_queries, loadings_MF.shape[1]
    lead_NF = loadings_MF[known.model_b] - loadings_MF[known.model_a]
    constant_N = mean_M[known.model_b] - mean_M[known.model_a]
    entries = (known.weight, known.query, np.arange(len(known) + 1))
    sum_QN = sparse.csc_array(entries, shape=(n_queries, len(known))).tocsr()
    square_NFF = lead_NF[:, :, None] * lead_NF[:, None, :]
    z_QF = np.zeros((n_queries, n_factors))
    precision_QFF = np.tile(np.eye(n_factors), (n_queries, 1, 1))
    for _ in range(MAX_STEPS if len(known) and n_factors else 0):
        η_N = constant_N + np.einsum("nf,nf->n", lead_NF, z_QF[known.query])
        p_N = expit(η_N)
        slope_QF = sum_QN @ ((known.outcome - p_N)[:, None] * lead_NF) - z_QF
        curved_NFF = (p_N * expit(-η_N))[:, None, None] * square_NFF
        curvature = sum_QN @ curved_NFF.reshape(len(known), -1)
        precision_QFF = np.eye(n_factors) + curvature.reshape(n_queries, n_factors, n_factors)
        Δ_QF = np.linalg.solve(precision_QFF, slope_QF[..., None])[..., 0]
        # As in ``newton``: the third derivative along a step is at most its range times the second.
        R_Q = np.zeros(n_queries)
        np.maximum.at(R_Q, known.query, np.abs(np.einsum("nf,nf->n", lead_NF, Δ_QF[known.query])))
        if R_Q.max() <= SMALL_STEP:
            break
        is_long = R_Q > SMALL_STEP
        length_Q = np.ones(n_queries)
        np.divide(np.log1p(R_Q), R_Q, out=length_Q, where=is_long)
        z_QF = z_QF + length_Q[:, None] * Δ_QF
    return _Posterior(z_QF, np.asarray(np.linalg.inv(precision_QFF), np.float64))
