"""Adam in the eigenbasis of the gradient's columns: one-sided SOAP, for heads and the like.

SOAP (Vyas et al., arXiv 2409.11321) runs Adam in the slowly turning eigenbasis of Shampoo's
covariances. An output head or an embedding is tall (a row per token, d columns), so only the
small side is worth turning. For a weight W with gradient G, both (rows, d):

    C ← β C + (1 − β) GᵀG              covariance of the columns, d × d
    Q ← orth(C Q), every few steps     its eigenvectors, by one power iteration and QR
    B ← β₁ B + (1 − β₁) G;  M = β₁ B + (1 − β₁) G     momentum, with Nesterov's look-ahead
    V ← β₂ V + (1 − β₂) (G Q)²         second moment along the eigenvectors
    D = M̂ Q / √(V̂ + δ·row mean of V̂)
    W ← W − lr·λ·W − lr·(D ∘ s) Qᵀ,    s ∝ (column mean of V̂)^−e, root mean square 1

with bias-corrected M̂ and V̂. The damping δ keeps eigenvectors that were just turned, and whose
second moment is therefore stale, from taking an unbounded step. The extra power e does for the
head what p < 0 does for a hidden matrix: it moves some of the step to weak directions at a
constant size of the whole. Nothing here knows which parameters deserve it.

Shape legend: R rows, D columns.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from triskele.optim.sharding import local_grad, local_part

State = MutableMapping[str, Any]

SOAP_DEFAULTS = {"covariance_beta": 0.95, "refresh_every": 8, "extra_power": 0.25}
DAMPING = 0.03
# Share of the mean second moment below which a direction is not strengthened any further.
FLOOR = 1e-3
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
    extra_power: float,
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
        direction_RD = _direction(grad_RD, parameter, state, step, betas, extra_power)
        weight_RD = local_part(parameter)
        if weight_decay != 0.0:
            weight_RD.mul_(1.0 - lr * weight_decay)
        if isinstance(lr, Tensor):
            weight_RD.sub_(direction_RD * lr)
        else:
            weight_RD.add_(direction_RD, alpha=-lr)


def _summed(share: Tensor, parameter: Tensor) -> Tensor:
    """Add up, in place, what the row shards of ``parameter`` contribute."""
    if not isinstance(parameter, DTensor):
        return share
    for axis, placement in enumerate(parameter.placements):
        if placement.is_shard():
            torch.distributed.all_reduce(share, group=parameter.device_mesh.get_group(axis))
    return share


def _turn(state: State, step: int, refresh_every: int) -> None:
    """Bring the basis up to date with the covariance, if it is time."""
    young = step <= refresh_every
    if young and step & (step - 1) == 0:
        state["basis"].copy_(torch.linalg.eigh(state["covariance"])[1].flip(-1))
    elif not young and step % refresh_every == 1 % refresh_every:
        state["basis"].copy_(torch.linalg.qr(state["covariance"] @ state["basis"])[0])


def _direction(
    grad_RD: Tensor,
    parameter: Tensor,
    state: State,
    step: int,
    betas: tuple[float, float],
    extra_power: float,
) -> Tensor:
    """Advance both moments and return the normalised direction, turned back."""
    mean_RD, square_RD = local_part(state["exp_avg"]), local_part(state["exp_avg_sq"])
    basis_DD = state["basis"]
    mean_RD.lerp_(grad_RD, 1.0 - betas[0])
    square_RD.lerp_((grad_RD @ basis_DD).square_(), 1.0 - betas[1])
    corrected_RD = square_RD / (1.0 - betas[1] ** step)
    corrected_RD += DAMPING * corrected_RD.mean(dim=1, keepdim=True)
    ahead_RD = grad_RD.lerp(mean_RD, betas[0]).div_(1.0 - betas[0] ** step)
    turned_RD = (ahead_RD @ basis_DD).div_(corrected_RD.sqrt().add_(EPS))
    if extra_power != 0.0:
        turned_RD *= _strengths(_summed(corrected_RD.sum(dim=0), parameter), extra_power)
    direction_RD: Tensor = turned_RD @ basis_DD.mT
    return direction_RD


def _strengths(moment_D: Tensor, power: float) -> Tensor:
    """Return the factor of each eigenvector: its second moment to −power, root mean square 1."""
    floored_D = moment_D + FLOOR * moment_D.mean()
    strength_D = torch.where(floored_D > 0.0, floored_D, 1.0) ** -power
    return strength_D / strength_D.square().mean().sqrt()
