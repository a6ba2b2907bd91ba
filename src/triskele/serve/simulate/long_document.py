"""Several questions on each of many long documents, in random order: LooGLE's shape without LooGLE.

The document comes first in the prompt and is shared by its questions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from triskele.serve.simulate.arrivals import arrival_times
from triskele.serve.simulate.bounds import require_at_least, require_positive
from triskele.serve.simulate.prompts import Prompts, jobs
from triskele.serve.simulate.streams import Purpose, stream
from triskele.serve.simulate.workload import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class LongDocument:
    """Questions on long documents."""

    documents: int = 512
    """Number of documents."""
    questions: int = 8
    """Questions on each document."""
    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192)
    """Tokens per document, in turn."""
    question: int = 64
    """Tokens per question."""
    output: int = 4
    """Tokens per answer."""
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
            documents=self.documents,
            questions=self.questions,
            lengths=min(self.lengths, default=0),
            question=self.question,
            output=self.output,
            page_size=self.page_size,
        )
        require_at_least(0, seed=self.seed)
        require_positive(rate=self.rate, burstiness=self.burstiness)

    @property
    def n_jobs(self) -> int:
        """How many requests there are in all."""
        return self.documents * self.questions

    def arrivals(self) -> Iterator[Job]:
        """Yield the requests in order of time; a job's id counts questions by document."""
        times = stream(self.seed, Purpose.TIMES)
        ids = stream(self.seed, Purpose.ORDER).permutation(self.n_jobs)
        document = ids // self.questions
        n_shared = np.resize(np.array(self.lengths), self.documents)[document]
        prompts = Prompts(
            ids=ids,
            at=arrival_times(self.n_jobs, times, rate=self.rate, burstiness=self.burstiness),
            shared=document,
            n_shared=n_shared,
            own=self.documents + ids,
            n_prompt=n_shared + self.question,
            n_output=np.full(self.n_jobs, self.output),
        )
        return jobs(prompts, page_size=self.page_size)

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return ``None``: no request waits for another."""
        return None
