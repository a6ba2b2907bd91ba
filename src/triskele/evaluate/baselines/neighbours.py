"""One ranking for each query, of the queries most like it: k nearest neighbours.

The comparisons of the k queries with the highest cosine are counted together, each in proportion to
it, and Bradley–Terry strengths fitted to them are pulled to those of all queries. The mean is taken
from all embeddings before, so that cosines tell queries apart. Queries are dealt with in blocks:
one product of matrices finds the neighbours of many, one batch of fits their strengths.

Shape suffixes: B queries asked about, Q queries fitted, C = M² pairs of winner and loser.
"""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from triskele.evaluate.bradley_terry.counts import count_wins, wins_by_query
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.estimation import GLOBAL_RIDGE
from triskele.evaluate.columns import Floats, Integers, Real
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import center_of, directions, of_models, of_queries
from triskele.evaluate.predictions import (
    best_first,
    mean_log_likelihood,
    pairwise,
)

AT_ONCE = 1 << 23
"""Numbers that a block may take; bounds the memory."""


class NeighbourBradleyTerry(BaseEstimator):  # type: ignore[misc]
    """Bradley–Terry strengths of the nearest queries.

    Parameters
    ----------
    n_neighbors
        How many; all if there are no more. Only queries that were compared count, and they count 1
        on average; one that points the other way does not count.
    ridge
        Pull of the strengths towards those of all queries, in comparisons; above 0.

    Attributes
    ----------
    models_ : tuple of str
    global_ : array (n_models,)
        Strengths of all queries, as log odds. A query whose embedding is zero has these.
    center_ : array (n_features,)
        Mean embedding.

    Notes
    -----
    A query that was fitted is its own nearest neighbour.
    """

    def __init__(self, n_neighbors: int = 400, *, ridge: float = 10.0) -> None:
        self.n_neighbors = n_neighbors
        self.ridge = ridge

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Remember the queries and what is known of them.

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
        if self.n_neighbors < 1:
            raise ValueError(f"expected at least one neighbour, got {self.n_neighbors}")
        table = validate_data(self, X, dtype=(np.float32, np.float64))
        known = of_queries(comparisons, len(table))
        self.models_ = known.models
        self.global_ = fit_counts(count_wins(known), ridge=GLOBAL_RIDGE)
        compared = np.unique(known.query)
        self.center_ = center_of(table)
        self._directions_QD = directions(table[compared], self.center_)
        self._wins_QC = wins_by_query(known.of_queries(compared)).T.tocsr()
        return self

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        What is known of the queries is not looked at.
        """
        check_is_fitted(self)
        table = validate_data(self, X, dtype=(np.float32, np.float64), reset=False)
        of_models(of_queries(comparisons, len(table)), self.models_)
        θ = np.tile(self.global_, (len(table), 1))
        n_compared, n_cells = self._wins_QC.shape
        placed = np.flatnonzero(table.any(1))
        if n_compared == 0 or len(self.models_) < 2:
            return θ
        n_at_once = max(1, AT_ONCE // (n_compared + 4 * n_cells))
        for first in range(0, len(placed), n_at_once):
            block = placed[first : first + n_at_once]
            θ[block] = self._strengths(directions(table[block], self.center_))
        return θ

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

    def _strengths(self, directions_BD: Real) -> Floats:
        n_asked, n_fitted = len(directions_BD), len(self._directions_QD)
        n_near = min(self.n_neighbors, n_fitted)
        cosine_BQ = directions_BD @ self._directions_QD.T
        near = np.argpartition(-cosine_BQ, n_near - 1, axis=1)[:, :n_near]
        weight = np.take_along_axis(cosine_BQ, near, 1).clip(min=0).astype(np.float64)
        mean = weight.mean(1, keepdims=True)
        np.divide(weight, mean, out=weight, where=mean > 0)
        entries = (weight.ravel(), near.ravel(), np.arange(n_asked + 1) * n_near)
        near_BQ = sparse.csr_array(entries, shape=(n_asked, n_fitted))
        n_models = len(self.models_)
        wins = (near_BQ @ self._wins_QC).toarray().reshape(n_asked, n_models, n_models)
        return fit_counts(wins, ridge=self.ridge, prior=self.global_)
