"""GSP, the generated shared-prefix workload of SGLang's ``bench_serving``.

Groups of prompts share a prefix; the rest of each prompt is its own. With the defaults: 4,096
requests of 3,128 tokens on average, of which a cache that never forgets would find 48.4 %.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from triskele.serve.simulate.arrivals import arrival_times
from triskele.serve.simulate.bounds import require_at_least, require_positive
from triskele.serve.simulate.prompts import Prompts, jobs
from triskele.serve.simulate.streams import Purpose, stream
from triskele.serve.simulate.workload import Job

Order = Literal["random", "grouped", "round_robin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefix:
    """Groups of prompts with a shared prefix."""

    groups: int = 128
    """Number of groups."""
    prompts_per_group: int = 32
    """Prompts that share one prefix."""
    ratio: float = 0.5
    """Share of a prompt's tokens that is prefix, from 0 to 1."""
    lengths: tuple[int, ...] = (512, 1024, 2048, 4096, 8192)
    """Tokens per prompt, by group in turn."""
    output: int = 4
    """Tokens per answer."""
    order: Order = "random"
    """random; grouped: one group after the other; round_robin: one prompt of each group in turn."""
    rate: float = 12.0
    """Requests per second."""
    burstiness: float = 1.0
    """Coefficient of variation of the gaps between requests; 1 is Poisson."""
    page_size: int = 16
    """Tokens per page."""
    seed: int = 0
    """Seed of order and arrival times."""

    def __post_init__(self) -> None:
        require_at_least(
            1,
            groups=self.groups,
            prompts_per_group=self.prompts_per_group,
            lengths=min(self.lengths, default=0),
            output=self.output,
            page_size=self.page_size,
        )
        require_at_least(0, seed=self.seed)
        require_positive(rate=self.rate, burstiness=self.burstiness)
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"expected a ratio from 0 to 1, got {self.ratio}")
        if self.order not in get_args(Order):
            raise ValueError(f"expected one of {get_args(Order)}, got {self.order!r}")

    @property
    def n_jobs(self) -> int:
        """How many requests there are in all."""
        return self.groups * self.prompts_per_group

    def arrivals(self) -> Iterator[Job]:
        """Yield the requests in order of time; a job's id counts prompts group by group."""
        times = stream(self.seed, Purpose.TIMES)
        ids = self._order()
        group = ids // self.prompts_per_group
        n_prompt = np.resize(np.array(self.lengths), self.groups)[group]
        prompts = Prompts(
            ids=ids,
            at=arrival_times(self.n_jobs, times, rate=self.rate, burstiness=self.burstiness),
            shared=group,
            n_shared=np.rint(self.ratio * n_prompt).astype(np.int64),
            own=self.groups + ids,
            n_prompt=n_prompt,
            n_output=np.full(self.n_jobs, self.output),
        )
        return jobs(prompts, page_size=self.page_size)

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return ``None``: no request waits for another."""
        return None

    def _order(self) -> NDArray[np.int64]:
        ids = np.arange(self.n_jobs)
        if self.order == "random":
            stream(self.seed, Purpose.ORDER).shuffle(ids)
        elif self.order == "round_robin":
            ids = ids.reshape(self.groups, self.prompts_per_group).T.ravel()
        return ids
