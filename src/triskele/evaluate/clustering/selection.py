"""How many clusters, and how much embeddings count beside evidence: by what predicts best.

Queries are held out in turn. Of each, some comparisons are shown and the others predicted, as they
will be when the fit is used; the settings with the highest mean log likelihood are fitted again to
all queries.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import of_queries
from triskele.evaluate.sampling import split_probes

N_FEWEST = 2
"""Compared queries per part; with fewer there is nothing to choose by."""


class EvidenceCalibratedClusteringCV(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Evidence-calibrated clustering with settings chosen on queries held out.

    Parameters
    ----------
    estimator
        Whose other settings are used; the defaults if not given.
    n_clusters, prior_weight, temperature
        Values of K, λ and T to try, all combinations of them; or one value each.
    n_parts
        In which the queries are held out.
    n_shown
        Comparisons of a held-out query that are shown; the others are predicted.
    random_state
        Seed of the parts and of what is shown.

    Attributes
    ----------
    best_estimator_ : EvidenceCalibratedClustering
        Fitted to all queries.
    best_params_ : dict
        Its settings among those tried.
    best_score_ : float
        Its mean log likelihood on queries held out; NaN if there were too few to choose by.
    cv_results_ : dict
        ``params``, and ``mean_test_score`` and ``std_test_score`` over the parts.
    """

    def __init__(
        self,
        estimator: EvidenceCalibratedClustering | None = None,
        *,
        n_clusters: int | Sequence[int] = (8, 30),
        prior_weight: float | Sequence[float] = (5.5, 11.0, 22.0),
        temperature: float | Sequence[float] = 1.4,
        n_parts: int = 3,
        n_shown: int = 1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.estimator = estimator
        self.n_clusters = n_clusters
        self.prior_weight = prior_weight
        self.temperature = temperature
        self.n_parts = n_parts
        self.n_shown = n_shown
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Choose the settings and fit.

        Parameters
        ----------
        X, y, comparisons
            As for :meth:`EvidenceCalibratedClustering.fit`.

        Raises
        ------
        ValueError
            If there is nothing to try, or fewer than two parts.
        """
        grid = self._grid()
        table = validate_data(self, X, dtype=(np.float32, np.float64))
        known = of_queries(comparisons, len(table))
        base = EvidenceCalibratedClustering() if self.estimator is None else self.estimator
        rng = np.random.default_rng(check_random_state(self.random_state).randint(1 << 31))
        compared = rng.permutation(np.unique(known.query[known.weight > 0]))
        scores = np.full((len(grid), self.n_parts), np.nan)
        if len(compared) >= N_FEWEST * self.n_parts and known.n_models > 1:
            for part, held in enumerate(np.array_split(compared, self.n_parts)):
                shown, asked = split_probes(
                    known.of_queries(held), n_probes=self.n_shown, disjoint=False, rng=rng
                )
                if not asked.weight.sum() > 0:
                    continue
                kept = np.setdiff1d(np.arange(len(table)), held)
                evidence = known.of_queries(kept)
                for place, params in enumerate(grid):
                    tried = clone(base).set_params(**params)
                    tried.fit(table[kept], comparisons=evidence)
                    scores[place, part] = tried.score(
                        table[held], comparisons=asked, evidence=shown
                    )
        is_scored = ~np.isnan(scores).all(0)
        mean = scores[:, is_scored].mean(1) if is_scored.any() else np.full(len(grid), np.nan)
        best = 0 if np.isnan(mean).all() else int(np.nanargmax(mean))
        self.cv_results_: dict[str, Any] = {
            "params": grid,
            "mean_test_score": mean,
            "std_test_score": scores[:, is_scored].std(1) if is_scored.any() else mean,
        }
        self.best_params_ = grid[best]
        self.best_score_ = float(mean[best])
        self.best_estimator_ = clone(base).set_params(**grid[best])
        self.best_estimator_.fit(table, comparisons=comparisons)
        self.labels_ = self.best_estimator_.labels_
        self.models_ = self.best_estimator_.models_
        return self

    def predict(self, X: ArrayLike, *, comparisons: Comparisons | None = None) -> Integers:
        """Return the most likely cluster of each query, (n_queries,)."""
        return self._best().predict(X, comparisons=comparisons)

    def predict_proba(self, X: ArrayLike, *, comparisons: Comparisons | None = None) -> Floats:
        """Return how likely each query belongs to each cluster."""
        return self._best().predict_proba(X, comparisons=comparisons)

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models)."""
        return self._best().capabilities(X, comparisons)

    def rank(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Integers:
        """Return the models of each query, best first, as indices."""
        return self._best().rank(X, comparisons)

    def predict_pairwise(
        self, X: ArrayLike, pairs: Comparisons, *, comparisons: Comparisons | None = None
    ) -> Floats:
        """Return the chance that b beats a, (n,)."""
        return self._best().predict_pairwise(X, pairs, comparisons=comparisons)

    def score(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        comparisons: Comparisons | None = None,
        evidence: Comparisons | None = None,
    ) -> float:
        """Return the mean log likelihood of comparisons, as the estimator's own method."""
        return self._best().score(X, y, comparisons=comparisons, evidence=evidence)

    def _grid(self) -> list[dict[str, Any]]:
        tried = {
            name: [value] if np.isscalar(value := getattr(self, name)) else list(value)
            for name in ("n_clusters", "prior_weight", "temperature")
        }
        for name, values in tried.items():
            if not values:
                raise ValueError(f"expected values of {name} to try, got none")
        if self.n_parts < 2:
            raise ValueError(f"expected at least two parts, got {self.n_parts}")
        if self.n_shown < 0:
            raise ValueError(f"expected at least 0 comparisons shown, got {self.n_shown}")
        return [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]

    def _best(self) -> EvidenceCalibratedClustering:
        check_is_fitted(self)
        best: EvidenceCalibratedClustering = self.best_estimator_
        return best
