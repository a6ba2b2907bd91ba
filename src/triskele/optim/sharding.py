"""Placements of a distributed run."""

from collections.abc import Iterator

from torch import Tensor
from torch.distributed import ProcessGroup

from triskele.optim.placement import Local, Placement


def placements(
    parameters: list[Tensor], process_group: ProcessGroup | None
) -> Iterator[tuple[Placement, list[Tensor]]]:
    """Pair each kind of parameter with the placement that shapes it."""
    del process_group
    if parameters:
        yield Local(), parameters
