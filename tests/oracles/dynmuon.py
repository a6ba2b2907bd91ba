"""DynMuon as the paper writes it: one matrix, float64, singular values taken apart.

Slow and plain on purpose. Shapes: W, G are (m, n).
"""

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def logistic_exponent(q: float, *, p_max: float, p_min: float, tau: float, w: float) -> float:
    """p(q) = p_min + (p_max − p_min) / (1 + exp((q − τ) / w))."""
    return p_min + (p_max - p_min) / (1.0 + math.exp((q - tau) / w))


def spectral_direction(M: Matrix, p: float) -> Matrix:
    """U Σᵖ Vᵀ, rescaled to the Frobenius norm of a polar factor, √min(m, n)."""
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    D = (U * s**p) @ Vt
    return D * math.sqrt(min(M.shape)) / np.linalg.norm(D)


def dynmuon_steps(
    W: Matrix,
    gradients: list[Matrix],
    *,
    exponents: list[float],
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    lr_ratio: float,
    cautious: bool = False,
) -> Matrix:
    """Return W after one step per gradient."""
    B = np.zeros_like(W)
    for G, p in zip(gradients, exponents, strict=True):
        B = momentum * B + (1.0 - momentum) * G
        M = momentum * B + (1.0 - momentum) * G if nesterov else B
        D = spectral_direction(M, p) * lr_ratio
        decayed = np.where(W * D > 0, 1.0, 0.0) if cautious else 1.0
        W = W - lr * weight_decay * W * decayed - lr * D
    return W
