"""Adam in the eigenbasis of the gradient's columns: one-sided SOAP, for heads and the like.

SOAP (Vyas et al., arXiv 2409.11321) runs Adam in the slowly turning eigenbasis of Shampoo's
covariances. An output head or an embedding is tall (a row per token, d columns), so only the
small side is worth turning. For a weight W with gradient G, both (rows, d):

    C ← β C + (1 − β) GᵀG              covariance of the columns, d × d
    Q ← orth(C Q), every few steps     its eigenvectors, by one power iteration and QR
    B ← β₁ B + (1 − β₁) G
    V ← β₂ V + (1 − β₂) (G Q)²         second moment along the eigenvectors
    W ← W − lr·λ·W − lr·(B̂ Q / √(V̂ + δ·row mean of V̂)) Qᵀ

with bias-corrected B̂ and V̂. The damping δ keeps eigenvectors that were just turned, and whose
second moment is therefore stale, from taking an unbounded step. Nothing here knows which
parameters deserve it.

Shape legend: R rows, D columns.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from triskele.optim.sharding import local_grad, local_part

State = MutableMapping[str, Any]

COVARIANCE_BETA = 0.95
REFRESH_EVERY = 8
DAMPING = 0.03
EPS = 1e-10


def init_soap_state(parameter: Tensor, state: State) -> None:
    """Put zero moments, a zero covariance and a zero step for ``parameter`` into ``state``.

    Raises
    ------
    ValueError
        If ``parameter`` is not a matrix, or is sharded along its columns.
    """
    if parameter.ndim != 2:
        raise ValueError(f"soap steps matrices (rows, d), got shape {tuple(parameter.shape)}")
    if isinstance(parameter, DTensor) and any(
        placement.is_shard() and not placement.is_shard(0) for placement in parameter.placements
    ):
        raise ValueError(f"soap needs whole rows, got placements {parameter.placements}")
    d = parameter.shape[1]
    square = torch.zeros(d, d, dtype=torch.float32, device=parameter.device)
    state["step"] = torch.zeros((), dtype=torch.float32)
    state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
    state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
    state["covariance"] = square
    state["basis"] = torch.zeros_like(square)


def soap_step(
    parameters: Sequence[Tensor],
    states: Sequence[State],
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    covariance_beta: float,
    refresh_every: int,
    weight_decay: float,
) -> None:
    """Take one step in place on ``parameters``, each a matrix with a gradient.

    ``refresh_every`` is the number of steps between turns of the basis; while the run is young it
    turns at steps 1, 2, 4, 8 … instead, by a full eigendecomposition.
    """
    for parameter, state in zip(parameters, states, strict=True):
        state["step"] += 1
        step = int(state["step"].item())
        grad_RD = local_grad(parameter).float()
        gram_DD = _summed(grad_RD.mT @ grad_RD, parameter)
        state["covariance"].lerp_(gram_DD, 1.0 - covariance_beta)
        _turn(state, step, refresh_every)
        direction_RD = _direction(grad_RD, state, step, betas)
        weight_RD = local_part(parameter)
        if weight_decay != 0.0:
            weight_RD.mul_(1.0 - lr * weight_decay)
        if isinstance(lr, Tensor):
            weight_RD.sub_(direction_RD * lr)
        else:
            weight_RD.add_(direction_RD, alpha=-lr)


def _summed(gram_DD: Tensor, parameter: Tensor) -> Tensor:
    """Add up the Gram matrices of all row shards."""
    if not isinstance(parameter, DTensor):
        return gram_DD
    for axis, placement in enumerate(parameter.placements):
        if placement.is_shard():
            torch.distributed.all_reduce(gram_DD, group=parameter.device_mesh.get_group(axis))
    return gram_DD


def _turn(state: State, step: int, refresh_every: int) -> None:
    """Bring the basis up to date with the covariance, if it is time."""
    young = step <= refresh_every
    if young and step & (step - 1) == 0:
        state["basis"].copy_(torch.linalg.eigh(state["covariance"])[1].flip(-1))
    elif not young and step % refresh_every == 1 % refresh_every:
        state["basis"].copy_(torch.linalg.qr(state["covariance"] @ state["basis"])[0])


def _direction(grad_RD: Tensor, state: State, step: int, betas: tuple[float, float]) -> Tensor:
    """Advance both moments and return the normalised direction, turned back."""
    mean_RD, square_RD = local_part(state["exp_avg"]), local_part(state["exp_avg_sq"])
    basis_DD = state["basis"]
    mean_RD.lerp_(grad_RD, 1.0 - betas[0])
    square_RD.lerp_((grad_RD @ basis_DD).square_(), 1.0 - betas[1])
    corrected_RD = square_RD / (1.0 - betas[1] ** step)
    corrected_RD += DAMPING * corrected_RD.mean(dim=1, keepdim=True)
    turned_RD = (mean_RD @ basis_DD).div_(1.0 - betas[0] ** step)
    direction_RD: Tensor = (turned_RD / corrected_RD.sqrt_().add_(EPS)) @ basis_DD.mT
    return direction_RD
