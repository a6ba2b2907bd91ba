"""Clusters of embeddings alone, and one ranking for each: the clusters know nothing of comparisons.

The "embedding-only" method of arXiv 2605.17110: soft k-means on the sphere,

    r_qk = softmax_k 30 ⟨e_q, c_k⟩,   c_k ∝ Σ_q r_qk e_q,

from responsibilities drawn at random until the centroids stay where they are, and then the
Bradley–Terry strengths of each cluster, where a comparison of query q counts r_qk / n_q, with n_q
the number of comparisons of q. A prediction is the mean over the clusters of theirs.

Shape suffixes: Q queries, D features, K clusters, M models.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.estimation import GLOBAL_RIDGE
from triskele.evaluate.clustering.mixture import Mixture, MixtureSettings, normalise_rows, wins_of
from triskele.evaluate.clustering.starts import by_chance
from triskele.evaluate.columns import Floats, Integers, Real
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import directions, of_models, of_queries
from triskele.evaluate.predictions import best_first, mean_log_likelihood

CONCENTRATION = 30.0
SMALL_SHIFT, N_SMALL = 1e-4, 5
"""The search ends after so many shifts in a row of all centroids together that are smaller."""


class EmbeddingClusters(BaseEstimator):  # type: ignore[misc]
    """Soft k-means on the sphere with Bradley–Terry strengths for each cluster.

    Parameters
    ----------
    n_clusters
        How many; fewer if there are fewer queries.
    ridge
        Pull of the strengths of a cluster, in queries; above 0.
    shrink
        To what: the strengths of all queries, or zero as published.
    evidence_weight
        What the mean log likelihood of the comparisons known of a query adds to the log odds of
        its clusters, when it is asked about. 0 leaves them out; published is 10.
    max_iter
        Rounds of k-means at most.
    random_state
        Seed of the start.

    Attributes
    ----------
    models_ : tuple of str
    profiles_ : array (n_clusters_, n_models)
        Strengths of each cluster, as log odds.
    global_ : array (n_models,)
        Strengths of all queries.
    cluster_centers_ : array (n_clusters_, n_features)
        Of length one.
    responsibilities_ : array (n_queries, n_clusters_)
        Of the queries fitted.
    labels_ : array (n_queries,)
        Their most likely clusters.
    n_clusters_, n_iter_ : int
        Clusters, and rounds of k-means.
    """

    def __init__(
        self,
        n_clusters: int = 30,
        *,
        ridge: float = 1.0,
        shrink: Literal["zero", "global"] = "zero",
        evidence_weight: float = 10.0,
        max_iter: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.ridge = ridge
        self.shrink = shrink
        self.evidence_weight = evidence_weight
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Find clusters, then the strengths of each.

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
        settings = self._settings()
        table = validate_data(self, X, dtype=(np.float32, np.float64))
        known = of_queries(comparisons, len(table))
        rng = np.random.default_rng(check_random_state(self.random_state).randint(1 << 31))
        self.models_, n_models = known.models, known.n_models
        self.global_ = fit_counts(count_wins(known), ridge=GLOBAL_RIDGE)
        unit = _unit(table)
        self.n_clusters_ = min(self.n_clusters, len(table))
        start = by_chance(len(table), self.n_clusters_, rng)
        self.cluster_centers_, self.n_iter_ = _centroids(unit, start, max_iter=self.max_iter)
        bare = Mixture(
            profiles_KM=np.zeros((self.n_clusters_, n_models)),
            centroids_KD=self.cluster_centers_,
            log_shares_K=np.zeros(self.n_clusters_),
            settings=settings,
        )
        self.responsibilities_ = bare.prior(unit)
        self.labels_ = self.responsibilities_.argmax(1)
        shared = wins_of(known, evidence="mean") @ self.responsibilities_
        wins = shared.T.reshape(self.n_clusters_, n_models, n_models)
        prior = self.global_ if self.shrink == "global" else np.zeros(n_models)
        self.profiles_ = fit_counts(wins, ridge=self.ridge, prior=prior)
        self._mixture = Mixture(
            profiles_KM=self.profiles_,
            centroids_KD=self.cluster_centers_,
            log_shares_K=np.zeros(self.n_clusters_),
            settings=settings,
        )
        return self

    def predict_proba(self, X: ArrayLike, *, comparisons: Comparisons | None = None) -> Floats:
        """Return how likely each query belongs to each cluster, (n_queries, n_clusters_).

        Parameters
        ----------
        X
            Embeddings, (n_queries, n_features).
        comparisons
            What is known of these queries, of models that were fitted.
        """
        check_is_fitted(self)
        table = validate_data(self, X, dtype=(np.float32, np.float64), reset=False)
        known = of_models(of_queries(comparisons, len(table)), self.models_)
        if len(known) == 0:
            return self._mixture.prior(_unit(table))
        return self._mixture.posterior(_unit(table), wins_of(known, evidence="mean"))

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        They are the mean over the clusters; :meth:`predict_pairwise` takes the mean of chances.
        """
        return np.asarray(self.predict_proba(X, comparisons=comparisons) @ self.profiles_)

    def rank(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Integers:
        """Return the models of each query, best first, as indices: (n_queries, n_models)."""
        return best_first(self.capabilities(X, comparisons))

    def predict_pairwise(
        self, X: ArrayLike, pairs: Comparisons, *, comparisons: Comparisons | None = None
    ) -> Floats:
        """Return the chance that b beats a, (n,)."""
        share = self.predict_proba(X, comparisons=comparisons)
        asked = of_models(of_queries(pairs, len(share)), self.models_)
        lead_KN = self.profiles_[:, asked.model_b] - self.profiles_[:, asked.model_a]
        return np.asarray(np.einsum("nk,kn->n", share[asked.query], expit(lead_KN)))

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

    def _settings(self) -> MixtureSettings:
        if self.n_clusters < 1:
            raise ValueError(f"expected at least one cluster, got {self.n_clusters}")
        if self.shrink not in ("global", "zero"):
            raise ValueError(f'expected shrink to be "global" or "zero", got {self.shrink!r}')
        return MixtureSettings(
            concentration=CONCENTRATION,
            evidence_weight=self.evidence_weight,
            ridge=self.ridge,
            learn_shares=False,
            max_iter=self.max_iter,
        )


def _centroids(unit_QD: Real, responsibilities_QK: Floats, *, max_iter: int) -> tuple[Floats, int]:
    """Return where the centroids come to rest, and after how many rounds."""
    centroids_KD = _means(unit_QD, responsibilities_QK)
    n_small = n_rounds = 0
    while n_small < N_SMALL and n_rounds < max_iter:
        cosine_QK = (unit_QD @ centroids_KD.astype(unit_QD.dtype).T).astype(np.float64)
        responsibilities_QK, _ = normalise_rows(CONCENTRATION * cosine_QK)
        moved_KD = _means(unit_QD, responsibilities_QK)
        n_small = n_small + 1 if np.linalg.norm(moved_KD - centroids_KD) < SMALL_SHIFT else 0
        centroids_KD = moved_KD
        n_rounds += 1
    return centroids_KD, n_rounds


def _means(unit_QD: Real, responsibilities_QK: Floats) -> Floats:
    sums: Real = responsibilities_QK.astype(unit_QD.dtype).T @ unit_QD
    return np.asarray(_unit(sums), np.float64)


def _unit(rows: Real) -> Real:
    return directions(rows, np.zeros(rows.shape[1]))
