"""Which rank shapes which matrices of a run.

Every rank works this out for itself from the shapes alone, so the answer is the same everywhere
and costs no message. Whole tensors are dealt out by cost, longest first, to the least loaded rank
(Graham 1969); stacks of matrices are cut along their first dimension first. It knows nothing of
process groups, messages or placements.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

# A stack that its holders can shape without a message stays with them as long as the busiest rank
# then has at most this many times the work it would have otherwise.
HOLDER_SLACK = 1.25

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """Whole matrices of one tensor: indices ``start`` to ``stop`` of its first dimension.

    ``at_home`` says that the owner already holds all of it.
    """

    tensor: int
    start: int
    stop: int
    owner: int
    at_home: bool = False


def interval(size: int, n_parts: int, part: int) -> Interval:
    """Return where ``part`` of a dimension of ``size`` lies: ⌈size / n⌉ each, as in torch.chunk.

    The last parts may be shorter, or empty.
    """
    step = -(-size // n_parts)
    return min(part * step, size), min((part + 1) * step, size)


def deal(
    shapes: Sequence[Sequence[int]],
    *,
    n_owners: int,
    stacked: bool,
    held_along: Sequence[int | None],
) -> list[Slab]:
    """Cut tensors into slabs and give each an owner; the loads are as even as they easily get.

    Parameters
    ----------
    shapes
        Of the whole tensors, two or more dimensions each.
    n_owners
        Number of ranks.
    stacked
        Dimensions before the last two number independent matrices, so that a stack can be cut.
    held_along
        The dimension each tensor is sharded along, over the same ranks, or None if every rank
        holds all of it.

    Returns
    -------
    list of Slab
        In the order of the tensors and, within one, of their indices.
    """
    cuts: list[tuple[int, int, int]] = []
    homes: list[int | None] = []
    costs: list[float] = []
    for i, (shape, along) in enumerate(zip(shapes, held_along, strict=True)):
        cut = stacked and len(shape) > 2 and shape[0] > 1
        n_parts = n_owners if cut else 1
        for part in range(n_parts):
            start, stop = interval(shape[0], n_parts, part)
            if start == stop and part > 0:
                break
            cuts.append((i, start, stop))
            homes.append(part if cut and along == 0 else None)
            costs.append(_cost((stop - start, *shape[1:]), stacked=stacked))
    owners, load = _balance(costs, [None] * len(costs), n_owners=n_owners)
    if any(home is not None for home in homes):
        home_owners, home_load = _balance(costs, homes, n_owners=n_owners)
        if home_load <= HOLDER_SLACK * load:
            return _slabs(cuts, home_owners, homes)
    return _slabs(cuts, owners, [None] * len(cuts))


def _cost(shape: Sequence[int], *, stacked: bool) -> float:
    """Multiply-adds of one product M Mᵀ for every matrix in a tensor."""
    n_elements = math.prod(shape)
    if stacked or n_elements == 0:
        return float(n_elements * min(shape[-2:]))
    return float(n_elements * min(shape[0], n_elements // shape[0]))


def _balance(
    costs: Sequence[float], homes: Sequence[int | None], *, n_owners: int
) -> tuple[list[int], float]:
    """Return an owner for each cost, its home if it has one, and the load of the busiest."""
    loads = [0.0] * n_owners
    owners = [0] * len(costs)
    for i, home in enumerate(homes):
        if home is not None:
            owners[i] = home
            loads[home] += costs[i]
    heap = [(load, rank) for rank, load in enumerate(loads)]
    heapq.heapify(heap)
    free = [i for i, home in enumerate(homes) if home is None]
    for i in sorted(free, key=lambda i: -costs[i]):
        load, rank = heap[0]
        owners[i] = rank
        heapq.heapreplace(heap, (load + costs[i], rank))
    return owners, max(load for load, _ in heap)


def _slabs(
    cuts: Sequence[tuple[int, int, int]], owners: Sequence[int], homes: Sequence[int | None]
) -> list[Slab]:
    return [
        Slab(tensor=i, start=start, stop=stop, owner=owner, at_home=home is not None)
        for (i, start, stop), owner, home in zip(cuts, owners, homes, strict=True)
    ]
