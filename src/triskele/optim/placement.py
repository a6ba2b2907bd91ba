"""Where matrices are shaped: the seam between the optimizer and a distributed run.

Shaping needs whole matrices; gradients, momenta and parameters may be sharded or replicated. A
``Placement`` takes this rank's part of some updates, sees to it that every matrix is shaped
exactly once somewhere, and returns this rank's part of the results. It does not know what
shaping is, nor how many matrices an update holds.
"""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Shape = Callable[[list[Tensor]], list[Tensor]]
Finish = Callable[[], list[Tensor]]


class Placement(Protocol):
    """Shapes a run of updates; ``n_owners`` ranks share the work."""

    @property
    def n_owners(self) -> int:
        """How many ranks shape matrices side by side."""
        ...

    def begin(self, updates: list[Tensor], parameters: list[Tensor], shape: Shape) -> Finish:
        """Start shaping ``updates`` and return a function that waits for the results.

        ``updates[i]`` is this rank's part of the update of ``parameters[i]``; ``shape`` maps whole
        updates to whole results. The returned function yields this rank's parts of the results.
        Every rank calls ``begin`` with the same parameters in the same order.
        """
        ...


class Local:
    """One process holds every matrix whole."""

    n_owners = 1

    def begin(self, updates: list[Tensor], parameters: list[Tensor], shape: Shape) -> Finish:
        """Shape ``updates`` here and now."""
        del parameters
        results = shape(updates)
        return lambda: results
