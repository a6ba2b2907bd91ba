"""Clusters of comparisons alone: the embeddings have no part in them."""

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering


def comparison_only(
    n_clusters: int = 30, *, random_state: int | None = 0
) -> EvidenceCalibratedClustering:
    """Return the "comparison-only" method of arXiv 2605.17110.

    It is the method of that paper without the term of the embedding: a query of which nothing is
    known belongs to all clusters alike.

    Parameters
    ----------
    n_clusters
        How many; fewer if there are fewer queries.
    random_state
        Seed of the start.
    """
    published = EvidenceCalibratedClustering.published(n_clusters, random_state=random_state)
    published.set_params(prior_weight=0.0)
    return published
