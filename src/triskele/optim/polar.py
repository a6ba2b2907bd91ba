"""The polar factor U Vᵀ of a matrix M = U Σ Vᵀ by Newton–Schulz iteration (Muon's step, p = 0).

Each step is the odd quintic X ← a X + (b A + c A²) X with A = X Xᵀ, started from M / ‖M‖_F and
run on the wide orientation so that A is the smaller Gram matrix (Björck & Bowie 1971; Jordan et
al. 2024).  With the default triple the iteration does not converge: singular values end anywhere
in about [0.7, 1.2], which is Muon's published behaviour and is kept to the bit.

It does not know what p is: fractional powers live in :mod:`triskele.optim.spectral`.

Shape suffixes: B any leading dimensions, M the smaller side, N the larger side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Quintic = tuple[float, float, float]

MUON: Quintic = (3.4445, -4.7750, 2.0315)
"""The coefficients of Muon and of ``torch.optim.Muon``."""


def newton_schulz(
    M: Tensor,
    *,
    steps: int = 5,
    coefficients: Quintic | Sequence[Quintic] = MUON,
    eps: float = 1e-7,
    dtype: torch.dtype = torch.bfloat16,
) -> Tensor:
    """Approximate the polar factor of each matrix in the last two dimensions.

    Parameters
    ----------
    M
        Shape (..., m, n), any floating dtype.
    steps
        Number of quintic steps; the multiply-adds are ``steps`` × (2 k² l + k³) with k ≤ l the
        two sides.
    coefficients
        One (a, b, c) for every step, or a sequence of ``steps`` of them.
    eps
        Smallest Frobenius norm that is divided by, so that a zero matrix stays zero.
    dtype
        What the products are computed in.

    Returns
    -------
    Tensor
        Shape (..., m, n) in ``dtype``.  For a single matrix and the default settings the bits are
        those of ``torch.optim.Muon``.

    Raises
    ------
    ValueError
        If ``M`` has fewer than two dimensions, ``steps`` is negative, or the number of
        coefficients is neither one triple nor ``steps`` triples.
    """
    if M.ndim < 2:
        raise ValueError(f"expected a matrix or a stack of matrices, got shape {tuple(M.shape)}")
    schedule = _per_step(coefficients, steps)
    tall = M.shape[-2] > M.shape[-1]
    x_BMN = M.to(dtype)
    x_BMN = x_BMN.mT if tall else x_BMN
    if M.numel() == 0:
        return torch.zeros_like(M, dtype=dtype)
    # A single matrix is normed whole: the reduction over two named dimensions rounds differently.
    norm = x_BMN.norm() if M.ndim == 2 else torch.linalg.matrix_norm(x_BMN, keepdim=True)
    x_BMN = x_BMN / norm.clamp(min=eps)
    if M.ndim > 2:
        x_BMN = x_BMN.flatten(end_dim=-3)
    fused = torch.addmm if M.ndim == 2 else torch.baddbmm
    for a, b, c in schedule:
        gram_BMM = x_BMN @ x_BMN.mT
        step_BMM = fused(gram_BMM, gram_BMM, gram_BMM, beta=b, alpha=c)
        x_BMN = fused(x_BMN, step_BMM, x_BMN, beta=a)
    return (x_BMN.mT if tall else x_BMN).reshape(M.shape)


def _per_step(coefficients: Quintic | Sequence[Quintic], steps: int) -> list[Quintic]:
    """One triple per step, whichever of the two forms was given."""
    if steps < 0:
        raise ValueError(f"expected a non-negative number of steps, got {steps}")
    first = coefficients[0] if len(coefficients) else None
    if isinstance(first, (int, float)):
        schedule = [tuple(coefficients)] * steps
    else:
        schedule = [tuple(triple) for triple in coefficients]  # type: ignore[arg-type]
    if len(schedule) != steps or any(len(triple) != 3 for triple in schedule):
        raise ValueError(
            f"expected one (a, b, c) or {steps} of them for {steps} steps, got {coefficients!r}"
        )
    return schedule  # type: ignore[return-value]
