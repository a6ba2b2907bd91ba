"""One-sided SOAP as the paper's algorithm reads, for one matrix, with exact eigenvectors.

Float64, an eigendecomposition whenever the basis turns. Shapes: W, G are (rows, d).
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def soap_steps(
    W: Matrix,
    gradients: list[Matrix],
    *,
    lr: float,
    betas: tuple[float, float],
    covariance_beta: float,
    damping: float,
    extra_power: float,
    floor: float,
    weight_decay: float,
) -> Matrix:
    """Return W after one step per gradient, turning the basis at steps 1, 2, 4, 8 and so on."""
    d = W.shape[1]
    C, Q = np.zeros((d, d)), np.eye(d)
    B, V = np.zeros_like(W), np.zeros_like(W)
    for t, G in enumerate(gradients, start=1):
        C = covariance_beta * C + (1 - covariance_beta) * G.T @ G
        if t & (t - 1) == 0:
            Q = np.linalg.eigh(C)[1]
            # Order and signs of eigenvectors are arbitrary; V follows its slots by eigenvalue.
            Q = Q[:, ::-1]
        B = betas[0] * B + (1 - betas[0]) * G
        V = betas[1] * V + (1 - betas[1]) * (G @ Q) ** 2
        M = betas[0] * B + (1 - betas[0]) * G
        M_hat, V_hat = M / (1 - betas[0] ** t), V / (1 - betas[1] ** t)
        V_hat = V_hat + damping * V_hat.mean(axis=1, keepdims=True)
        column = V_hat.mean(axis=0)
        strength = (column + floor * column.mean()) ** -extra_power
        strength /= np.sqrt(np.mean(strength**2))
        D = (M_hat @ Q) / np.sqrt(V_hat) * strength
        W = W - lr * weight_decay * W - lr * D @ Q.T
    return W
