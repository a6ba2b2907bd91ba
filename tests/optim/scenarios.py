"""What the ranks of the distributed tests do: each function is called on every rank of a world.

Kept apart from the tests so that a rank imports neither them nor pytest.
"""

import copy
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from triskele.optim import matrix_step
from triskele.optim.dynmuon import DynMuon
from triskele.optim.matrices import MatrixView, shape_matrices
from triskele.optim.placement import Local, Placement, interleave
from triskele.optim.schedule import PowerSchedule
from triskele.optim.sharding import (
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
    # In float32 everywhere, so that what is left of differences is the order of sums.
    usual = {"total_steps": 2 * STEPS, "schedule": SCHEDULE, "dtype": torch.float32}
    return DynMuon.from_model(model, **{**usual, **options})


def train(
    model: nn.Module, optimizer: DynMuon, *, first: int = 0, share: slice = slice(None)
) -> dict[str, int]:
    """Take ``STEPS`` steps on batches of eight, of which this rank sees a share.

    Returns the messages of the optimizer's last step.
    """
    messages = CommDebugMode()
    with _one_thread():
        for step in range(first, first + STEPS):
            batch = torch.randint(16, (8, 7), generator=torch.Generator().manual_seed(step))[share]
            logits = model(batch[:, :-1])
            F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
            with messages:
                optimizer.step()
            optimizer.zero_grad()
    return {str(kind): n for kind, n in messages.get_comm_counts().items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the one process that the ranks are compared with from fighting for the cores."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


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
        "momenta": {
            type(state["momentum_buffer"]).__name__
            for state in optimizer.state.values()
            if "momentum_buffer" in state
        },
    }


def hsdp() -> dict[str, Any]:
    """Shards over pairs of ranks, replicas over the pairs."""
    return fsdp(init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, 12, bias=False)
        self.down = nn.Linear(12, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.tanh(self.up(x))).clone()


def perceptron() -> Perceptron:
    torch.manual_seed(0)
    return Perceptron()


def fit(model: nn.Module) -> None:
    """Take ``STEPS`` steps on the same batch on every rank."""
    optimizer = DynMuon(model.parameters(), total_steps=2 * STEPS, schedule=SCHEDULE, method="svd")
    x = torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(1))
    for _ in range(STEPS):
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def one_perceptron() -> dict[str, Tensor]:
    model = perceptron()
    fit(model)
    return whole(model)


def tensor_parallel() -> dict[str, Tensor]:
    """Columns and rows over the ranks."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = parallelize_module(perceptron(), mesh, TENSOR_PARALLEL)
    fit(model)
    return whole(model)


def tensor_parallel_and_fsdp() -> dict[str, Any]:
    """Columns and rows over pairs of ranks, shards of those over the pairs."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    model = parallelize_module(perceptron(), mesh["tensor"], TENSOR_PARALLEL)
    model = fully_shard(model, mesh=mesh["data"])
    kinds = {type(p).__name__ for p, _ in placements(list(model.parameters()), None)}
    fit(model)
    return {"parameters": whole(model), "kinds": kinds}


TENSOR_PARALLEL = {"up": ColwiseParallel(), "down": RowwiseParallel()}


def many_runs() -> dict[str, Any]:
    """Train in runs so small that several are under way at once, in either placement."""
    with patch.dict(matrix_step.CHUNK_ELEMENTS, cpu=8):
        return {"ddp": ddp()["parameters"], "fsdp": fsdp()["parameters"]}


def options() -> dict[str, dict[str, Any]]:
    """Whatever touches parts of a parameter, with those parts in shards."""
    return {name: fsdp(**choice) for name, choice in OPTIONS.items()}


OPTIONS: dict[str, dict[str, Any]] = {
    "cautious": {"cautious": True},
    "float64 momentum": {"momentum_dtype": torch.float64, "method": "svd"},
    "tensor rate": {"lr": torch.tensor(0.02)},
    "update floor": {"update_floor": 0.3},
    "plain momentum": {"nesterov": False, "scale": "reference", "weight_decay": 0.0},
}


SHAPES: tuple[tuple[int, ...], ...] = (
    (3, 5),
    (8, 8),
    (1, 4),
    (6, 1),
    (5, 16),
    (2, 3),
    (0, 4),
    (16, 3),
)
STACKS: tuple[tuple[int, ...], ...] = ((5, 4, 4), (1, 3, 6), (8, 2, 3), (2, 6, 6), (3, 2, 2, 5))
KERNELS: tuple[tuple[int, ...], ...] = ((6, 4, 3), (3, 2, 3, 3), (8, 8, 1, 1))
FAMILIES: dict[str, tuple[Sequence[tuple[int, ...]], MatrixView]] = {
    "matrices": (SHAPES, MatrixView()),
    "transposed": (SHAPES, MatrixView(transposed=True)),
    "fused": (((9, 4), (9, 2), (9, 12)), MatrixView(split=(4, 4, 1))),
    "stacks": (STACKS, MatrixView()),
    "even stacks": (((4, 3, 3), (8, 2, 5)), MatrixView()),
    "matrices and stacks": (SHAPES + STACKS, MatrixView()),
    "kernels": (KERNELS, MatrixView(flatten=True)),
    "one matrix": (((2, 3),), MatrixView()),
    "nothing to shape": (((0, 4),), MatrixView()),
}


LAYOUTS = ("replicas", "shards of 0", "shards of 1", "shards of -1", "mixed precision")


def layouts() -> dict[str, dict[str, tuple[float, int, bool]]]:
    """Shape every family in every layout: (error, messages, layout and precision kept)."""
    return {
        f"{family} {layout}": _against_one_process(shapes, view, layout)
        for family, (shapes, view) in FAMILIES.items()
        for layout in LAYOUTS
    }


def _against_one_process(
    shapes: Iterable[tuple[int, ...]], view: MatrixView, layout: str
) -> tuple[float, int, bool]:
    group = dist.group.WORLD
    assert group is not None
    shape = partial(
        shape_matrices,
        view=view,
        adjust_lr="match_rms_adamw",
        shaper=partial(spectral_power, p=0.5, method="svd"),
    )
    torch.manual_seed(0)
    full = [torch.randn(size) for size in shapes]
    if layout == "mixed precision":
        full = [x.to((torch.float64, torch.bfloat16)[i % 2]) for i, x in enumerate(full)]
    if full[0].ndim == 4:
        full = [x.contiguous(memory_format=torch.channels_last) for x in full]
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    placement: Placement
    if layout == "replicas":
        parameters, placement = list(full), Replicated(group)
    else:
        dim = int(layout.rpartition(" ")[2]) if layout.startswith("shards") else 0
        parameters = [distribute_tensor(x, mesh, [Shard(dim)]) for x in full]
        placement = Sharded(group)
    updates = [local_part(parameter).clone() for parameter in parameters]
    before = copy.deepcopy(updates)
    results: list[Tensor] = []
    with CommDebugMode() as messages:
        interleave(
            [_into(results, placement.run(updates, parameters, shape, stacked=not view.flatten))]
        )
    expected: list[Tensor] = []
    interleave([_into(expected, Local().run(full, full, shape, stacked=not view.flatten))])
    error = 0.0
    kept = all(map(torch.equal, updates, before))
    for result, update, parameter, wanted in zip(
        results, updates, parameters, expected, strict=True
    ):
        kept &= result.shape == update.shape and result.dtype == update.dtype
        if isinstance(parameter, DTensor):
            wanted = distribute_tensor(wanted, mesh, parameter.placements).to_local()
        error = max(error, float((result - wanted).float().abs().sum()) if result.numel() else 0.0)
    return error, messages.get_total_counts(), kept


def _into(results: list[Tensor], run: Any) -> Any:
    results.extend((yield from run))


def kinds() -> dict[str, Any]:
    """Which placement each layout gets, and what is refused."""
    world = dist.group.WORLD
    n = dist.get_world_size()
    mesh = init_device_mesh("cpu", (n,))
    wide = init_device_mesh("cpu", (1, n))
    x = torch.zeros(8, 8)
    shards = distribute_tensor(x, mesh, [Shard(0)])
    copies = distribute_tensor(x, mesh, [Replicate()])
    alone = distribute_tensor(x, wide, [Shard(0), Replicate()])
    odd = DTensor.from_local(
        x[: 8 - n * dist.get_rank()], mesh, [Shard(0)], shape=(8, 8), stride=(8, 1)
    )
    everything = [x, shards, copies, alone, distribute_tensor(x, wide, [Shard(0), Shard(1)])]
    partial_sums = DTensor.from_local(x, mesh, [Partial()])
    return {
        "by rank": [(type(p).__name__, len(own)) for p, own in placements(everything, world)],
        "alone": [(type(p).__name__, len(own)) for p, own in placements([x, shards], None)],
        "partial": _refusal(lambda: list(placements([partial_sums], None))),
        "odd": _refusal(
            lambda: next(Sharded(world).run([odd.to_local()], [odd], list, stacked=True))
        ),
    }


def _refusal(work: Callable[[], Any]) -> str:
    try:
        work()
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def partial_gradients() -> tuple[Tensor, Tensor]:
    """Return the gradient of a replica that is still a sum over ranks, and the true sum."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    parameter = nn.Parameter(distribute_tensor(torch.zeros(3, 3), mesh, [Replicate()]))
    mine = torch.full((3, 3), float(dist.get_rank() + 1))
    parameter.grad = DTensor.from_local(mine, mesh, [Partial()])
    total = mine.clone()
    dist.all_reduce(total)
    return local_grad(parameter), total


def all_of(scenarios: Sequence[Callable[[], Any]]) -> dict[str, Any]:
    """Run several scenarios in one world; one that fails leaves its traceback instead."""
    results: dict[str, Any] = {}
    for scenario in scenarios:
        try:
            results[scenario.__name__] = scenario()
        except Exception:
            results[scenario.__name__] = traceback.format_exc()
    return results
