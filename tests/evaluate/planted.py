"""Small sets of queries of a few kinds, on each of which other models are good."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from triskele.evaluate.comparisons import Comparisons


class Planted(NamedTuple):
    embeddings: NDArray[np.float64]
    """(n_queries, n_features), not of length one."""
    kind: NDArray[np.int64]
    """(n_queries,)."""
    profiles: NDArray[np.float64]
    """(n_kinds, n_models)."""
    comparisons: Comparisons

    def of(self, queries: NDArray[np.int64] | slice) -> "Planted":
        """Return some of the queries."""
        rows = np.arange(len(self.kind))[queries]
        return Planted(
            self.embeddings[rows],
            self.kind[rows],
            self.profiles,
            self.comparisons.of_queries(rows),
        )


def planted(
    n: int,
    *,
    seed: int = 0,
    n_kinds: int = 4,
    n_models: int = 12,
    per_query: int = 7,
    signal: float = 1.0,
    spread: float = 1.5,
    shares: tuple[float, ...] | None = None,
    n_features: int = 16,
) -> Planted:
    """Draw queries and comparisons.

    Profiles are one ability per model plus ``spread`` times noise of each kind's own; embeddings
    are ``signal`` times a unit vector per kind plus noise of length about one.
    """
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_kinds, n_features))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    kind = rng.choice(n_kinds, n, p=shares)
    noise = rng.standard_normal((n, n_features)) / np.sqrt(n_features)
    ability = rng.standard_normal(n_models)
    profiles = ability + spread * rng.standard_normal((n_kinds, n_models))
    query = np.repeat(np.arange(n), per_query)
    a = rng.integers(n_models, size=len(query))
    b = (a + rng.integers(1, n_models, size=len(query))) % n_models
    θ = profiles[kind[query]]
    rows = np.arange(len(query))
    outcome = (rng.random(len(query)) < expit(θ[rows, b] - θ[rows, a])).astype(np.float64)
    comparisons = Comparisons.from_arrays(
        query, a, b, outcome, models=[f"m{index}" for index in range(n_models)], n_queries=n
    )
    return Planted(signal * centers[kind] + noise, kind, profiles, comparisons)
