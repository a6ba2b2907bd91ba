"""U Σᵖ Vᵀ by singular value decomposition in float64, without any floor.

Shapes: M is (m, n); the result has its shape.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def exact_power(M: Matrix, p: float) -> Matrix:
    """U Σᵖ Vᵀ."""
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    return (U * s**p) @ Vt


def matrix_with(values: Matrix, n: int, *, seed: int) -> Matrix:
    """Return a matrix (len(values), n) with these singular values and random directions."""
    rng = np.random.default_rng(seed)
    m = len(values)
    U = np.linalg.qr(rng.standard_normal((m, m)))[0]
    V = np.linalg.qr(rng.standard_normal((n, m)))[0]
    return (U * values) @ V.T
