"""Comparisons that arrive in batches: what was fitted, and a batch, become the next fit.

Of the past only sums are kept, and each batch is looked at once (incremental expectation
maximisation, Neal and Hinton 1998, without going back):

- the batch's responsibilities are those of the clusters as they stand, and its wins, embeddings and
  sizes are added to the clusters' sums, of which the next clusters are the most likely ones;
- the profile of all queries is fitted to all wins so far;
- the weights of the parts are corrected by how they predict the batch before it is added: clusters
  of few comparisons are too near to the prior, and the weights that make up for it would be too
  large later on;
- the trend's weights are fitted to the batch with what is known of them as their prior: a normal
  distribution around their present values, whose precision is that of the first prior plus the
  curvature of all comparisons so far, of which only the diagonal is kept.

What a batch does not change: where the embeddings' center and the landmarks are, the models, and
the number of clusters. The first batch should therefore be one that clusters can be found in.
"""

from dataclasses import dataclass, replace

import numpy as np

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.calibration import Calibration, Parts, recalibrated
from triskele.evaluate.clustering.estimation import GLOBAL_RIDGE, Estimate, EstimationSettings
from triskele.evaluate.clustering.mixture import (
    ClusterSums,
    most_likely,
    one_cluster,
    sums_of,
    wins_of,
)
from triskele.evaluate.clustering.trend import trend_curvature, updated_trend
from triskele.evaluate.columns import Floats, Integers, Real
from triskele.evaluate.comparisons import Comparisons

REMEMBERED = 1 / 3
"""Of the comparisons so far, when a batch corrects the weights of the parts: the earlier one came,
the fewer the clusters had seen (polynomial-decay averaging, Shamir and Zhang 2013)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Totals:
    """What is kept of the queries and comparisons that were fitted."""

    clusters: ClusterSums
    wins_MM: Floats
    curvature_LM: Floats | None
    """Of the trend's loss; ``None`` without a trend."""


def totals_of(estimate: Estimate, embeddings_QD: Real, comparisons: Comparisons) -> Totals:
    """Return what there is to keep of a fit.

    Parameters
    ----------
    estimate
        The fit.
    embeddings_QD, comparisons
        All that it was fitted to.
    """
    clusters = estimate.clusters
    wins = wins_of(comparisons, evidence=clusters.mixture.settings.evidence)
    curvature = None
    if estimate.landmarks is not None and estimate.trend is not None:
        features = estimate.landmarks.transform(embeddings_QD)
        curvature = trend_curvature(estimate.trend, features, comparisons)
    return Totals(
        clusters=sums_of(embeddings_QD, wins, clusters.responsibilities_QK),
        wins_MM=count_wins(comparisons),
        curvature_LM=curvature,
    )


def continued(
    estimate: Estimate,
    totals: Totals,
    embeddings_QD: Real,
    comparisons: Comparisons,
    *,
    settings: EstimationSettings,
    rng: np.random.Generator,
) -> tuple[Estimate, Totals]:
    """Add a batch to a fit.

    Parameters
    ----------
    estimate, totals
        The fit so far, and what was kept of it.
    embeddings_QD
        Of new queries: rows of length one, or zero.
    comparisons
        Of the new queries and the models of the fit; there may be none.
    settings
        Those of the fit.
    rng
        Chooses which comparisons are shown and which are predicted.

    Returns
    -------
    estimate, totals
        The next ones. The responsibilities are those of the batch.
    """
    comparisons = comparisons.take(comparisons.weight > 0)
    calibration = _recalibrated(estimate, totals, embeddings_QD, comparisons, rng)
    mixture = estimate.clusters.mixture
    wins_CQ = wins_of(comparisons, evidence=mixture.settings.evidence)
    responsibilities = mixture.posterior(embeddings_QD, wins_CQ)
    clusters = totals.clusters + sums_of(embeddings_QD, wins_CQ, responsibilities)
    wins_MM = totals.wins_MM + count_wins(comparisons)
    global_M = fit_counts(wins_MM, ridge=GLOBAL_RIDGE, start=estimate.global_M)
    prior = global_M if settings.shrink == "global" else np.zeros_like(global_M)
    fit = replace(
        estimate.clusters,
        mixture=most_likely(
            clusters, prior_M=prior, start_KM=mixture.profiles_KM, settings=mixture.settings
        ),
        responsibilities_QK=responsibilities,
    )
    if estimate.is_global:
        fit = one_cluster(fit, global_M)
    trend, curvature = estimate.trend, totals.curvature_LM
    if estimate.landmarks is not None and trend is not None and curvature is not None:
        features = estimate.landmarks.transform(embeddings_QD)
        trend = updated_trend(trend, features, comparisons, mean_M=global_M, curvature_LM=curvature)
        curvature = curvature + trend_curvature(trend, features, comparisons)
    return (
        replace(estimate, global_M=global_M, clusters=fit, trend=trend, calibration=calibration),
        Totals(clusters=clusters, wins_MM=wins_MM, curvature_LM=curvature),
    )


def _recalibrated(
    estimate: Estimate,
    totals: Totals,
    embeddings_QD: Real,
    comparisons: Comparisons,
    rng: np.random.Generator,
) -> Calibration | None:
    """Return the weights, learned also from a batch that the fit has not seen."""
    if estimate.calibration is None or estimate.is_global or len(comparisons) == 0:
        return estimate.calibration

    def parts(queries: Integers, shown: Comparisons) -> Parts:
        return estimate.parts(embeddings_QD[queries], shown)

    return recalibrated(
        estimate.calibration,
        [(np.unique(comparisons.query), parts)],
        comparisons,
        n_before=REMEMBERED * float(totals.wins_MM.sum()),
        rng=rng,
    )
