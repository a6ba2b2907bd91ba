"""Small worlds for tests of methods: two kinds of queries that different models are good at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from triskele.evaluate.comparisons import Comparisons

MODELS = ("ann", "bob", "cid", "dan")
STRENGTHS = np.array([[1.5, 0.5, -0.5, -1.5], [-1.5, -0.5, 0.5, 1.5]])


class World(NamedTuple):
    X: NDArray[np.float64]
    kind: NDArray[np.int64]
    votes: Comparisons


def world(n_queries: int = 300, *, per_query: int = 4, ties: float = 0.1, seed: int = 0) -> World:
    """Return queries around two directions, compared at random as their kind says."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n_queries) % 2
    X = np.eye(6)[kind] + 0.2 * rng.standard_normal((n_queries, 6))
    query = np.repeat(np.arange(n_queries), per_query)
    a = rng.integers(4, size=len(query))
    b = (a + rng.integers(1, 4, size=len(query))) % 4
    θ = STRENGTHS[kind[query]]
    rows = np.arange(len(query))
    outcome = (rng.random(len(query)) < expit(θ[rows, b] - θ[rows, a])).astype(float)
    outcome[rng.random(len(query)) < ties] = 0.5
    votes = Comparisons.from_arrays(query, a, b, outcome, models=MODELS, n_queries=n_queries)
    return World(X, kind, votes)


def nothing(n_queries: int, models: tuple[str, ...] = MODELS) -> Comparisons:
    return Comparisons.from_arrays([], [], [], [], models=models, n_queries=n_queries)
