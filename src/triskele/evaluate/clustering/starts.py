"""Where the search for clusters begins."""

from warnings import catch_warnings, simplefilter

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from triskele.evaluate.columns import Floats, Real

SAMPLE = 50_000
"""Queries that k-means is run on at most."""
BELIEVED = 0.8
"""Of a query in the cluster that k-means puts it in; the rest is spread over all."""


def by_means(embeddings_QD: Real, n_clusters: int, rng: np.random.Generator) -> Floats:
    """Return responsibilities near those of k-means, (n_queries, n_clusters)."""
    n = len(embeddings_QD)
    sample = embeddings_QD if n <= SAMPLE else embeddings_QD[rng.choice(n, SAMPLE, replace=False)]
    means = KMeans(n_clusters, n_init=1, random_state=int(rng.integers(1 << 31)))
    with catch_warnings():
        # Of fewer distinct queries than clusters, which is no harm: evidence may tell them apart.
        simplefilter("ignore", ConvergenceWarning)
        means.fit(sample)
    if n <= SAMPLE:
        label = means.labels_
    else:
        label = np.concatenate(
            [means.predict(embeddings_QD[first : first + SAMPLE]) for first in range(0, n, SAMPLE)]
        )
    responsibilities = np.full((n, n_clusters), (1 - BELIEVED) / n_clusters)
    responsibilities[np.arange(n), label] += BELIEVED
    return responsibilities


def by_chance(n_queries: int, n_clusters: int, rng: np.random.Generator) -> Floats:
    """Return responsibilities drawn from Dirichlet(1), (n_queries, n_clusters)."""
    return rng.dirichlet(np.ones(n_clusters), n_queries)
