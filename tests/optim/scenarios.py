"""What the ranks of the distributed tests do: each function is called on every rank of a world.

Kept apart from the tests so that a rank imports neither them nor pytest.
"""

import copy
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from triskele.optim import dynmuon
from triskele.optim.dynmuon import DynMuon
from triskele.optim.matrices import MatrixView, shape_matrices
from triskele.optim.placement import Local, Placement, interleave
from triskele.optim.schedule import PowerSchedule
from triskele.optim.sharding import (
    Gathered,
    Replicated,
    Sharded,
    local_grad,
    local_part,
    placements,
)
from triskele.optim.spectral import spectral_power

WIDTH = 8
STEPS = 4
SCHEDULE = PowerSchedule(shape="cosine", start=0.6, end=-0.2)


class Block(nn.Module):
    """Every kind of matrix: fused, of three rows, of three columns, stacked, a kernel, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        # Without a bias: that of the keys has no gradient but rounding, which AdamW blows up.
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.narrow = nn.Linear(WIDTH, 3)
        self.wide = nn.Linear(3, WIDTH)
        self.experts = nn.Parameter(torch.randn(5, WIDTH, WIDTH) / 4)
        self.kernel = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.frozen = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.unused = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        x = x + self.wide(torch.tanh(self.narrow(x))) + self.frozen(x)
        x = x + torch.einsum("btd,kde->bte", x, self.experts)
        return x + self.kernel(x.mT).mT


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x).clone()


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def replicated(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model, find_unused_parameters=True)


def sharded(model: Net, mesh: DeviceMesh | None = None) -> Net:
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def optimizer_of(model: nn.Module, **options: Any) -> DynMuon:
    return DynMuon.from_model(
        model, **{"total_steps": 2 * STEPS, "schedule": SCHEDULE, **options}
    )


def train(
    model: nn.Module, optimizer: DynMuon, *, first: int = 0, share: slice = slice(None)
) -> dict[str, int]:
    """Take ``STEPS`` steps on batches of eight, of which this rank sees a share.

    Returns the messages of the optimizer's last step.
    """
    counts: dict[str, int] = {}
    for step in range(first, first + STEPS):
        batch = torch.randint(16, (8, 7), generator=torch.Generator().manual_seed(step))[share]
        logits = model(batch[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        with CommDebugMode() as messages:
            optimizer.step()
        optimizer.zero_grad()
        counts = {str(kind): n for kind, n in messages.get_comm_counts().items()}
    return counts


def own_share() -> slice:
    return slice(dist.get_rank(), None, dist.get_world_size())


def whole(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter in full, by its name in the bare model."""
    return {
        name.removeprefix("module."): (p.full_tensor() if isinstance(p, DTensor) else p).detach()
        for name, p in model.named_parameters()
    }


def one_process(*, steps: int = STEPS, **options: Any) -> dict[str, Tensor]:
    model = net()
    optimizer = optimizer_of(model, **options)
    for first in range(0, steps, STEPS):
        train(model, optimizer, first=first)
    return whole(model)


def ddp(**options: Any) -> dict[str, Any]:
    model = replicated(net())
    messages = train(model, optimizer_of(model, **options), share=own_share())
    return {"parameters": whole(model), "messages": messages}


def fsdp(mesh: DeviceMesh | None = None, **options: Any) -> dict[str, Any]:
    model = sharded(net(), mesh)
    with CommDebugMode() as construction:
        optimizer = optimizer_of(model, **options)
    messages = train(model, optimizer, share=own_share())
    return {
        "parameters": whole(model),
        "messages": messages,
        "construction": construction.get_total_counts(),
        "description": optimizer.describe(),
        "state": {type(v).__name__ for s in optimizer.state.values() for v in s.values()},
    }
