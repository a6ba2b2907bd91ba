"""Small matrices of scores in which some queries are hard for all models."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def difficult_scores(
    n: int, n_models: int, *, seed: int, difficulty: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Draw right (1) and wrong (0) answers of models of some ability, (n, n_models)."""
    rng = np.random.default_rng(seed)
    hard = 2 * rng.standard_normal(n) if difficulty is None else difficulty
    logits = rng.standard_normal(n_models) - hard[:, None]
    return (rng.random((n, n_models)) < 1 / (1 + np.exp(-logits))).astype(np.float64)


def as_released(
    scores: NDArray[np.float64], n_ranks: Sequence[int], blocks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Put each column into the order of its run: rank after rank, task by task."""
    released = scores.copy()
    for column, ranks in enumerate(n_ranks):
        for block in np.unique(blocks):
            rows = np.flatnonzero(blocks == block)
            dealt = [row for rank in range(ranks) for row in rows[rank::ranks]]
            released[rows, column] = scores[dealt, column]
    return released
