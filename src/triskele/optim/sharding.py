"""Placements of a distributed run: replicas share the shaping, shards are put together for it.

``Replicated`` (DDP): every rank shapes the matrices it owns, one all-gather hands the results
round. ``Sharded`` (FSDP2, any DTensor sharded over one mesh dimension): one all-to-all brings the
shards of a matrix to its owner, a second one takes the shards of the result back. ``Gathered``
(tensors sharded over several mesh dimensions): every rank gathers and shapes everything.

Messages are posted asynchronously and hold a whole run of matrices each. Who owns what is decided
in ``ownership``; nothing here knows what shaping is.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor, Replicate
from torch.nn.functional import pad

from triskele.optim.ownership import Slab, deal, interval
from triskele.optim.placement import Local, Placement, Run, Shape

# torch 2.13 renamed the collective and warns at the old name.
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


def placements(
    parameters: Sequence[Tensor], process_group: ProcessGroup | None
) -> Iterator[tuple[Placement, list[Tensor]]]:
    """Pair each kind of parameter with the placement that shapes it.

    Parameters
    ----------
    parameters
        Plain tensors or DTensors, in the same order on every rank.
    process_group
        Ranks that hold identical replicas of the plain tensors; None if there is but one.

    Raises
    ------
    ValueError
        If a DTensor holds partial sums.
    """
    members: dict[tuple[str, ProcessGroup | None], list[Tensor]] = {}
    for parameter in parameters:
        members.setdefault(_kind(parameter, process_group), []).append(parameter)
    for (kind, group), own in members.items():
        if kind == "gathered":
            yield Gathered(), own
        elif group is None or dist.get_world_size(group) == 1:
            yield Local(), own
        else:
            yield Replicated(group) if kind == "replicated" else Sharded(group), own


def local_part(tensor: Tensor) -> Tensor:
    """Return what this rank holds of ``tensor``, sharing its storage."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def local_grad(parameter: Tensor) -> Tensor:
    """Return this rank's part of the gradient, laid out as the parameter is."""
    grad = parameter.grad
    assert grad is not None
    if isinstance(parameter, DTensor):
        assert isinstance(grad, DTensor)
        # Tensor parallelism may leave partial sums, which hold no part of the gradient.
        if grad.placements != parameter.placements:
            grad = grad.redistribute(placements=parameter.placements)
    return local_part(grad)


def whole_norms(parts: Sequence[Tensor], *, like: Sequence[Tensor]) -> Tensor:
    """Return the Frobenius norms of tensors laid out as ``like``, of which this rank has ``parts``.

    The squares of all shards are added up by one small message for each mesh dimension.
    """
    squares = [part.float().square().sum() for part in parts]
    spread: dict[tuple[ProcessGroup, ...], list[int]] = {}
    for i, layout in enumerate(like):
        if isinstance(layout, DTensor):
            axes = _sharded_mesh_dims(layout)
            groups = tuple(layout.device_mesh.get_group(axis) for axis in axes)
            spread.setdefault(groups, []).append(i)
    for groups, indices in spread.items():
        sums = torch.stack([squares[i] for i in indices])
        for group in groups:
            dist.all_reduce(sums, group=group)
        for i, total in zip(indices, sums.unbind(), strict=True):
            squares[i] = total
    return torch.stack(squares).sqrt()


class Replicated:
    """Every rank holds every matrix; each shapes a share, and all get all results bit for bit.

    Parameters
    ----------
    process_group
        The ranks that hold the same matrices.
    """

    def __init__(self, process_group: ProcessGroup) -> None:
        self._group = process_group
        self._rank = dist.get_rank(process_group)
        self.n_owners = dist.get_world_size(process_group)

    def run(
        self, updates: list[Tensor], parameters: Sequence[Tensor], shape: Shape, *, stacked: bool
    ) -> Run:
        """Shape this rank's share and gather the others': one message."""
        del parameters
        shapes = [update.shape for update in updates]
        slabs = deal(
            shapes, n_owners=self.n_owners, stacked=stacked, held_along=[None] * len(shapes)
        )
        sizes = [torch.Size((slab.stop - slab.start, *shapes[slab.tensor][1:])) for slab in slabs]
        loads = [0] * self.n_owners
        starts = []
        for slab, size in zip(slabs, sizes, strict=True):
            starts.append(loads[slab.owner])
            loads[slab.owner] += size.numel()
        own = [updates[s.tensor][s.start : s.stop] for s in slabs if s.owner == self._rank]
        packed = _packed(shape(own), like=updates)
        outgoing = pad(packed, (0, max(loads) - packed.numel()))
        incoming = packed.new_empty(self.n_owners * max(loads))
        work = all_gather(incoming, outgoing, group=self._group, async_op=True)
        yield
        work.wait()
        shares = incoming.view(self.n_owners, max(loads))
        return _joined(
            (
                (slab.tensor, shares[slab.owner, start : start + size.numel()].view(size))
                for slab, size, start in zip(slabs, sizes, starts, strict=True)
            ),
            updates,
        )


class Sharded:
    """Matrices lie in shards over a group, along any dimension; shards may be uneven or empty.

    Parameters
    ----------
    process_group
        The ranks over which matrices are sharded; of a mesh, those along its sharded dimension.
    """

    def __init__(self, process_group: ProcessGroup) -> None:
        self._group = process_group
        self._rank = dist.get_rank(process_group)
        self.n_owners = dist.get_world_size(process_group)

    def run(
        self, updates: list[Tensor], parameters: Sequence[Tensor], shape: Shape, *, stacked: bool
    ) -> Run:
        """Bring shards to owners, shape, take shards back: two messages.

        None at all if every rank's shards are stacks of whole matrices, which it then shapes.
        """
        n = self.n_owners
        shapes = [parameter.shape for parameter in parameters]
        dims = [_sharded_dim(parameter) for parameter in parameters]
        for update, size, dim in zip(updates, shapes, dims, strict=True):
            low, high = interval(size[dim], n, self._rank)
            if update.shape[dim] != high - low:
                raise ValueError(
                    f"expected rank {self._rank} of {n} to hold {high - low} of {size[dim]} "
                    f"indices along dimension {dim}, as torch.chunk deals them, "
                    f"got {update.shape[dim]}"
                )
        slabs = deal(shapes, n_owners=n, stacked=stacked, held_along=dims)
        if all(slab.at_home for slab in slabs):
            return shape(updates)

        def part(slab: Slab, rank: int) -> _Part:
            return _part(slab, shapes[slab.tensor], dims[slab.tensor], n_ranks=n, rank=rank)

        owned = [[slab for slab in slabs if slab.owner == rank] for rank in range(n)]
        own = owned[self._rank]
        lent = [[part(slab, self._rank) for slab in owned[rank]] for rank in range(n)]
        borrowed = [[part(slab, rank) for slab in own] for rank in range(n)]
        shards = yield from self._exchange(
            [
                [
                    updates[slab.tensor][piece.in_shard]
                    for slab, piece in zip(to, pieces, strict=True)
                ]
                for to, pieces in zip(owned, lent, strict=True)
            ],
            [[piece.size for piece in pieces] for pieces in borrowed],
            like=updates,
        )
        wholes = [
            torch.cat(pieces, dim=dims[slab.tensor]).to(updates[slab.tensor].dtype)
            for slab, *pieces in zip(own, *shards, strict=True)
        ]
        shaped = shape(wholes)
        returned = yield from self._exchange(
            [
                [whole[piece.in_slab] for whole, piece in zip(shaped, pieces, strict=True)]
                for pieces in borrowed
            ],
            [[piece.size for piece in pieces] for pieces in lent],
            like=updates,
        )
        queues = [iter(pieces) for pieces in returned]
        return _joined([(slab.tensor, next(queues[slab.owner])) for slab in slabs], updates)

    def _exchange(
        self, outgoing: list[list[Tensor]], sizes: list[list[torch.Size]], *, like: list[Tensor]
    ) -> Generator[None, None, list[list[Tensor]]]:
        """Send ``outgoing[r]`` to rank r and return what each sent here, of the given sizes."""
        packed = _packed([piece for pieces in outgoing for piece in pieces], like=like)
        expected = [sum(size.numel() for size in row) for row in sizes]
        incoming = packed.new_empty(sum(expected))
        work = dist.all_to_all_single(
            incoming,
            packed,
            output_split_sizes=expected,
            input_split_sizes=[sum(piece.numel() for piece in row) for row in outgoing],
            group=self._group,
            async_op=True,
        )
        yield
        work.wait()
        flat = iter(torch.split(incoming, [size.numel() for row in sizes for size in row]))
        return [[next(flat).view(size) for size in row] for row in sizes]


class Gathered:
    """Tensors sharded over several mesh dimensions: every rank gathers and shapes all of them.

    Correct for any layout that DTensor knows, and as slow as that sounds.
    """

    n_owners = 1

    def run(
        self, updates: list[Tensor], parameters: Sequence[Tensor], shape: Shape, *, stacked: bool
    ) -> Run:
        """Gather, shape, and keep this rank's parts."""
        del stacked
        yield from ()
        layouts = [parameter for parameter in parameters if isinstance(parameter, DTensor)]
        wholes = [
            DTensor.from_local(
                update,
                layout.device_mesh,
                layout.placements,
                run_check=False,
                shape=layout.shape,
                stride=layout.stride(),
            ).full_tensor()
            for update, layout in zip(updates, layouts, strict=True)
        ]
        return [
            DTensor.from_local(
                result,
                layout.device_mesh,
                [Replicate()] * layout.device_mesh.ndim,
                run_check=False,
            )
            .redistribute(placements=layout.placements)
            .to_local()
            for result, layout in zip(shape(wholes), layouts, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one rank holds of a slab: where in its shard, where in the slab, and of what size."""

    in_shard: tuple[slice, ...]
    in_slab: tuple[slice, ...]
    size: torch.Size


def _kind(parameter: Tensor, process_group: ProcessGroup | None) -> tuple[str, ProcessGroup | None]:
    """Return how ``parameter`` is laid out and over which ranks."""
    if not isinstance(parameter, DTensor):
        return "replicated", process_group
    if any(placement.is_partial() for placement in parameter.placements):
        raise ValueError(f"expected shards or replicas, got placements {parameter.placements}")
    mesh = parameter.device_mesh
    sharded = _sharded_mesh_dims(parameter)
    if len(sharded) > 1:
        return "gathered", None
    if sharded:
        return "sharded", mesh.get_group(sharded[0])
    return "replicated", mesh.get_group(max(range(mesh.ndim), key=mesh.size))


def _sharded_mesh_dims(parameter: DTensor) -> list[int]:
    mesh = parameter.device_mesh
    return [
        i
        for i, placement in enumerate(parameter.placements)
        if not placement.is_replicate() and mesh.size(i) > 1
    ]


def _sharded_dim(parameter: Tensor) -> int:
    """Return the dimension of a tensor that is sharded over one mesh dimension."""
    assert isinstance(parameter, DTensor)
    placement = parameter.placements[_sharded_mesh_dims(parameter)[0]]
    return int(placement.dim) % parameter.ndim  # type: ignore[attr-defined]


def _part(slab: Slab, shape: torch.Size, dim: int, *, n_ranks: int, rank: int) -> _Part:
    """Return what ``rank`` holds of ``slab``, whose tensor is sharded along ``dim``."""
    low, high = interval(shape[dim], n_ranks, rank)
    if dim > 0:
        size = torch.Size((slab.stop - slab.start, *shape[1:dim], high - low, *shape[dim + 1 :]))
        in_slab = (*(slice(None),) * dim, slice(low, high))
        return _Part((slice(slab.start, slab.stop),), in_slab, size)
    start = max(low, slab.start)
    stop = max(start, min(high, slab.stop))
    return _Part(
        (slice(start - low, stop - low),),
        (slice(start - slab.start, stop - slab.start),),
        torch.Size((stop - start, *shape[1:])),
    )


def _packed(pieces: Sequence[Tensor], *, like: Sequence[Tensor]) -> Tensor:
    """Return ``pieces`` end to end, in the one precision that holds all of ``like``."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in like))
    flat = [piece.reshape(-1).to(dtype) for piece in pieces]
    return torch.cat(flat) if flat else like[0].new_empty(0, dtype=dtype)


def _joined(pieces: Iterable[tuple[int, Tensor]], updates: Sequence[Tensor]) -> list[Tensor]:
    """Put the pieces of each update together along their first dimension."""
    rows: list[list[Tensor]] = [[] for _ in updates]
    for i, piece in pieces:
        rows[i].append(piece)
    return [
        (own[0] if len(own) == 1 else torch.cat(own)).to(update.dtype)
        for own, update in zip(rows, updates, strict=True)
    ]
