"""The clusters: a mixture over queries of directions in embedding space and Bradley–Terry profiles.

A query of cluster k has an embedding e near the unit centroid c_k and comparisons that follow the
profile θ_k:

    log p(e, comparisons | k) = κ ⟨e, c_k⟩ + τ Σ_v log σ(s_v(θ_k)) + constant,

with a share π_k of the queries, the concentration κ of embeddings and the weight τ of evidence. A
profile is pulled to a prior (the profile of all queries) with a ridge ρ: N(prior, 1/ρ).
Expectation maximisation raises

    F = Σ_q log Σ_k π_k p(e_q, V_q | k) − τ ρ/2 Σ_k ‖θ_k − prior‖² + Σ_k log π_k

in every round. This is Evidence-Calibrated Clustering (arXiv 2605.17110) with κ = λ/T; there the
shares are fixed, the prior is zero, and the evidence of a query is the mean of its comparisons with
τ = 1/T.

All comparisons enter as counts of wins: both steps are one product with a sparse matrix for all
clusters and comparisons at once.

Shape suffixes: Q queries, D features, K clusters, M models, C = M² pairs of winner and loser.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import sparse

from triskele.evaluate.bradley_terry.counts import wins_by_query
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.columns import Floats, Real
from triskele.evaluate.comparisons import Comparisons

PSEUDO_COUNT = 1.0
"""Of queries per cluster, so that no share becomes zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureSettings:
    """How clusters are weighed and fitted; the letters are those of the module."""

    concentration: float
    """κ: how much the embedding counts."""
    evidence_weight: float
    """τ: how much a comparison counts beside it."""
    ridge: float
    """ρ: pull of the profiles towards the prior."""
    evidence: Literal["sum", "mean"] = "sum"
    """Whether a query's evidence is the sum of its comparisons' log likelihoods or their mean."""
    learn_shares: bool = True
    """Whether π is learned, or equal for all."""
    max_iter: int = 100
    tol: float = 1e-4
    """Rounds end when F rises by less than this share of it."""

    def __post_init__(self) -> None:
        """Refuse weights below zero and searches that never begin."""
        if not self.concentration >= 0:
            raise ValueError(f"expected prior_weight of at least 0, got {self.concentration}")
        if not self.evidence_weight >= 0:
            raise ValueError(f"expected evidence to count at least 0, got {self.evidence_weight}")
        if not self.ridge > 0:
            raise ValueError(f"expected ridge above 0, got {self.ridge}")
        if self.evidence not in ("sum", "mean"):
            raise ValueError(f"expected evidence among sum and mean, got {self.evidence!r}")
        if self.max_iter < 1 or not self.tol >= 0:
            raise ValueError(f"expected rounds and a tolerance, got {self.max_iter}, {self.tol}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClusterSums:
    """All that the M step needs to know of the queries: added up, each as far as it belongs."""

    wins_KMM: Floats
    embeddings_KD: Floats
    sizes_K: Floats

    def __add__(self, other: "ClusterSums") -> "ClusterSums":
        """Return the sums of both."""
        return ClusterSums(
            wins_KMM=self.wins_KMM + other.wins_KMM,
            embeddings_KD=self.embeddings_KD + other.embeddings_KD,
            sizes_K=self.sizes_K + other.sizes_K,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """Clusters as they were found."""

    profiles_KM: Floats
    centroids_KD: Floats
    log_shares_K: Floats
    settings: MixtureSettings

    @property
    def n_clusters(self) -> int:
        """K."""
        return len(self.log_shares_K)

    def prior(self, embeddings_QD: Real) -> Floats:
        """Return the responsibilities of the clusters by the embeddings alone, (Q, K)."""
        return normalise_rows(self._by_embedding(embeddings_QD))[0]

    def posterior(self, embeddings_QD: Real, wins_CQ: sparse.csr_array) -> Floats:
        """Return the responsibilities by embeddings and evidence, (Q, K)."""
        return self._posterior(embeddings_QD, wins_CQ)[0]

    def _posterior(self, embeddings_QD: Real, wins_CQ: sparse.csr_array) -> tuple[Floats, Floats]:
        scores = self._by_embedding(embeddings_QD)
        if self.settings.evidence_weight and wins_CQ.nnz:
            scores += self.settings.evidence_weight * log_likelihood(wins_CQ, self.profiles_KM)
        return normalise_rows(scores)

    def _by_embedding(self, embeddings_QD: Real) -> Floats:
        centroids = self.centroids_KD.astype(embeddings_QD.dtype, copy=False)
        scores = (embeddings_QD @ centroids.T).astype(np.float64, copy=False)
        scores *= self.settings.concentration
        scores += self.log_shares_K
        return scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixtureFit:
    """A mixture, and how it was reached."""

    mixture: Mixture
    responsibilities_QK: Floats
    objective: tuple[float, ...]
    """F after each round."""
    converged: bool


def fit_mixture(
    embeddings_QD: Real,
    wins_CQ: sparse.csr_array,
    responsibilities_QK: Floats,
    *,
    prior_M: Floats,
    settings: MixtureSettings,
) -> MixtureFit:
    """Find clusters by expectation maximisation.

    Parameters
    ----------
    embeddings_QD
        Rows of length one.
    wins_CQ
        Wins by query, as :func:`~triskele.evaluate.bradley_terry.counts.wins_by_query` counts them.
    responsibilities_QK
        Where to begin; rows add up to 1.
    prior_M
        What profiles are pulled to.
    settings
        Weights, and when to end.
    """
    responsibilities = responsibilities_QK
    n_clusters = responsibilities.shape[1]
    profiles = np.tile(prior_M, (n_clusters, 1))
    history: list[float] = []
    converged = False
    while not converged and len(history) < settings.max_iter:
        sums = sums_of(embeddings_QD, wins_CQ, responsibilities)
        mixture = most_likely(sums, prior_M=prior_M, start_KM=profiles, settings=settings)
        profiles = mixture.profiles_KM
        responsibilities, log_evidence = mixture._posterior(embeddings_QD, wins_CQ)
        penalty = 0.5 * settings.ridge * float(np.square(profiles - prior_M).sum())
        objective = float(log_evidence.sum()) - settings.evidence_weight * penalty
        if settings.learn_shares:
            objective += PSEUDO_COUNT * float(mixture.log_shares_K.sum())
        if history:
            converged = objective - history[-1] < settings.tol * abs(objective)
        history.append(objective)
    return MixtureFit(
        mixture=mixture,
        responsibilities_QK=responsibilities,
        objective=tuple(history),
        converged=converged,
    )


def one_cluster(fit: MixtureFit, profile_M: Floats) -> MixtureFit:
    """Return a fit in which all queries are one cluster of a given profile."""
    merged = fit.responsibilities_QK.sum(0) @ fit.mixture.centroids_KD
    length = float(np.linalg.norm(merged))
    mixture = replace(
        fit.mixture,
        profiles_KM=profile_M[None],
        centroids_KD=merged[None] / (length if length > 0 else 1.0),
        log_shares_K=np.zeros(1),
    )
    return replace(
        fit, mixture=mixture, responsibilities_QK=np.ones((len(fit.responsibilities_QK), 1))
    )


def wins_of(comparisons: Comparisons, *, evidence: Literal["sum", "mean"]) -> sparse.csr_array:
    """Return the wins of each query, (C, Q), added up or shared among its comparisons."""
    if evidence == "sum":
        return wins_by_query(comparisons)
    total = np.bincount(comparisons.query, comparisons.weight, comparisons.n_queries)
    share = comparisons.weight / np.where(total > 0, total, 1.0)[comparisons.query]
    return wins_by_query(replace(comparisons, weight=share))


def sums_of(
    embeddings_QD: Real, wins_CQ: sparse.csr_array, responsibilities_QK: Floats
) -> ClusterSums:
    """Return what queries add to the clusters."""
    n_cells, n_clusters = wins_CQ.shape[0], responsibilities_QK.shape[1]
    n_models = math.isqrt(n_cells)
    wins = (wins_CQ @ responsibilities_QK).T.reshape(n_clusters, n_models, n_models)
    embeddings = responsibilities_QK.astype(embeddings_QD.dtype).T @ embeddings_QD
    return ClusterSums(
        wins_KMM=np.asarray(wins, np.float64),
        embeddings_KD=embeddings.astype(np.float64),
        sizes_K=responsibilities_QK.sum(0),
    )


def most_likely(
    sums: ClusterSums, *, prior_M: Floats, start_KM: Floats, settings: MixtureSettings
) -> Mixture:
    """Return the mixture that is most likely for the responsibilities: the M step.

    Parameters
    ----------
    sums
        What the queries amount to.
    prior_M
        What profiles are pulled to.
    start_KM
        Profiles near the answer.
    settings
        Weights.
    """
    profiles = start_KM
    if sums.wins_KMM.any():
        profiles = fit_counts(sums.wins_KMM, ridge=settings.ridge, prior=prior_M, start=start_KM)
    length = np.linalg.norm(sums.embeddings_KD, axis=1, keepdims=True)
    if settings.learn_shares:
        size = sums.sizes_K + PSEUDO_COUNT
        log_shares = np.log(size / size.sum())
    else:
        log_shares = np.zeros(len(sums.sizes_K))
    return Mixture(
        profiles_KM=profiles,
        centroids_KD=sums.embeddings_KD / np.where(length > 0, length, 1.0),
        log_shares_K=log_shares,
        settings=settings,
    )


def log_likelihood(wins_CQ: sparse.csr_array, profiles_KM: Floats) -> Floats:
    """Return the log likelihood of each query's comparisons under each profile, (Q, K)."""
    lead = profiles_KM[:, :, None] - profiles_KM[:, None, :]
    of_pairs = -np.logaddexp(0.0, -lead).reshape(len(profiles_KM), -1)
    return np.asarray(wins_CQ.T @ of_pairs.T)


def normalise_rows(scores: Floats) -> tuple[Floats, Floats]:
    """Return the softmax of each row, in place, and the logarithm of what it was divided by."""
    highest = scores.max(1, keepdims=True)
    scores -= highest
    np.exp(scores, out=scores)
    total = scores.sum(1, keepdims=True)
    scores /= total
    return scores, np.log(total[:, 0]) + highest[:, 0]
