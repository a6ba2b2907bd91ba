"""From embeddings and comparisons to an estimate: clusters, trend, and what each is worth.

Where there are enough queries, trend and clusters are fitted again without some of them, so that
their weights are learned on queries they have not seen. Beyond thirty thousand queries, where
that would cost more than it tells, some queries are held out of the only fit there is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import sparse
from scipy.special import expit
from threadpoolctl import threadpool_limits

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.calibration import (
    PLAIN,
    Calibration,
    HeldOut,
    Parts,
    calibrate,
    parts_of,
    uncalibrated,
)
from triskele.evaluate.clustering.landmarks import Landmarks
from triskele.evaluate.clustering.mixture import (
    Mixture,
    MixtureFit,
    MixtureSettings,
    fit_mixture,
    one_cluster,
    wins_of,
)
from triskele.evaluate.clustering.starts import by_chance, by_means
from triskele.evaluate.clustering.trend import Trend, fit_trend, trend_loss
from triskele.evaluate.columns import Floats, Integers, Real
from triskele.evaluate.comparisons import Comparisons

GLOBAL_RIDGE = 1.0
"""Of the profile of all queries, towards zero."""
TREND_RIDGES = (2.0, 5.0, 12.0, 30.0, 80.0)
"""Strengths of the trend's prior that are tried on queries held out."""
PLAIN_RIDGE = 12.0
"""Where there is too little to try."""
QUICK = 20
"""Steps of L-BFGS where a fit is only to be compared with others."""
FEW, MANY = 40, 30_000
"""Compared queries below which nothing is held out, and above which some are, once and for all."""
MOST_HELD_OUT, LEAST_KEPT = 20_000, 5
"""How many are held out then at most, and one out of how many."""
N_MIXTURES = 2
"""Parts in which queries are held out of the mixture, which has little to overfit with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimationSettings:
    """What :class:`~triskele.evaluate.clustering.ecc.EvidenceCalibratedClustering` is asked for."""

    n_clusters: int
    mixture: MixtureSettings
    shrink: Literal["global", "zero"]
    init: Literal["means", "chance"]
    n_init: int
    trend_ridge: float | None
    n_landmarks: int
    n_folds: int

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, least in (("n_clusters", 1), ("n_init", 1), ("n_landmarks", 0), ("n_folds", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if self.n_folds == 1:
            raise ValueError("expected n_folds of 0 or at least 2, got 1")
        if self.trend_ridge is not None and not self.trend_ridge > 0:
            raise ValueError(f"expected trend_ridge above 0, got {self.trend_ridge}")
        for name, words in (
            ("shrink", ("global", "zero")),
            ("init", ("means", "chance")),
        ):
            if getattr(self, name) not in words:
                raise ValueError(f"expected {name} among {words}, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """All that is kept of a fit."""

    global_M: Floats
    clusters: MixtureFit
    landmarks: Landmarks | None
    trend: Trend | None
    calibration: Calibration | None
    """``None`` where predictions are those of the mixture alone."""

    @property
    def is_global(self) -> bool:
        """Whether queries were not found to differ in which model suits them."""
        return self.calibration is not None and not any(self.calibration.weights[1:4])

    def responsibilities(self, embeddings_QD: Real, evidence: Comparisons) -> Floats:
        """Return how likely each query belongs to each cluster, (Q, K)."""
        mixture = self.clusters.mixture
        if len(evidence) == 0 or mixture.n_clusters == 1:
            return mixture.prior(embeddings_QD)
        wins = wins_of(evidence, evidence=mixture.settings.evidence)
        return mixture.posterior(embeddings_QD, wins)

    def capabilities(self, embeddings_QD: Real, evidence: Comparisons) -> Floats:
        """Return θ, (Q, M)."""
        if self.calibration is None:
            share = self.responsibilities(embeddings_QD, evidence)
            return np.asarray(share @ self.clusters.mixture.profiles_KM)
        parts = self.parts(embeddings_QD, evidence)
        return parts.capabilities(self.calibration.weights)

    def pairwise(self, embeddings_QD: Real, evidence: Comparisons, asked: Comparisons) -> Floats:
        """Return the chance that b beats a, (n,); of a bare mixture, the mean of its clusters'."""
        query, a, b = asked.query, asked.model_a, asked.model_b
        if self.calibration is None:
            share = self.responsibilities(embeddings_QD, evidence)[query]
            profiles = self.clusters.mixture.profiles_KM
            return np.asarray((share * expit(profiles[:, b] - profiles[:, a]).T).sum(1))
        θ = self.capabilities(embeddings_QD, evidence)
        return np.asarray(expit(θ[query, b] - θ[query, a]))

    def parts(self, embeddings_QD: Real, evidence: Comparisons) -> Parts:
        """Return what is to be said of queries, given what is known of them."""
        if self.landmarks is None or self.trend is None:
            trend = np.tile(self.global_M, (len(embeddings_QD), 1))
        else:
            trend = self.trend.capabilities(self.landmarks.transform(embeddings_QD))
        return parts_of(embeddings_QD, trend, self.clusters.mixture, self.global_M, evidence)


def estimate(
    embeddings_QD: Real,
    comparisons: Comparisons,
    *,
    settings: EstimationSettings,
    rng: np.random.Generator,
) -> Estimate:
    """Fit everything.

    Parameters
    ----------
    embeddings_QD
        Rows of length one, or zero.
    comparisons
        Of these queries; there may be none. Those of weight 0 are passed over.
    settings
        What is asked for.
    rng
        Chooses starts, landmarks, and what is held out.
    """
    # What weighs nothing is not there, or it would count as a query that was compared.
    comparisons = comparisons.take(comparisons.weight > 0)
    # Below, products are so small that threads wait for each other longer than they work.
    limit = 1 if len(embeddings_QD) <= MANY else None
    with threadpool_limits(limit):
        return _estimated(_Fits(embeddings_QD, comparisons, settings, rng), comparisons)


def _estimated(fits: "_Fits", comparisons: Comparisons) -> Estimate:
    settings, rng = fits.settings, fits.rng
    if settings.n_folds == 0 or comparisons.n_models < 2:
        return fits.clusters_alone()
    compared = rng.permutation(np.unique(comparisons.query))
    if len(compared) < max(FEW, 2 * settings.n_folds):
        return fits.whole(uncalibrated(PLAIN))
    if len(compared) > MANY:
        return fits.held_out_once(compared)
    return fits.cross_fitted(compared)


class _Fits:
    """The fits that one estimate is made of, on all queries or on some."""

    def __init__(
        self,
        embeddings_QD: Real,
        comparisons: Comparisons,
        settings: EstimationSettings,
        rng: np.random.Generator,
    ) -> None:
        self._embeddings, self._comparisons = embeddings_QD, comparisons
        self.settings, self.rng = settings, rng
        self._global = fit_counts(count_wins(comparisons), ridge=GLOBAL_RIDGE)
        self._landmarks: Landmarks | None = None
        if settings.n_landmarks and settings.n_folds and comparisons.n_models > 1:
            n_landmarks = settings.n_landmarks
            self._landmarks = Landmarks.fit(embeddings_QD, n_landmarks=n_landmarks, rng=rng)
            self._features = self._landmarks.transform(embeddings_QD)

    def clusters_alone(self) -> Estimate:
        """Return clusters, of whose predictions nothing is learned."""
        return self._estimate(self._clusters(None), None, None)

    def whole(self, calibration: Calibration) -> Estimate:
        """Return fits to all that there is, with given weights."""
        ridge = self.settings.trend_ridge or PLAIN_RIDGE
        return self._estimate(self._clusters(None), self._trend(None, ridge), calibration)

    def cross_fitted(self, compared: Integers) -> Estimate:
        """Return fits to all, weighed by fits to parts of the queries."""
        ridge = self._trend_ridge(compared)
        trend = self._trend(None, ridge)
        clusters = self._clusters(None)
        calibration = calibrate(self._held_out(compared, ridge), self._comparisons, rng=self.rng)
        return self._concluded(clusters, trend, calibration)

    def held_out_once(self, compared: Integers) -> Estimate:
        """Return fits to all queries but some, and weighed by those."""
        n_held = min(MOST_HELD_OUT, len(compared) // LEAST_KEPT)
        held, kept = compared[:n_held], compared[n_held:]
        trend = self._trend(kept, self._trend_ridge(kept[:MOST_HELD_OUT]))
        is_kept = np.ones(len(self._embeddings), np.bool_)
        is_kept[held] = False
        clusters = self._clusters(np.flatnonzero(is_kept))
        asked = self._asked(clusters.mixture, trend)
        calibration = calibrate([(held, asked)], self._comparisons, rng=self.rng)
        wins = self._wins(self._comparisons)
        everyone = clusters.mixture.posterior(self._embeddings, wins)
        clusters = replace(clusters, responsibilities_QK=everyone)
        return self._concluded(clusters, trend, calibration)

    def _held_out(self, compared: Integers, ridge: float | None) -> Iterator[HeldOut]:
        """Yield parts of the queries, each with an estimate that has not seen them."""
        n_folds = self.settings.n_folds
        folds = np.array_split(compared, n_folds)
        for numbers in np.array_split(np.arange(n_folds), min(N_MIXTURES, n_folds)):
            is_kept = np.ones(len(self._embeddings), np.bool_)
            is_kept[np.concatenate([folds[number] for number in numbers])] = False
            mixture = self._clusters(np.flatnonzero(is_kept)).mixture
            for number in numbers:
                others = np.setdiff1d(compared, folds[number])
                yield folds[number], self._asked(mixture, self._trend(others, ridge))

    def _asked(
        self, mixture: Mixture, trend: Trend | None
    ) -> Callable[[Integers, Comparisons], Parts]:
        def parts(queries: Integers, shown: Comparisons) -> Parts:
            if trend is None:
                of_trend = np.tile(self._global, (len(queries), 1))
            else:
                of_trend = trend.capabilities(self._features[queries])
            return parts_of(self._embeddings[queries], of_trend, mixture, self._global, shown)

        return parts

    def _clusters(self, among: Integers | None) -> MixtureFit:
        """Return the best of several searches for clusters among some queries, or all."""
        settings, rng = self.settings, self.rng
        embeddings, comparisons = self._embeddings, self._comparisons
        if among is not None:
            embeddings, comparisons = embeddings[among], comparisons.of_queries(among)
        wins = self._wins(comparisons)
        n_clusters = min(settings.n_clusters, len(embeddings))
        prior = self._global if settings.shrink == "global" else np.zeros_like(self._global)
        found = [
            fit_mixture(
                embeddings,
                wins,
                by_means(embeddings, n_clusters, rng)
                if settings.init == "means"
                else by_chance(len(embeddings), n_clusters, rng),
                prior_M=prior,
                settings=settings.mixture,
            )
            for _ in range(settings.n_init)
        ]
        return max(found, key=lambda fit: fit.objective[-1])

    def _trend(
        self,
        compared: Integers | None,
        ridge: float | None,
        *,
        n_rounds: int = 3,
        max_iter: int = 30,
    ) -> Trend | None:
        """Return the trend of some queries, or all."""
        if self._landmarks is None or ridge is None:
            return None
        features, comparisons = self._features, self._comparisons
        if compared is not None:
            features, comparisons = features[compared], comparisons.of_queries(compared)
        return fit_trend(
            features,
            comparisons,
            mean_M=self._global,
            ridge=ridge,
            n_rounds=n_rounds,
            max_iter=max_iter,
        )

    def _concluded(
        self, clusters: MixtureFit, trend: Trend | None, calibration: Calibration
    ) -> Estimate:
        """Return the estimate, with one cluster and no trend if that is as good."""
        if not calibration.is_structured:
            clusters, trend = one_cluster(clusters, self._global), None
        return self._estimate(clusters, trend, calibration)

    def _estimate(
        self, clusters: MixtureFit, trend: Trend | None, calibration: Calibration | None
    ) -> Estimate:
        return Estimate(
            global_M=self._global,
            clusters=clusters,
            landmarks=None if trend is None else self._landmarks,
            trend=trend,
            calibration=calibration,
        )

    def _wins(self, comparisons: Comparisons) -> sparse.csr_array:
        return wins_of(comparisons, evidence=self.settings.mixture.evidence)

    def _trend_ridge(self, compared: Integers) -> float | None:
        """Return the strength of the trend's prior that predicts some queries best."""
        if self._landmarks is None or self.settings.trend_ridge is not None:
            return self.settings.trend_ridge
        asked, kept = np.array_split(compared, [len(compared) // 4])
        test = self._comparisons.of_queries(asked)
        losses = []
        for ridge in TREND_RIDGES:
            tried = self._trend(kept, ridge, n_rounds=2, max_iter=QUICK)
            assert tried is not None
            losses.append(trend_loss(tried, self._features[asked], test))
        return TREND_RIDGES[int(np.argmin(losses))]
