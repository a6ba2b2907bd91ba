"""Where a new model stands, from few comparisons with models that are known.

Capabilities of the known models vary over queries in a few common ways: the leading singular
vectors of their capabilities on the queries at hand, less the mean model. A new model is taken to
be one more of their kind,

    θ_new(q) = mean(q) + φ(q) w,        w ~ N(mean of the known models' w, their covariance),

and w is found from its comparisons, P(new beats b on q) = σ(θ_new(q) − θ_b(q)), with its
uncertainty, by Laplace's approximation. What to compare next is the question that is expected to
lower the mean variance over all queries the most (I-optimal design of a logistic regression; e.g.
Chaloner and Verdinelli, 1995): queries where the new model is least known, opponents about as good.

Shape suffixes: Q queries, M known models, F factors and a constant.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons

SHRINKAGE = 0.2
"""Of the known models' covariance towards its diagonal: there are few of them."""
MAX_ROUNDS = 50
SMALL_STEP = 1e-8


class Question(NamedTuple):
    """What to compare the new model with, on which row of X."""

    query: int
    opponent: str


class Onboarding:
    """A new model among those of a fitted estimator.

    Parameters
    ----------
    known
        Fitted, with at least two models.
    X
        Embeddings of queries to be asked about, (n_queries, n_features).
    name
        Of the new model.
    n_factors
        Ways in which models differ over queries; fewer if there are fewer models.

    Raises
    ------
    ValueError
        If fewer than two models are known, or the new one is among them.
    """

    def __init__(
        self,
        known: EvidenceCalibratedClustering,
        X: ArrayLike,
        *,
        name: str,
        n_factors: int = 8,
    ) -> None:
        if len(known.models_) < 2:
            raise ValueError(f"expected at least two known models, got {len(known.models_)}")
        if name in known.models_:
            raise ValueError(f"expected a new model, {name!r} is known")
        if n_factors < 0:
            raise ValueError(f"expected at least 0 factors, got {n_factors}")
        self.models = known.models_
        self.name = name
        self._known = known
        θ_QM = known.capabilities(X)
        θ_QM -= θ_QM.mean(1, keepdims=True)
        self._θ_QM = θ_QM
        # Each model's level is the constant; the rest is how it differs from query to query.
        level_M = θ_QM.mean(0)
        _, singular, right = np.linalg.svd(θ_QM - level_M, full_matrices=False)
        n_kept = min(n_factors, len(self.models) - 1, int((singular > 1e-9).sum()))
        self._loading_FM = right[:n_kept]
        self._basis_QF = self._basis(θ_QM)
        # What each known model would have as w, in the basis.
        w_MF = np.linalg.lstsq(self._basis_QF, θ_QM, rcond=None)[0].T
        self._prior_F = w_MF.mean(0)
        covariance = np.cov(w_MF.T, bias=False).reshape(n_kept + 1, n_kept + 1)
        spread = np.diag(np.maximum(np.diag(covariance), 1e-6))
        self._prior_FF = (1 - SHRINKAGE) * covariance + SHRINKAGE * spread
        self._mean_F, self._covariance_FF = self._prior_F, self._prior_FF

    def fit(self, comparisons: Comparisons) -> Self:
        """Learn from the new model's comparisons.

        Parameters
        ----------
        comparisons
            On the rows of X; those without the new model are passed over.

        Raises
        ------
        ValueError
            If they are of another number of queries, or of unknown models.
        """
        if comparisons.n_queries != len(self._θ_QM):
            raise ValueError(
                f"expected comparisons of {len(self._θ_QM)} queries, got {comparisons.n_queries}"
            )
        names = (*self.models, self.name)
        given = comparisons.with_models(names)
        new = len(self.models)
        given = given.take((given.model_a == new) | (given.model_b == new))
        is_b = given.model_b == new
        opponent = np.where(is_b, given.model_a, given.model_b)
        won = np.where(is_b, given.outcome, 1 - given.outcome)
        φ_nF = self._basis_QF[given.query]
        against = self._θ_QM[given.query, opponent]
        precision = np.linalg.inv(self._prior_FF)
        w = self._prior_F
        for _ in range(MAX_ROUNDS):
            p = expit(φ_nF @ w - against)
            gradient = φ_nF.T @ (given.weight * (won - p)) - precision @ (w - self._prior_F)
            curvature = precision + (φ_nF.T * (given.weight * p * (1 - p))) @ φ_nF
            step = np.linalg.solve(curvature, gradient)
            # The curvature changes by at most e per unit of log odds: no step is longer.
            longest = float(np.abs(φ_nF @ step).max()) if len(given) else 0.0
            w = w + step / max(1.0, longest)
            if np.abs(step).max() < SMALL_STEP:
                break
        self._mean_F, self._covariance_FF = w, np.linalg.inv(curvature)
        return self

    def suggest(self, n: int, *, asked: Comparisons | None = None) -> list[Question]:
        """Return the questions that tell most, the best first.

        Parameters
        ----------
        n
            How many, answered together or one after the other; each counts on those before.
        asked
            Comparisons that were made; a query of the new model in them is not asked again.

        Raises
        ------
        ValueError
            If there are fewer queries left.
        """
        is_left = np.ones(len(self._θ_QM), np.bool_)
        if asked is not None and self.name in asked.models:
            new = asked.models.index(self.name)
            is_left[asked.query[(asked.model_a == new) | (asked.model_b == new)]] = False
        if n > int(is_left.sum()):
            raise ValueError(f"expected at most {int(is_left.sum())} questions, got {n}")
        basis, covariance = self._basis_QF, self._covariance_FF
        mean_square = basis.T @ basis / len(basis)
        # An opponent matters only through how even the match is.
        θ_new = basis @ self._mean_F
        opponent = np.abs(self._θ_QM - θ_new[:, None]).argmin(1)
        even = expit(θ_new - self._θ_QM[np.arange(len(basis)), opponent])
        information = even * (1 - even)
        questions = []
        for _ in range(n):
            reach = basis @ covariance
            variance = np.einsum("qf,qf->q", reach, basis)
            lowered = np.einsum("qf,fg,qg->q", reach, mean_square, reach)
            gain = information * lowered / (1 + information * variance)
            query = int(np.where(is_left, gain, -np.inf).argmax())
            is_left[query] = False
            questions.append(Question(query, self.models[opponent[query]]))
            column = reach[query]
            shrink = information[query] / (1 + information[query] * variance[query])
            covariance = covariance - shrink * np.outer(column, column)
        return questions

    def capabilities(self, X: ArrayLike) -> tuple[Floats, Floats]:
        """Return the new model's capability and its standard deviation, (n_queries,) each.

        On the scale on which the known models have a mean of zero on each query.
        """
        θ_QM = self._known.capabilities(X)
        basis = self._basis(θ_QM - θ_QM.mean(1, keepdims=True))
        variance = np.einsum("qf,fg,qg->q", basis, self._covariance_FF, basis)
        return basis @ self._mean_F, np.sqrt(np.maximum(variance, 0.0))

    def level(self, X: ArrayLike) -> tuple[float, float]:
        """Return the new model's mean capability over queries and its standard deviation."""
        θ_QM = self._known.capabilities(X)
        basis_F = self._basis(θ_QM - θ_QM.mean(1, keepdims=True)).mean(0)
        return (
            float(basis_F @ self._mean_F),
            float(np.sqrt(max(basis_F @ self._covariance_FF @ basis_F, 0.0))),
        )

    def predict_pairwise(self, X: ArrayLike, opponent: ArrayLike) -> Floats:
        """Return the chance that the new model beats an opponent on each query, (n_queries,).

        Parameters
        ----------
        X
            Embeddings, (n_queries, n_features).
        opponent
            Index into ``models``, (n_queries,).
        """
        θ_QM = self._known.capabilities(X)
        θ_QM -= θ_QM.mean(1, keepdims=True)
        mean, deviation = self.capabilities(X)
        lead = mean - θ_QM[np.arange(len(θ_QM)), np.asarray(opponent)]
        # The mean of σ over a normal, nearly (MacKay 1992).
        return np.asarray(expit(lead / np.sqrt(1 + np.pi / 8 * np.square(deviation))))

    def rank(self, X: ArrayLike) -> Integers:
        """Return all models of each query, best first; the new one has the last index."""
        θ_QM = self._known.capabilities(X)
        θ_QM -= θ_QM.mean(1, keepdims=True)
        θ = np.column_stack([θ_QM, self.capabilities(X)[0]])
        return np.argsort(-θ, axis=1, kind="stable")

    def _basis(self, θ_QM: Floats) -> Floats:
        """Return φ, (Q, F): a constant, and how the known models differ on each query."""
        return np.column_stack([np.ones(len(θ_QM)), θ_QM @ self._loading_FM.T])


def median_opponent(capabilities: Floats) -> Integers:
    """Return the known model in the middle of each row's ranking: the rule of the paper."""
    order = np.argsort(capabilities, axis=1, kind="stable")
    return np.asarray(order[:, capabilities.shape[1] // 2])
