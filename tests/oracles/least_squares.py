"""Recursive least squares, all outcomes at once: the normal equations."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def fit(
    x: ArrayLike,
    target: ArrayLike,
    scale: ArrayLike,
    *,
    mean: ArrayLike,
    deviation: ArrayLike,
    forgetting: float,
) -> NDArray[np.float64]:
    """Return the coefficients of outcomes (n, n_features), the last of weight 1."""
    rows, wanted = np.asarray(x, dtype=np.float64), np.asarray(target, dtype=np.float64)
    prior = np.diag(1 / np.square(np.asarray(deviation, dtype=np.float64)))
    weights = forgetting ** np.arange(len(rows))[::-1] / np.square(np.asarray(scale))
    prior *= forgetting ** len(rows)
    precision = prior + rows.T @ (weights[:, None] * rows)
    return np.linalg.solve(precision, prior @ np.asarray(mean) + rows.T @ (weights * wanted))
