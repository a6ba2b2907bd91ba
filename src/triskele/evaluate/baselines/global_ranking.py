"""One ranking of models for all queries: what every other method has to beat."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import of_models, of_queries
from triskele.evaluate.predictions import (
    best_first,
    mean_log_likelihood,
    n_rows,
    pairwise,
)


class GlobalBradleyTerry(BaseEstimator):  # type: ignore[misc]
    """Bradley–Terry strengths from the comparisons of all queries; a query is not looked at.

    Parameters
    ----------
    ridge
        Pull of the strengths towards zero, in comparisons; above 0.

    Attributes
    ----------
    models_ : tuple of str
    global_ : array (n_models,)
        Strengths, as log odds.
    """

    def __init__(self, ridge: float = 1.0) -> None:
        self.ridge = ridge

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Find the strengths.

        Parameters
        ----------
        X
            Queries, of which only the number matters.
        y
            Ignored.
        comparisons
            Of models on the rows of X.
        """
        known = of_queries(comparisons, n_rows(X))
        self.models_ = known.models
        self.global_ = fit_counts(count_wins(known), ridge=self.ridge)
        return self

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        What is known of the queries is not looked at.
        """
        check_is_fitted(self)
        n_queries = n_rows(X)
        of_models(of_queries(comparisons, n_queries), self.models_)
        return np.tile(self.global_, (n_queries, 1))

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

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.sparse = True
        return tags
