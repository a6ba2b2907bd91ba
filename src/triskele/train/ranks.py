"""The processes that share a run: who is one of how many, and the little they must agree on.

torchrun starts them and tells each its number through the environment, which the command line
reads. Alone, everything here is the identity.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The place of this process among those that share the run."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.world_size == 1

    def rows(self, batch: int) -> slice:
        """Return the rows of a batch that are this process's."""
        share = batch // self.world_size
        return slice(self.rank * share, (self.rank + 1) * share)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if not self.is_alone:
            dist.barrier()

    def mean(self, values: list[float], device: torch.device) -> list[float]:
        """Return the means of some numbers over all processes, the same in each."""
        if self.is_alone:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(shared)
        means: list[float] = (shared / self.world_size).tolist()
        return means
