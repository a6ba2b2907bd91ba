"""The mean of several methods: their errors differ, and the mean has less of each.

Capabilities are averaged, not chances, so that the mean is a ranking of models like any other.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from triskele.evaluate.columns import Floats, Integers, listed
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.predictions import best_first, mean_log_likelihood, pairwise


class AverageCapability(BaseEstimator):  # type: ignore[misc]
    """The mean of the capabilities of several methods that take the same queries.

    Parameters
    ----------
    estimators
        Names and methods, which are cloned and fitted. One that is fitted already can be given as
        ``sklearn.frozen.FrozenEstimator(method)``; it is used as it is.

    Attributes
    ----------
    models_ : tuple of str
    estimators_ : list
        Fitted, in the order given.
    """

    def __init__(self, estimators: Sequence[tuple[str, Any]]) -> None:
        self.estimators = estimators

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Fit all methods.

        Parameters
        ----------
        X
            Queries, as the methods take them.
        y
            Ignored.
        comparisons
            Of models on the rows of X.

        Raises
        ------
        ValueError
            If there is no method, two have one name, or a frozen one is of other models.
        """
        names = [name for name, _ in self.estimators]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected methods of different names, got {listed(names) or 'none'}")
        self.estimators_ = [
            clone(method).fit(X, y, comparisons=comparisons) for _, method in self.estimators
        ]
        self.models_: tuple[str, ...] = self.estimators_[0].models_
        for name, method in zip(names, self.estimators_, strict=True):
            if method.models_ != self.models_:
                raise ValueError(f"expected methods of the same models, {name!r} is of others")
        return self

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models)."""
        check_is_fitted(self)
        return np.asarray(
            np.mean([method.capabilities(X, comparisons) for method in self.estimators_], axis=0)
        )

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
        inner = [get_tags(method).input_tags for _, method in self.estimators]
        tags.input_tags.sparse = all(of_method.sparse for of_method in inner)
        return tags
