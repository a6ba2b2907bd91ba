"""Evidence-Calibrated Clustering: which model is best for which kind of query, and how we know.

From embeddings of queries and a few comparisons of models on each come clusters, every one with a
Bradley–Terry profile (``mixture``), and a trend, how capabilities vary smoothly over the embedding
space (``trend``). For a query with embedding e and evidence V, the comparisons known of it,

    θ(e, V) = w₁ μ + w₂ (trend(e) − μ) + w₃ (Σ_k π_k(e) θ_k − μ) + w₄ Σ_k (r_k(e, V) − π_k(e)) θ_k
              + what V says of the models in it (``evidence``),

with μ the profile of all queries, π(e) the clusters by the embedding alone and r(e, V) those by
embedding and evidence. The weights are what each part is worth on queries held out
(``calibration``); where nothing beats μ by more than chance, there is one cluster and μ.

The clusters are those of arXiv 2605.17110 with profiles shrunk to μ instead of to zero;
:meth:`EvidenceCalibratedClustering.published` is the method of that paper and nothing more.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from triskele.evaluate.clustering.calibration import Calibration
from triskele.evaluate.clustering.estimation import Estimate, EstimationSettings, estimate
from triskele.evaluate.clustering.mixture import MixtureSettings
from triskele.evaluate.clustering.streaming import Totals, continued, totals_of
from triskele.evaluate.columns import Floats, Integers, Real
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import center_of, directions, of_models, of_queries
from triskele.evaluate.predictions import best_first, mean_log_likelihood


class EvidenceCalibratedClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters of queries with a capability profile each, calibrated on comparisons.

    Parameters
    ----------
    n_clusters
        K; fewer if there are fewer queries.
    prior_weight
        λ: what the cosine of query and centroid counts beside the evidence.
    temperature
        T: embedding and evidence together are divided by it; the lower, the harder the clusters.
    evidence
        Whether a query's evidence is the sum of the log likelihoods of its comparisons or their
        mean.
    ridge
        Pull of the clusters' profiles, in comparisons.
    shrink
        To what: the profile of all queries, or zero.
    center
        Whether the mean embedding is taken from all, so that cosines tell queries apart.
    init
        Where to begin: k-means on embeddings, or chance.
    n_init
        Starts, of which the one with the highest objective is kept.
    max_iter, tol
        Rounds of expectation maximisation at most, and the relative rise that ends them.
    learn_shares
        Whether clusters may differ in size a priori.
    trend_ridge
        Prior precision of the trend's weights; chosen on queries held out if not given.
    n_landmarks
        Points that the trend is spanned by. 0 leaves the trend out.
    n_folds
        Parts in which the queries are held out to learn what trend and clusters are worth. 0 leaves
        that out: predictions are then those of the mixture, as published.
    random_state
        Seed.

    Attributes
    ----------
    models_ : tuple of str
    n_clusters_ : int
        1 where queries do not differ in which model suits them.
    profiles_ : array (n_clusters_, n_models)
        Of each cluster, as log odds; only differences matter.
    global_ : array (n_models,)
        Profile of all queries.
    cluster_centers_ : array (n_clusters_, n_features)
        Unit centroids, of embeddings less ``center_``.
    shares_ : array (n_clusters_,)
        Of the queries.
    responsibilities_ : array (n_queries, n_clusters_)
        Of the queries fitted, by embedding and evidence.
    labels_ : array (n_queries,)
        Their most likely clusters.
    calibration_ : Calibration
        Weights of the parts, and the gain over ``global_`` on queries held out.
    objective_ : tuple of float
        After each round.
    n_iter_, converged_
        Rounds, and whether they ended before ``max_iter``.

    Notes
    -----
    Without comparisons these are clusters of embeddings alone, and there are no models.
    """

    def __init__(
        self,
        n_clusters: int = 30,
        *,
        prior_weight: float = 11.0,
        temperature: float = 1.4,
        evidence: Literal["sum", "mean"] = "sum",
        ridge: float = 5.0,
        shrink: Literal["global", "zero"] = "global",
        center: bool = True,
        init: Literal["means", "chance"] = "means",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-4,
        learn_shares: bool = True,
        trend_ridge: float | None = None,
        n_landmarks: int = 400,
        n_folds: int = 4,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.prior_weight = prior_weight
        self.temperature = temperature
        self.evidence = evidence
        self.ridge = ridge
        self.shrink = shrink
        self.center = center
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.learn_shares = learn_shares
        self.trend_ridge = trend_ridge
        self.n_landmarks = n_landmarks
        self.n_folds = n_folds
        self.random_state = random_state

    @classmethod
    def published(
        cls, n_clusters: int = 30, *, random_state: int | None = 0
    ) -> "EvidenceCalibratedClustering":
        """Return the method with the settings of arXiv 2605.17110."""
        return cls(
            n_clusters,
            prior_weight=3.0,
            temperature=0.1,
            evidence="mean",
            ridge=1.0,
            shrink="zero",
            center=False,
            init="chance",
            learn_shares=False,
            n_landmarks=0,
            n_folds=0,
            random_state=random_state,
        )

    def fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Find clusters and learn what they are worth.

        Parameters
        ----------
        X
            Embeddings, (n_queries, n_features). A row of zeros is a query nothing is known of.
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
        self.center_ = center_of(table) if self.center else np.zeros(table.shape[1])
        self.models_ = known.models
        embeddings = directions(table, self.center_)
        found = estimate(embeddings, known, settings=settings, rng=self._rng())
        self._keep(found, totals_of(found, embeddings, known))
        return self

    def partial_fit(
        self, X: ArrayLike, y: object = None, *, comparisons: Comparisons | None = None
    ) -> Self:
        """Fit, or add queries and their comparisons to what was fitted (``streaming``).

        Models and the number of clusters are those of the first batch; ``responsibilities_`` and
        ``labels_`` become those of the last one.

        Parameters
        ----------
        X
            Embeddings of queries that were not fitted before, (n_queries, n_features).
        y
            Ignored.
        comparisons
            Of models on the rows of X.

        Raises
        ------
        ValueError
            As ``fit``, and if a model was not in the first batch.
        """
        if not hasattr(self, "_estimate"):
            return self.fit(X, comparisons=comparisons)
        embeddings, known = self._given(X, comparisons)
        now = self._estimate, self._totals
        settings = self._settings()
        self._keep(*continued(*now, embeddings, known, settings=settings, rng=self._rng()))
        return self

    def predict(self, X: ArrayLike, *, comparisons: Comparisons | None = None) -> Integers:
        """Return the most likely cluster of each query, (n_queries,)."""
        return np.asarray(self.predict_proba(X, comparisons=comparisons).argmax(1))

    def predict_proba(self, X: ArrayLike, *, comparisons: Comparisons | None = None) -> Floats:
        """Return how likely each query belongs to each cluster, (n_queries, n_clusters_).

        Parameters
        ----------
        X
            Embeddings, (n_queries, n_features).
        comparisons
            What is known of these queries, of models that were fitted.
        """
        embeddings, known = self._given(X, comparisons)
        return self._estimate.responsibilities(embeddings, known)

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return how good each model is for each query, as log odds: (n_queries, n_models).

        Only differences within a row matter: σ(θ_b − θ_a) is the chance that b beats a.
        """
        embeddings, known = self._given(X, comparisons)
        return self._estimate.capabilities(embeddings, known)

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
            Embeddings, (n_queries, n_features).
        pairs
            n pairs of models on rows of X; their outcomes are not looked at.
        comparisons
            What is known of these queries.
        """
        embeddings, known = self._given(X, comparisons)
        asked = of_models(of_queries(pairs, len(embeddings)), self.models_)
        return self._estimate.pairwise(embeddings, known, asked)

    def score(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        comparisons: Comparisons | None = None,
        evidence: Comparisons | None = None,
    ) -> float:
        """Return the mean log likelihood of comparisons, the higher the better.

        Parameters
        ----------
        X
            Embeddings, (n_queries, n_features).
        y
            Ignored.
        comparisons
            To be predicted. Without any, the score is the mean cosine of queries and centroids.
        evidence
            What is known of the same queries beforehand.

        Raises
        ------
        ValueError
            If there is no comparison that counts.
        """
        if comparisons is None:
            embeddings, known = self._given(X, evidence)
            cosine = embeddings @ self.cluster_centers_.T
            share = self._estimate.responsibilities(embeddings, known)
            return float((share * cosine).sum(1).mean())
        return mean_log_likelihood(self, X, comparisons, evidence)

    def _settings(self) -> EstimationSettings:
        """Put the parameters in the letters of the algebra, which checks them."""
        if not self.temperature > 0:
            raise ValueError(f"expected temperature above 0, got {self.temperature}")
        return EstimationSettings(
            n_clusters=self.n_clusters,
            mixture=MixtureSettings(
                concentration=self.prior_weight / self.temperature,
                evidence_weight=1 / self.temperature,
                ridge=self.ridge,
                evidence=self.evidence,
                learn_shares=self.learn_shares,
                max_iter=self.max_iter,
                tol=self.tol,
            ),
            shrink=self.shrink,
            init=self.init,
            n_init=self.n_init,
            trend_ridge=self.trend_ridge,
            n_landmarks=self.n_landmarks,
            n_folds=self.n_folds,
        )

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(check_random_state(self.random_state).randint(1 << 31))

    def _keep(self, found: Estimate, totals: Totals) -> None:
        clusters = found.clusters
        self._estimate, self._totals = found, totals
        self.calibration_: Calibration | None = found.calibration
        self.global_ = found.global_M
        self.profiles_ = clusters.mixture.profiles_KM
        self.cluster_centers_ = clusters.mixture.centroids_KD
        self.shares_ = np.exp(clusters.mixture.log_shares_K)
        self.shares_ /= self.shares_.sum()
        self.responsibilities_ = clusters.responsibilities_QK
        self.labels_ = self.responsibilities_.argmax(1)
        self.n_clusters_ = clusters.mixture.n_clusters
        self.objective_ = clusters.objective
        self.n_iter_ = len(clusters.objective)
        self.converged_ = clusters.converged

    def _given(self, X: ArrayLike, comparisons: Comparisons | None) -> tuple[Real, Comparisons]:
        """Check what is asked about, in directions and in the models of the fit."""
        check_is_fitted(self)
        table = validate_data(self, X, dtype=(np.float32, np.float64), reset=False)
        known = of_models(of_queries(comparisons, len(table)), self.models_)
        return directions(table, self.center_), known
