"""Any method, told of a query's comparisons when it is asked about the query.

How a comparison changes what is expected of the others is in ``probe_rules``: there is nothing to
fit. What this reaches with no structure at all, around one ranking for all queries, is what a
method that is shown a comparison of the query has to beat.
"""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from triskele.evaluate.baselines.probe_rules import (
    Probes,
    deduced_capabilities,
    deduced_chances,
    probes_of,
    utility_capabilities,
    utility_chances,
)
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import of_models, of_queries
from triskele.evaluate.predictions import best_first, mean_log_likelihood


class WithProbes(BaseEstimator):  # type: ignore[misc]
    """A method whose capabilities are updated by what is known of the query.

    Parameters
    ----------
    estimator
        The method, which is cloned and fitted. One that is fitted already can be given as
        ``sklearn.frozen.FrozenEstimator(method)``; it is used as it is. It is never shown the
        comparisons of a query that it is asked about.
    rule
        How to update: ``"plackett-luce"``, or ``"deduction"`` for scores that are right or wrong.

    Attributes
    ----------
    models_ : tuple of str
    estimator_
        Fitted.

    Notes
    -----
    Chances of pairs are exact for one comparison per query. Several are applied one after the
    other, in their order, each to the strengths that those before it left; the model that a pair
    shares with one of them has the strength it has in this pair, every other one that of
    :meth:`capabilities`. By deduction, a model is right if it won more often than it lost. The
    outcome of a pair is taken to be the same when it is asked about again. A tie says nothing;
    any other outcome is taken for a win, and a weight of 0 leaves a comparison out.
    """

    def __init__(
        self, estimator: Any, *, rule: Literal["plackett-luce", "deduction"] = "plackett-luce"
    ) -> None:
        self.estimator = estimator
        self.rule = rule

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Fit the method.

        Parameters
        ----------
        X
            Queries, as the method takes them.
        y
            Ignored.
        comparisons
            Of models on the rows of X.

        Raises
        ------
        ValueError
            If there is no such rule.
        """
        if self.rule not in ("plackett-luce", "deduction"):
            raise ValueError(
                f'expected rule to be "plackett-luce" or "deduction", got {self.rule!r}'
            )
        self.estimator_ = clone(self.estimator).fit(X, y, comparisons=comparisons)
        self.models_: tuple[str, ...] = self.estimator_.models_
        return self

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        No strength of a loser is right for all that it may meet. By Plackett–Luce it is the one
        that is right for a model of the mean strength of the others. By deduction, who was right is
        above and who was wrong below all that the query says nothing of.

        Parameters
        ----------
        X
            Queries, as the method takes them.
        comparisons
            What is known of these queries, of models that were fitted.
        """
        check_is_fitted(self)
        θ_QM = np.asarray(self.estimator_.capabilities(X), np.float64)
        probes = self._probes(comparisons, len(θ_QM))
        if not len(probes):
            return θ_QM
        if self.rule == "deduction":
            return deduced_capabilities(θ_QM, probes)
        return utility_capabilities(θ_QM, probes)

    def rank(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Integers:
        """Return the models of each query, best first, as indices: (n_queries, n_models)."""
        return best_first(self.capabilities(X, comparisons))

    def predict_pairwise(
        self, X: ArrayLike, pairs: Comparisons, *, comparisons: Comparisons | None = None
    ) -> Floats:
        """Return the chance that b beats a, (n,).

        Parameters
        ----------
        X
            Queries, as the method takes them.
        pairs
            n pairs of models on rows of X; their outcomes are not looked at.
        comparisons
            What is known of these queries.
        """
        check_is_fitted(self)
        before = np.asarray(self.estimator_.predict_pairwise(X, pairs), np.float64)
        probes = self._probes(comparisons, pairs.n_queries)
        if not len(probes):
            return before
        asked = of_models(pairs, self.models_)
        if self.rule == "deduction":
            return deduced_chances(before, probes, asked)
        θ_QM = np.asarray(self.estimator_.capabilities(X), np.float64)
        return utility_chances(θ_QM, before, probes, asked)

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

    def _probes(self, comparisons: Comparisons | None, n_queries: int) -> Probes:
        known = of_models(of_queries(comparisons, n_queries), self.models_)
        return probes_of(known, n_models=len(self.models_))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags
