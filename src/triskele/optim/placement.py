"""Where matrices are shaped: the seam between the optimizer and a distributed run.

Shaping needs whole matrices; gradients, momenta and parameters may be sharded or replicated. A
``Placement`` takes this rank's parts of some updates, sees to it that every matrix is shaped, and
returns this rank's parts of the results. Between posting a message and waiting for it a placement
yields, and ``interleave`` lets other runs compute meanwhile.

It does not know what shaping is, nor over which wires matrices travel (``sharding``).
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Protocol

from torch import Tensor

Shape = Callable[[list[Tensor]], list[Tensor]]
Run = Generator[None, None, list[Tensor]]


class Placement(Protocol):
    """Shapes a run of updates; ``n_owners`` ranks share the work."""

    @property
    def n_owners(self) -> int:
        """How many ranks shape matrices side by side."""
        ...

    def run(
        self, updates: list[Tensor], parameters: Sequence[Tensor], shape: Shape, *, stacked: bool
    ) -> Run:
        """Shape ``updates``, yielding whenever a message has been posted, and return the results.

        ``updates[i]`` is this rank's part of the update of ``parameters[i]``, and so are the
        results. ``shape`` maps whole updates to whole results; with ``stacked`` the leading
        dimensions of a tensor number independent matrices, so that it may be given a part of
        them. Every rank makes the same runs of the same parameters in the same order.
        """
        ...


class Local:
    """One process holds every matrix whole."""

    n_owners = 1

    def run(
        self, updates: list[Tensor], parameters: Sequence[Tensor], shape: Shape, *, stacked: bool
    ) -> Run:
        """Shape ``updates`` here and now."""
        del parameters, stacked
        yield from ()
        return shape(updates)


def interleave(runs: Iterable[Generator[None]]) -> None:
    """Drive ``runs`` to their ends, each starting while the messages of earlier ones travel.

    Runs are drawn one at a time. Whenever one has been started, the earlier ones take one stage
    each, newest first: what was just posted travels for as long as older runs compute.
    """
    alive: list[Generator[None]] = []
    for run in runs:
        alive = [r for r in (run, *alive) if _advance(r)]
    while alive:
        alive = [r for r in alive if _advance(r)]


def run_elements(
    parameters: Sequence[Tensor], *, n_owners: int, max_elements: int, stacked: bool
) -> int:
    """Return how many elements a run may hold so that every owner has something to shape.

    That is ``max_elements`` for each owner, or the largest piece that cannot be cut if that is
    more: with less, a model of large matrices would be shaped by one rank at a time.
    """
    if n_owners == 1:
        return max_elements
    pieces = [
        -(-parameter.numel() // min(n_owners, max(1, parameter.shape[0])))
        if stacked and parameter.ndim > 2
        else parameter.numel()
        for parameter in parameters
    ]
    return n_owners * max(max_elements, *pieces)


def _advance(run: Generator[None]) -> bool:
    """Take one stage; tell whether there is another."""
    try:
        next(run)
    except StopIteration:
        return False
    return True
