"""Queries on a plane: near in meaning, near on the map, as far as two dimensions can tell.

t-SNE (van der Maaten and Hinton 2008) of the leading principal components; distances between far
groups mean nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from triskele.evaluate.columns import Floats

N_COMPONENTS = 30
PERPLEXITY = 40.0
FEWEST = 8
"""Below so many points t-SNE has nothing to do, and they are only projected."""


def plane(X: NDArray[np.floating[Any]], *, seed: int) -> Floats:
    """Return where queries lie, (n, 2), within [0, 1]².

    Parameters
    ----------
    X
        Embeddings, (n, n_features), n ≥ 1.
    seed
        Of the layout.
    """
    n = len(X)
    table = np.asarray(X, np.float64)
    table = table - table.mean(0)
    if n < 2 or not table.any():
        return np.full((n, 2), 0.5)
    n_components = min(N_COMPONENTS, n, table.shape[1])
    reduced = PCA(n_components, svd_solver="randomized", random_state=seed).fit_transform(table)
    if n < FEWEST:
        flat = np.zeros((n, 2))
        flat[:, : min(2, n_components)] = reduced[:, :2]
        return _squared(flat)
    # Equal texts would stay one dot, however many they are.
    jitter = np.random.default_rng(seed).normal(0, 1e-3 * reduced.std(), reduced.shape)
    layout = TSNE(
        perplexity=min(PERPLEXITY, (n - 1) / 3),
        init="random" if n_components < 2 else "pca",
        random_state=seed,
    )
    return _squared(layout.fit_transform((reduced + jitter).astype(np.float32)))


def _squared(points: NDArray[np.floating[Any]]) -> Floats:
    low, high = points.min(0), points.max(0)
    extent = np.where(high > low, high - low, 1.0)
    return np.asarray((points - low) / extent, np.float64)
