"""AdamW for whatever is not a matrix: embeddings, heads, norms, biases and scalars.

The arithmetic is torch's own functional AdamW (Loshchilov & Hutter, arXiv 1711.05101), so that
these groups behave exactly as ``torch.optim.AdamW`` does; this file only keeps its state. It knows
nothing of which parameters are handed to it, nor why.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from triskele.optim.sharding import local_grad, local_part

State = MutableMapping[str, Any]


def init_adamw_state(parameter: Tensor, state: State, *, capturable: bool) -> None:
    """Put zero moments and a zero step for ``parameter`` into its empty ``state``."""
    device = parameter.device if capturable else torch.device("cpu")
    state["step"] = torch.zeros((), dtype=torch.float32, device=device)
    state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)


def adamw_step(
    parameters: Sequence[Tensor],
    states: Sequence[State],
    *,
    lr: float | Tensor,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    capturable: bool,
) -> None:
    """Take one AdamW step in place on ``parameters``, each of which has a gradient.

    Of sharded parameters each rank steps its own shards: no message is needed, and parameters of
    different meshes, or of none, may stand together.
    """
    if not parameters:
        return
    adamw(
        [local_part(parameter) for parameter in parameters],
        [local_grad(parameter) for parameter in parameters],
        [local_part(state["exp_avg"]) for state in states],
        [local_part(state["exp_avg_sq"]) for state in states],
        [],
        [state["step"] for state in states],
        foreach=True,
        capturable=capturable,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=lr,
        weight_decay=weight_decay,
        eps=eps,
        maximize=False,
    )
