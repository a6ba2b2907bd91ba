"""Capabilities as a linear function of the embedding: θ(x) = μ + e(x) W.

This is prompt-conditional Bradley–Terry regression (Frick et al. 2025, Prompt-to-Leaderboard) with
a linear head on given embeddings instead of a language model that is trained for it. e(x) is the
direction of the embedding less the mean embedding, μ the strengths of all queries, and W has a
normal prior, whose precision is the one that predicts some held-out queries best.
"""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.estimation import GLOBAL_RIDGE
from triskele.evaluate.clustering.trend import Trend, fit_trend, trend_loss
from triskele.evaluate.columns import Floats, Integers, Real
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import center_of, directions, of_models, of_queries
from triskele.evaluate.predictions import (
    best_first,
    mean_log_likelihood,
    pairwise,
)

RIDGES = (3.0, 10.0, 30.0, 100.0)
"""Prior precisions that are tried."""
CAUTIOUS = RIDGES[-1]
"""Where there are too few queries to try them on."""
FEW = 40
"""Compared queries below which none are held out."""
HELD_OUT = 0.25
"""Share of the compared queries that the precisions are tried on."""


class LinearCapability(BaseEstimator):  # type: ignore[misc]
    """A linear function from embeddings to Bradley–Terry strengths.

    Parameters
    ----------
    ridge
        Prior precision of the weights; chosen on held-out queries if not given.
    max_iter
        Steps of L-BFGS.
    random_state
        Seed of the choice of what is held out.

    Attributes
    ----------
    models_ : tuple of str
    global_ : array (n_models,)
        μ, as log odds. A query whose embedding is zero has these.
    coef_ : array (n_features, n_models)
        W.
    center_ : array (n_features,)
        Mean embedding.
    ridge_ : float
        Prior precision that was used.
    """

    def __init__(
        self,
        ridge: float | None = None,
        *,
        max_iter: int = 60,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.ridge = ridge
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Find the weights.

        Parameters
        ----------
        X
            Embeddings, (n_queries, n_features).
        y
            Ignored.
        comparisons
            Of models on the rows of X.

        Raises
        ------
        ValueError
            If X is not finite, comparisons are of another number of queries, or a parameter is out
            of range.
        """
        if self.ridge is not None and not 0 < self.ridge < np.inf:
            raise ValueError(f"expected a finite ridge above 0, got {self.ridge}")
        table = validate_data(self, X, dtype=(np.float32, np.float64))
        known = of_queries(comparisons, len(table))
        self.models_ = known.models
        self.global_ = fit_counts(count_wins(known), ridge=GLOBAL_RIDGE)
        self.center_ = center_of(table)
        features = directions(table, self.center_)
        self.ridge_ = self._chosen(features, known) if self.ridge is None else float(self.ridge)
        self._trend = self._fitted(features, known, self.ridge_)
        self.coef_ = self._trend.weights_LM
        return self

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        What is known of the queries is not looked at.
        """
        check_is_fitted(self)
        table = validate_data(self, X, dtype=(np.float32, np.float64), reset=False)
        of_models(of_queries(comparisons, len(table)), self.models_)
        return self._trend.capabilities(directions(table, self.center_))

    def rank(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Integers:
        """Return the models of each query, best first, as indices: (n_queries, n_models)."""
        return best_first(self.capabilities(X, comparisons))

    def predict_pairwise(
        self, X: ArrayLike, pairs: Comparisons, *, comparisons: Comparisons | None = None
    ) -> Floats:
        """Return the chance that b beats a, (n,)."""
        return pairwise(self.capabilities(X, comparisons), pairs, self.models_)

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

    def _fitted(self, features: Real, comparisons: Comparisons, ridge: float) -> Trend:
        if comparisons.n_models < 2:
            weights = np.zeros((features.shape[1], comparisons.n_models))
            alone = np.eye(comparisons.n_models)
            return Trend(mean_M=self.global_, weights_LM=weights, covariance_MM=alone, ridge=ridge)
        return fit_trend(
            features,
            comparisons,
            mean_M=self.global_,
            ridge=ridge,
            n_rounds=1,
            max_iter=self.max_iter,
        )

    def _chosen(self, features: Real, comparisons: Comparisons) -> float:
        """Return the prior precision that predicts some held-out queries best."""
        random = check_random_state(self.random_state)
        compared = random.permutation(np.unique(comparisons.query))
        if len(compared) < FEW or not comparisons.weight.any():
            return CAUTIOUS
        held, kept = np.array_split(compared, [int(HELD_OUT * len(compared))])
        asked, shown = comparisons.of_queries(held), comparisons.of_queries(kept)
        if not asked.weight.any():
            return CAUTIOUS
        losses = [
            trend_loss(self._fitted(features[kept], shown, ridge), features[held], asked)
            for ridge in RIDGES
        ]
        return RIDGES[int(np.argmin(losses))]
