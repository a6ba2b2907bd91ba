"""One ranking for each category that somebody gave the queries.

Labels by hand are what clusters are meant to do without; where they exist they are hard to beat.
"""

from collections.abc import Hashable
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from triskele.evaluate.bradley_terry.counts import count_wins, wins_by_query
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.estimation import GLOBAL_RIDGE
from triskele.evaluate.columns import Floats, Integers, column_of
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import of_models, of_queries
from triskele.evaluate.predictions import (
    best_first,
    mean_log_likelihood,
    pairwise,
)


class LabelledBradleyTerry(BaseEstimator):  # type: ignore[misc]
    """Bradley–Terry strengths of the queries with the same label.

    Parameters
    ----------
    ridge
        Pull of the strengths of a label, in comparisons; above 0.
    shrink
        To what: the strengths of all queries, or zero.

    Attributes
    ----------
    models_ : tuple of str
    labels_ : tuple
        In the order in which they first occur.
    profiles_ : array (n_labels, n_models)
        Strengths of each label, as log odds.
    global_ : array (n_models,)
        Strengths of all queries.
    """

    def __init__(self, ridge: float = 5.0, *, shrink: Literal["global", "zero"] = "global") -> None:
        self.ridge = ridge
        self.shrink = shrink

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Find the strengths.

        Parameters
        ----------
        X
            Label of each query, (n_queries,): names or numbers. ``None`` is no label.
        y
            Ignored.
        comparisons
            Of models on the rows of X.

        Raises
        ------
        ValueError
            If X is not one column, or ``shrink`` is neither of the two.
        """
        if self.shrink not in ("global", "zero"):
            raise ValueError(f'expected shrink to be "global" or "zero", got {self.shrink!r}')
        labels = _labels(X)
        known = of_queries(comparisons, len(labels))
        self.models_, n_models = known.models, known.n_models
        self.global_ = fit_counts(count_wins(known), ridge=GLOBAL_RIDGE)
        self.labels_ = tuple(dict.fromkeys(label for label in labels if label is not None))
        number = self._numbers(labels)
        labelled = np.flatnonzero(number < len(self.labels_))
        entries = (np.ones(len(labelled)), (labelled, number[labelled]))
        belongs = sparse.csr_array(entries, shape=(len(labels), len(self.labels_)))
        counts = (wins_by_query(known) @ belongs).toarray()
        wins = counts.T.reshape(len(self.labels_), n_models, n_models)
        prior = self.global_ if self.shrink == "global" else np.zeros(n_models)
        self.profiles_ = fit_counts(wins, ridge=self.ridge, prior=prior)
        return self

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        A query of a label that was not fitted has the strengths of all queries. What is known of
        the queries is not looked at.
        """
        check_is_fitted(self)
        labels = _labels(X)
        of_models(of_queries(comparisons, len(labels)), self.models_)
        return np.vstack([self.profiles_, self.global_])[self._numbers(labels)]

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

    def _numbers(self, labels: list[Hashable]) -> Integers:
        """Return the place of each label in the profiles; one more than there are if unknown."""
        place = {label: index for index, label in enumerate(self.labels_)}
        n = len(place)
        return np.fromiter((place.get(label, n) for label in labels), np.int64, len(labels))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _labels(X: ArrayLike) -> list[Hashable]:
    labels: list[Hashable] = column_of(X, "labels").tolist()
    return labels
