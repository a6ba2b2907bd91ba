"""What a cluster of queries is about: the terms that set it apart, and its most typical queries.

Terms are words and pairs of neighbouring words, stop words left out. A term sets a cluster apart if
far more of its texts have it than of the others: the log-odds ratio with an informative Dirichlet
prior, in standard deviations (Monroe, Colaresi and Quinn, "Fightin' Words", 2008). The prior keeps
a rare term from standing out by chance. A text counts once however often it repeats a term.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from triskele.evaluate.columns import Floats
from triskele.evaluate.embedding.embedder import unit_rows

WORD = re.compile(r"[^\W\d_][\w'’-]+")
"""A letter and something after it: no numbers, no lettered options."""
STOP_WORDS = ENGLISH_STOP_WORDS | {"did", "does", "option", "options"}
MAX_TERMS = 1 << 16
MAX_WORDS = 400
"""Words of a text that are looked at: no more is needed to say what it is about."""
PRIOR_SHARE = 0.1
"""How much of an average cluster each is thought to hold besides its own texts."""
TINY, DECIMALS = 1e-12, 6
MIN_DEVIATIONS = 2.0
"""By how much a term must stand out to be named at all."""


def top_terms(
    texts: Sequence[str], labels: ArrayLike, *, n_terms: int = 8, n_clusters: int | None = None
) -> list[tuple[str, ...]]:
    """Return the terms that set each cluster apart from all others, the clearest first.

    Parameters
    ----------
    texts
        (n,); empty ones say nothing.
    labels
        Cluster of each text, (n,): 0, 1, …, or less than 0 for a text of none.
    n_terms
        Terms per cluster at most. A pair one of whose words was named before is passed over, and a
        word of a pair that was.
    n_clusters
        How many clusters there are; one more than the largest label if not given.

    Returns
    -------
    list
        One tuple per cluster; empty for a cluster that nothing sets apart.

    Raises
    ------
    ValueError
        If there is not one label per text, or a label beyond ``n_clusters``.
    """
    clusters = _labels(labels, len(texts), n_clusters)
    n = int(clusters.max(initial=-1)) + 1 if n_clusters is None else n_clusters
    if n_terms < 1 or not any(_terms_of(text) for text in texts):
        return [()] * n
    vectorizer = CountVectorizer(
        analyzer=_terms_of, binary=True, max_features=MAX_TERMS, dtype=np.float64
    )
    counts = vectorizer.fit_transform(texts)
    names = vectorizer.get_feature_names_out()
    members = np.flatnonzero(clusters >= 0)
    ones = np.ones(len(members))
    membership = sparse.csr_array((ones, (clusters[members], members)), shape=(n, len(texts)))
    z = _log_odds(np.asarray((membership @ counts).todense()))
    n_words = np.array([name.count(" ") for name in names])
    return [_named(z_of_cluster, names, n_words, n_terms) for z_of_cluster in z]


def example_queries(
    X: NDArray[np.floating[Any]],
    labels: ArrayLike,
    centroids: NDArray[np.floating[Any]],
    n: int,
) -> list[NDArray[np.int64]]:
    """Return the rows of each cluster that are nearest to its centroid, the nearest first.

    Parameters
    ----------
    X
        Embeddings, (n_queries, n_features).
    labels
        Cluster of each query, (n_queries,), less than 0 for none.
    centroids
        (n_clusters, n_features), of any length: the cosine counts.
    n
        Rows per cluster at most.

    Returns
    -------
    list of Array
        Rows of X, for each cluster; of equally near ones the first.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a label is beyond the centroids.
    """
    clusters = _labels(labels, len(X), len(centroids))
    if X.ndim != 2 or centroids.shape[1:] != X.shape[1:]:
        raise ValueError(f"expected centroids of {X.shape[1:]} features, got {centroids.shape[1:]}")
    directions = unit_rows(np.asarray(centroids, np.float32))
    examples = []
    for cluster, direction in enumerate(directions):
        rows = np.flatnonzero(clusters == cluster)
        nearness = unit_rows(np.asarray(X[rows], np.float32)) @ direction
        examples.append(rows[np.argsort(-nearness, kind="stable")[: max(0, n)]])
    return examples


def _labels(labels: ArrayLike, n: int, n_clusters: int | None) -> NDArray[np.int64]:
    clusters = np.asarray(labels)
    if clusters.shape != (n,):
        raise ValueError(f"expected {n} labels, one per query, got shape {clusters.shape}")
    if clusters.size and clusters.dtype.kind not in "iu":
        raise ValueError(f"expected labels to be whole numbers, got {clusters.dtype}")
    if n_clusters is not None and clusters.max(initial=-1) >= n_clusters:
        raise ValueError(f"expected labels below {n_clusters}, got {clusters.max()}")
    return clusters.astype(np.int64)


def _terms_of(text: str) -> list[str]:
    """Return words that are no stop words, and pairs of them that stand side by side."""
    words = [word.lower() for word in WORD.findall(text)[:MAX_WORDS]]
    kept = [None if word in STOP_WORDS else word for word in words]
    pairs = [f"{a} {b}" for a, b in pairwise(kept) if a is not None and b is not None]
    return [word for word in kept if word is not None] + pairs


def _log_odds(counts: Floats) -> Floats:
    """Return how far each cluster's odds of a term are from the others', in deviations: (K, V)."""
    everywhere = counts.sum(axis=0)
    prior = PRIOR_SHARE * everywhere / len(counts)
    own, rest = counts + prior, everywhere - counts + prior
    # Terms of no cluster have neither odds nor a prior.
    logs = [
        _log(part / np.maximum(part.sum(axis=1, keepdims=True) - part, TINY))
        for part in (own, rest)
    ]
    z: Floats = (logs[0] - logs[1]) / np.sqrt(
        1 / np.maximum(own, TINY) + 1 / np.maximum(rest, TINY)
    )
    return z


def _log(odds: Floats) -> Floats:
    return np.log(np.maximum(odds, TINY))


def _named(
    z: Floats, names: Sequence[str], n_words: NDArray[np.int64], n_terms: int
) -> tuple[str, ...]:
    """Return the terms that stand out most, without those that others say already."""
    named: list[str] = []
    alone: set[str] = set()
    said: set[str] = set()
    # Of a word and a pair that stand out alike, the word.
    for place in np.lexsort((n_words, -z.round(DECIMALS))):
        if z[place] < MIN_DEVIATIONS or len(named) == n_terms:
            break
        words = set(names[place].split())
        if words <= said or words & alone:
            continue
        named.append(str(names[place]))
        said |= words
        alone |= words if len(words) == 1 else set()
    return tuple(named)
