"""DDP and FSDP2 in real processes: the same parameters as one process, in few messages."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from tests.optim.ranks import call_on_ranks
from triskele.optim.dynmuon import DynMuon
from triskele.optim.matrices import MatrixView, shape_matrices
from triskele.optim.placement import Local, interleave
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
MAX_ERROR = 1e-5


class Block(nn.Module):
    """Every kind of matrix: fused, of three rows, of three columns, stacked, a kernel, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
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
        return self.head(x)


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def optimizer_of(model: nn.Module, **options: Any) -> DynMuon:
    return DynMuon.from_model(model, total_steps=2 * STEPS, **options)


def train(model: nn.Module, optimizer: DynMuon, *, first: int = 0, share: slice = slice(None)) -> None:
    """Take ``STEPS`` steps on batches of eight, of which this rank sees a share."""
    for step in range(first, first + STEPS):
        batch = torch.randint(16, (8, 7), generator=torch.Generator().manual_seed(step))[share]
        logits = model(batch[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()


def own_share() -> slice:
    return slice(dist.get_rank(), None, dist.get_world_size())


def whole(model: nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): (p.full_tensor() if isinstance(p, DTensor) else p).detach()
        for name, p in model.named_parameters()
    }


def one_process(**options: Any) -> dict[str, Tensor]:
    model = net()
    train(model, optimizer_of(model, **options))
    return whole(model)


def worst(parameters: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert parameters.keys() == expected.keys()
    return max(
        float((parameters[k] - expected[k]).norm() / expected[k].norm().clamp(min=1e-9))
        for k in expected
    )


def ddp() -> dict[str, Tensor]:
    model = DistributedDataParallel(net(), find_unused_parameters=True)
    train(model, optimizer_of(model), share=own_share())
    return whole(model)

@pytest.mark.parametrize("n_ranks", [2, 4])
def test_ddp(n_ranks):
    expected = one_process()
    rs = call_on_ranks(n_ranks, ddp)
    print([worst(r, expected) for r in rs])
    for r in rs:
        assert all(torch.equal(r[k], rs[0][k]) for k in r)
