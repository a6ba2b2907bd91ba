"""A workload of any size for tests of scale: popular prefixes, spread lengths, drawn in batches.

Which prefix a prompt begins with follows Zipf's law over their ranks; lengths of prefixes and of
what follows them are lognormal, answers geometric. Nothing is held but the prefixes' lengths and
one batch, so that a million requests cost no more memory than a thousand.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triskele.serve.simulate.arrivals import arrival_times
from triskele.serve.simulate.bounds import require_at_least, require_positive
from triskele.serve.simulate.prompts import Prompts, jobs
from triskele.serve.simulate.streams import Purpose, stream
from triskele.serve.simulate.workload import Job

BATCH = 4096
"""Requests drawn together; whole batches are drawn, so that fewer jobs are the first of more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Random requests on prefixes of Zipf-distributed popularity."""

    n_jobs: int = 100_000
    """Number of requests."""
    prefixes: int = 10_000
    """Number of shared prefixes."""
    skew: float = 1.0
    """Exponent of Zipf's law; 0 makes all prefixes equally popular."""
    prefix: float = 1024.0
    """Mean tokens of a shared prefix, before the cut at the longest."""
    question: float = 512.0
    """Mean tokens of what follows the prefix."""
    spread: float = 1.0
    """Standard deviation of the logarithm of these lengths."""
    output: float = 128.0
    """Mean tokens of an answer."""
    longest: int = 65_536
    """Most tokens of a prefix, of what follows it, and of an answer."""
    rate: float = 100.0
    """Requests per second."""
    burstiness: float = 1.0
    """Coefficient of variation of the gaps between requests; 1 is Poisson."""
    page_size: int = 64
    """Tokens per page."""
    seed: int = 0
    """Seed of all draws."""

    def __post_init__(self) -> None:
        require_at_least(
            1,
            n_jobs=self.n_jobs,
            prefixes=self.prefixes,
            prefix=self.prefix,
            question=self.question,
            output=self.output,
            longest=self.longest,
            page_size=self.page_size,
        )
        require_at_least(0, skew=self.skew, spread=self.spread, seed=self.seed)
        require_positive(rate=self.rate, burstiness=self.burstiness)

    def arrivals(self) -> Iterator[Job]:
        """Yield the requests in order of time; a job's id is its place in that order."""
        times, prompts = stream(self.seed, Purpose.TIMES), stream(self.seed, Purpose.PROMPTS)
        lengths = self._lengths(self.prefixes, self.prefix, stream(self.seed, Purpose.PREFIXES))
        popularity = np.cumsum(np.arange(1, self.prefixes + 1) ** -self.skew)
        now = 0.0
        for first in range(0, self.n_jobs, BATCH):
            at = now + arrival_times(BATCH, times, rate=self.rate, burstiness=self.burstiness)
            now = float(at[-1])
            drawn = prompts.random(BATCH) * popularity[-1]
            prefix = np.searchsorted(popularity, drawn, side="right").clip(max=self.prefixes - 1)
            n_question = self._lengths(BATCH, self.question, prompts)
            n_output = prompts.geometric(1 / self.output, BATCH).clip(max=self.longest)
            size = min(BATCH, self.n_jobs - first)
            ids = np.arange(first, first + size)
            batch = Prompts(
                ids=ids,
                at=at[:size],
                shared=prefix[:size],
                n_shared=lengths[prefix[:size]],
                own=self.prefixes + ids,
                n_prompt=lengths[prefix[:size]] + n_question[:size],
                n_output=n_output[:size],
            )
            yield from jobs(batch, page_size=self.page_size)

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return ``None``: no request waits for another."""
        return None

    def _lengths(self, n: int, mean: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw lognormal lengths of the given mean, in whole tokens from 1 to the longest."""
        drawn = rng.lognormal(math.log(mean) - self.spread**2 / 2, self.spread, n)
        return np.rint(drawn).clip(1, self.longest).astype(np.int64)
