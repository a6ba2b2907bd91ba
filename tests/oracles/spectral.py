"""U Σᵖ Vᵀ by singular value decomposition in float64, and matrices whose Σ is known.

Shapes: M is (m, n); the results have its shape.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def exact_power(M: Matrix, p: float) -> Matrix:
    """U Σᵖ Vᵀ, without any floor."""
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    return (U * s**p) @ Vt


def floored_power(M: Matrix, p: float, floor: float) -> Matrix:
    """U f(Σ) Vᵀ, f(σ) = σ·max(σ, floor)^{p − 1}: linear in σ below the floor."""
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    return (U * (s * np.maximum(s, floor) ** (p - 1.0))) @ Vt


def published_power(M: Matrix, p: float) -> Matrix:
    """C Y ‖M‖^p, the published update for p < 0, of the exact polar factor Y."""
    N = M / np.linalg.norm(M)
    delta = p / 2.0
    E = N @ N.T - np.eye(len(N))
    C = np.eye(len(N)) + delta * E + delta * (delta - 1.0) / 2.0 * E @ E
    return np.linalg.norm(M) ** p * C @ exact_power(M, 0.0)


def matrix_with(values: Matrix, n: int, *, seed: int) -> Matrix:
    """Return a matrix (len(values), n) with these singular values and random directions."""
    rng = np.random.default_rng(seed)
    m = len(values)
    U = np.linalg.qr(rng.standard_normal((m, m)))[0]
    V = np.linalg.qr(rng.standard_normal((n, m)))[0]
    return (U * values) @ V.T
