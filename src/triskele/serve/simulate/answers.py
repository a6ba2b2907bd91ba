"""The running answers of one worker, counted and not listed.

Every iteration gives each of them one token. So their number, the sum of their contexts, the pages
they will need and who ends next follow from one counter of iterations, without a look at each.
"""

import heapq
from dataclasses import dataclass
from math import ceil

from triskele.serve.cache import Pin
from triskele.serve.simulate.workload import Job


@dataclass(slots=True, eq=False)
class Run:
    """A job on a worker.

    Attributes
    ----------
    n_cached
        Tokens of the prompt found in the cache at the first admission.
    n_todo
        Tokens to compute before the next answer token; those answered before a preemption count.
    n_answered
        Tokens of the answer up to the beginning of the present stretch of iterations.
    n_own
        Pages reserved for this run alone.
    n_preempted, n_recomputed
        How often it was preempted, and the tokens computed again because of that.
    routed, admitted, first_token, finished
        Seconds; ``None`` for what has not happened.
    """

    job: Job
    routed: float
    n_cached: int = 0
    n_todo: int = 0
    n_answered: int = 0
    n_own: int = 0
    n_preempted: int = 0
    n_recomputed: int = 0
    pin: Pin | None = None
    admitted: float | None = None
    first_token: float | None = None
    finished: float | None = None

    @property
    def n_context(self) -> int:
        """Tokens whose keys and values are computed once no token is to do."""
        return self.job.n_prompt + max(0, self.n_answered - 1)


class Answers:
    """Runs that get one token per iteration.

    Parameters
    ----------
    page_size
        Tokens per page.

    Attributes
    ----------
    n_kv
        Sum of their contexts in tokens.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._clock = 0
        self._n_added = 0
        # (iteration of the last token, order, run), and the iteration each began at.
        self._ends: list[tuple[int, int, Run]] = []
        self._begun: dict[Run, int] = {}
        # How many contexts fill a page at iteration i, by i modulo the page size.
        self._borders = [0] * page_size
        self.n_kv = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._begun)

    def add(self, run: Run) -> None:
        """Take up a run that has had its first token and is to have more."""
        context = run.n_context
        self._begun[run] = self._clock
        self._n_added += 1
        last = self._clock + run.job.n_output - run.n_answered
        heapq.heappush(self._ends, (last, self._n_added, run))
        self._borders[self._border(run)] += 1
        self.n_kv += context

    def n_until_end(self) -> int:
        """Return how many iterations there are until one of them ends."""
        return self._ends[0][0] - self._clock

    def n_pages(self, n_iterations: int) -> int:
        """Return how many new pages all of them need for the next ``n_iterations``."""
        whole, rest = divmod(n_iterations, self._page_size)
        if rest == 0:
            return whole * len(self._begun)
        start = self._clock % self._page_size
        stop = start + rest
        borders = self._borders
        if stop <= self._page_size:
            n_partial = borders[start] if rest == 1 else sum(borders[start:stop])
        else:
            n_partial = sum(borders[start:]) + sum(borders[: stop - self._page_size])
        return whole * len(self._begun) + n_partial

    def step(self, n_iterations: int) -> list[Run]:
        """Let iterations pass and return the runs that ended with the last of them."""
        self._clock += n_iterations
        self.n_kv += n_iterations * len(self._begun)
        ended = []
        while self._ends and self._ends[0][0] <= self._clock:
            run = heapq.heappop(self._ends)[2]
            self._take(run)
            ended.append(run)
        return ended

    def remove_newest(self) -> Run:
        """Take out the run that was added last: whom preemption costs least."""
        run = next(reversed(self._begun))
        self._ends = [end for end in self._ends if end[2] is not run]
        heapq.heapify(self._ends)
        self._take(run)
        return run

    def clear(self) -> list[Run]:
        """Take out all."""
        runs = list(self._begun)
        self._ends.clear()
        for run in runs:
            self._take(run)
        return runs

    def _take(self, run: Run) -> None:
        """Take a run out; what it has been answered and the pages it has are written into it."""
        self._borders[self._border(run)] -= 1
        n_new = self._clock - self._begun.pop(run)
        before = ceil(run.n_context / self._page_size)
        run.n_answered += n_new
        run.n_own += ceil(run.n_context / self._page_size) - before
        self.n_kv -= run.n_context

    def _border(self, run: Run) -> int:
        """Return the iteration, modulo the page size, whose new token begins a page."""
        return (self._begun[run] - run.n_context) % self._page_size
