"""One step of a group of matrices: momentum, shaping, decay, in place.

    B ← μ B + (1 − μ) G;   M = μ B + (1 − μ) G, or B;   D = ratio·U Σᵖ Vᵀ of M
    D ← D·max(1, f·‖W‖ / ‖D‖)      with an update floor f
    W ← W − lr·λ·W − lr·D

Momentum, decay and the step itself are elementwise and happen on this rank's parts; only shaping
needs whole matrices, which the placement sees to. Nothing here knows of schedules or roles.
"""

from collections.abc import Generator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from triskele.optim.matrices import MatrixView, chunks, shape_matrices
from triskele.optim.placement import Placement, Shape, interleave, run_elements
from triskele.optim.sharding import local_grad, local_part, placements, whole_norms
from triskele.optim.spectral import spectral_power

State = MutableMapping[str, Any]

# Elements shaped at once, per owner: bounds the temporaries (about five times this) while small
# matrices still share their products.
CHUNK_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 24}


def init_matrix_state(
    parameter: Tensor, state: State, *, momentum_dtype: torch.dtype | None
) -> None:
    """Put a zero momentum for ``parameter`` into its empty ``state``."""
    state["momentum_buffer"] = torch.zeros_like(parameter, dtype=momentum_dtype)


def view_of(group: Mapping[str, Any]) -> MatrixView:
    """Return how the parameters of ``group`` are read as matrices."""
    return MatrixView(
        flatten=group["flatten"],
        transposed=group["transposed"],
        split=tuple(group["split"]),
        gains=tuple(group["gains"]),
    )


def exponent(group: Mapping[str, Any]) -> float | Tensor:
    """Return p at the group's own step, a tensor if that is one."""
    p: float | Tensor = group["schedule"](group["step"] / group["total_steps"])
    return p


def matrix_step(
    group: Mapping[str, Any],
    parameters: Sequence[Tensor],
    states: Sequence[State],
    *,
    process_group: ProcessGroup | None,
) -> None:
    """Step in bounded runs, whose messages travel while others are being shaped.

    ``group`` holds the hyperparameters, ``p`` among them; each parameter has a gradient and its
    state a momentum.
    """
    shape: Shape = partial(
        shape_matrices,
        view=view_of(group),
        adjust_lr=group["adjust_lr"],
        shaper=partial(
            spectral_power,
            p=group["p"],
            method=group["method"],
            scale=group["scale"],
            dtype=group["dtype"],
        ),
    )
    momenta = {
        id(parameter): state["momentum_buffer"]
        for parameter, state in zip(parameters, states, strict=True)
    }
    stacked = not group["flatten"]
    for placement, members in placements(parameters, process_group):
        room = run_elements(
            members,
            n_owners=placement.n_owners,
            max_elements=CHUNK_ELEMENTS.get(members[0].device.type, 1 << 19),
            stacked=stacked,
        )
        batches = ([members[i] for i in run] for run in chunks(members, max_elements=room))
        interleave(
            _step_batch(
                group,
                batch,
                [momenta[id(parameter)] for parameter in batch],
                placement,
                shape,
                stacked=stacked,
            )
            for batch in batches
        )


def _step_batch(
    group: Mapping[str, Any],
    batch: list[Tensor],
    momenta: list[Tensor],
    placement: Placement,
    shape: Shape,
    *,
    stacked: bool,
) -> Generator[None]:
    """Step one run of matrices, yielding while its messages travel."""
    updates = _updates(group, batch, momenta)
    steps = yield from placement.run(updates, batch, shape, stacked=stacked)
    _apply(group, batch, steps)


def _updates(
    group: Mapping[str, Any], parameters: list[Tensor], momenta: list[Tensor]
) -> list[Tensor]:
    """Advance the momenta of this rank's parts and return what is to be shaped."""
    momentum = group["momentum"]
    buffers = [local_part(buffer) for buffer in momenta]
    grads = [
        local_grad(parameter).to(buffer.dtype)
        for parameter, buffer in zip(parameters, buffers, strict=True)
    ]
    torch._foreach_lerp_(buffers, grads, 1.0 - momentum)
    if group["nesterov"]:
        updates = list(torch._foreach_lerp(grads, buffers, momentum))
    else:
        updates = [buffer.clone() for buffer in buffers]
    if group["scale"] == "reference":
        # The published scale is a power of the norm of the summed momentum.
        torch._foreach_div_(updates, 1.0 - momentum)
    return updates


def _apply(group: Mapping[str, Any], parameters: list[Tensor], steps: list[Tensor]) -> None:
    """Decay the parameters and take the step, in place on this rank's parts."""
    lr, decay = group["lr"], group["weight_decay"]
    own = [local_part(parameter) for parameter in parameters]
    if group["update_floor"] > 0.0:
        lifts = _lifts(steps, own, group["update_floor"], like=parameters)
        steps = [step * lift for step, lift in zip(steps, lifts, strict=True)]
    if decay != 0.0:
        if group["cautious"]:
            for weight, step in zip(own, steps, strict=True):
                weight.sub_(weight * (weight * step > 0) * (lr * decay))
        else:
            torch._foreach_mul_(own, 1.0 - lr * decay)
    if isinstance(lr, Tensor):
        torch._foreach_sub_(own, [step * lr for step in steps])
    else:
        torch._foreach_add_(own, steps, alpha=-lr)


def _lifts(
    steps: list[Tensor], weights: list[Tensor], floor: float, *, like: list[Tensor]
) -> Tensor:
    """Return what brings each ‖step‖ up to ``floor``·‖weight‖ where it is below; 1 elsewhere."""
    sizes, wanted = whole_norms([*steps, *weights], like=[*like, *like]).chunk(2)
    return torch.where(sizes > 0.0, floor * wanted / sizes, 1.0).clamp(min=1.0)
