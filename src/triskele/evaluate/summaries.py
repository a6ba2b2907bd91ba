"""What the clusters of a fit are, in words, examples and a leaderboard of each."""

from dataclasses import dataclass, replace

import numpy as np

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.standings import Leaderboard, shrunk_leaderboard

NEGLIGIBLE = 1e-3
"""A query that belongs less to a cluster has no say in its leaderboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSummary:
    """A kind of queries."""

    number: int
    """As the estimator counts its clusters, from 0."""
    n_queries: int
    """That belong to it more than to any other."""
    share: float
    """Of all queries."""
    n_comparisons: float
    """Of its queries, by how much they belong to it."""
    terms: tuple[str, ...]
    """What sets it apart, in words."""
    examples: tuple[int, ...]
    """Rows of typical queries, the most typical first."""
    leaderboard: Leaderboard


def summarize(
    ecc: EvidenceCalibratedClustering,
    responsibilities: Floats,
    comparisons: Comparisons,
    *,
    terms: tuple[tuple[str, ...], ...],
    examples: list[Integers],
) -> tuple[ClusterSummary, ...]:
    """Return the clusters that have queries, the largest first.

    Parameters
    ----------
    ecc
        Fitted.
    responsibilities
        Of the queries, (n_queries, n_clusters).
    comparisons
        Of these queries and the models of the fit.
    terms, examples
        Of each cluster.
    """
    labels = responsibilities.argmax(1)
    sizes = np.bincount(labels, minlength=ecc.n_clusters_)
    order = np.argsort(-sizes, kind="stable")
    return tuple(
        _summary(ecc, responsibilities[:, k], comparisons, k, int(sizes[k]), terms[k], examples[k])
        for k in order.tolist()
        if sizes[k]
    )


def _summary(
    ecc: EvidenceCalibratedClustering,
    belongs: Floats,
    comparisons: Comparisons,
    number: int,
    size: int,
    terms: tuple[str, ...],
    examples: Integers,
) -> ClusterSummary:
    share = belongs[comparisons.query]
    kept = share > NEGLIGIBLE
    inside = comparisons.take(kept)
    inside = replace(inside, weight=inside.weight * share[kept])
    prior = ecc.global_ if ecc.shrink == "global" else np.zeros_like(ecc.global_)
    return ClusterSummary(
        number=number,
        n_queries=size,
        share=size / len(belongs),
        n_comparisons=float(inside.weight.sum()),
        terms=terms,
        examples=tuple(examples.tolist()),
        leaderboard=shrunk_leaderboard(inside, prior=prior, ridge=ecc.ridge),
    )
