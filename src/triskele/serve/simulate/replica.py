"""One simulated worker: continuous batching, chunked prefill, a prefix cache, preemption.

An iteration gives each running answer one token and fills the rest of its token budget with
prompts, first come first served. Iterations of answers alone differ only by the growing contexts,
so that any number of them is one sum and one event; an arrival cuts the stretch short at the
iteration it falls into.

The cache is the very ``PrefixCache`` of the engine. A replica never reads a clock: whoever drives
it calls :meth:`Replica.advance` at the time :attr:`Replica.due`.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from triskele.serve.cache import PrefixCache
from triskele.serve.simulate.answers import Answers, Run
from triskele.serve.simulate.cost import CostModel

HASH = 8


@dataclass(frozen=True, slots=True)
class Batching:
    """How an engine fills its iterations.

    Attributes
    ----------
    n_tokens
        Most tokens computed in one iteration.
    n_running
        Most requests that run at once.
    """

    n_tokens: int = 8192
    n_running: int = 256

    def __post_init__(self) -> None:
        """Refuse a batch that nothing fits into."""
        if not 1 <= self.n_running <= self.n_tokens:
            raise ValueError(
                f"expected at least one request at once and a token for each of them, got {self}"
            )


@dataclass(slots=True)
class Progress:
    """What a stretch of iterations brought: first tokens, ends, and changes of the cache.

    Pages were removed first and stored then; what is removed for the next stretch is told with it.
    """

    answered: list[Run] = field(default_factory=list)
    finished: list[Run] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Stretch:
    """The iterations that are under way: one with prompts in it, or many of answers alone."""

    start: float
    n_iterations: int
    chunks: list[tuple[Run, int]]


class Replica:
    """A worker that serves runs.

    Parameters
    ----------
    cost
        The time of an iteration.
    cache
        Its prefix cache, which also is its key-value capacity.
    page_size
        Tokens per page.
    batching
        Limits of an iteration.
    tells
        Whether :class:`Progress` names the pages stored and removed.

    Attributes
    ----------
    due
        When to call :meth:`advance` next; ``None`` when idle.
    """

    def __init__(
        self,
        cost: CostModel,
        cache: PrefixCache,
        *,
        page_size: int,
        batching: Batching,
        tells: bool = False,
    ) -> None:
        self.cache = cache
        self.due: float | None = None
        self._cost = cost
        self._page_size = page_size
        self._batching = batching
        self._tells = tells
        self._waiting: deque[Run] = deque()
        self._prompts: deque[Run] = deque()
        self._answers = Answers(page_size)
        self._stretch: _Stretch | None = None
        self._is_full = False
        self._progress = Progress()
        # Kept free at admission, so that answers can grow before someone is preempted.
        self._watermark = cache.capacity // 100

    @property
    def n_waiting(self) -> int:
        """Runs that have not been admitted."""
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        """Runs that have been admitted and not finished."""
        return len(self._prompts) + len(self._answers)

    def fits(self, n_tokens: int) -> bool:
        """Tell whether a run of so many tokens can ever be served here."""
        return ceil(n_tokens / self._page_size) <= self.cache.capacity - self._watermark

    def submit(self, run: Run, now: float) -> None:
        """Queue a run that fits; wakes an idle worker and cuts a stretch of answers short."""
        self._waiting.append(run)
        if self._stretch is None:
            self._begin(now)
        elif self._stretch.n_iterations > 1 and not self._is_full:
            self._cut(self._stretch, now)

    def advance(self, now: float) -> Progress:
        """Complete the iterations that end now, begin the next, and tell what they brought."""
        stretch, answers = self._stretch, self._answers
        assert stretch is not None
        assert self.due == now
        if stretch.n_iterations > 1:
            # Not before: nothing is evicted for iterations that an arrival cuts off.
            self._reserve(answers.n_pages(stretch.n_iterations) - answers.n_pages(1))
        for run in answers.step(stretch.n_iterations):
            self._finish(run, now)
        for run, n_new in stretch.chunks:
            run.n_todo -= n_new
            if run.n_todo == 0:
                self._prompts.popleft()
                self._answer(run, now)
        progress, self._progress = self._progress, Progress()
        self._begin(now)
        return progress

    def fail(self) -> list[Run]:
        """Drop everything, the cache included, and return the runs that were there."""
        if self._stretch is not None:
            self.cache.release(self._answers.n_pages(1))
        runs = [*self._answers.clear(), *self._prompts, *self._waiting]
        for run in runs:
            if run.pin is not None:
                self.cache.unpin(run.pin)
                self.cache.release(run.n_own)
                run.pin, run.n_own = None, 0
        self._prompts.clear()
        self._waiting.clear()
        self.cache.clear()
        self._stretch, self.due, self._is_full = None, None, False
        self._progress = Progress()
        return runs

    def _begin(self, now: float) -> None:
        """Choose the next iterations."""
        n_room = self._make_room_for_answers()
        n_left = self._batching.n_tokens - len(self._answers)
        chunks: list[tuple[Run, int]] = []
        n_attended = 0.0
        for run in self._prompts:
            if n_left <= 0:
                break
            n_left, n_attended = self._chunk(run, n_left, n_attended, chunks)
        while self._waiting and n_left > 0 and self._admit(now):
            n_left, n_attended = self._chunk(self._prompts[-1], n_left, n_attended, chunks)
        if chunks:
            n_computed = len(self._answers) + sum(n_new for _, n_new in chunks)
            seconds = self._cost.seconds(n_computed, n_attended, self._answers.n_kv)
            self._stretch, self.due = _Stretch(now, 1, chunks), now + seconds
        elif len(self._answers):
            self._stretch = _Stretch(now, n_room, chunks)
            self.due = now + self._answers_seconds(n_room)
        else:
            self._stretch, self.due = None, None

    def _make_room_for_answers(self) -> int:
        """Reserve the pages of the next iteration; return how many iterations there is room for."""
        answers, cache = self._answers, self.cache
        if not len(answers):
            return 0
        while answers.n_pages(1) > cache.capacity - cache.n_reserved - cache.n_pinned:
            self._preempt(answers.remove_newest())
        self._reserve(answers.n_pages(1))
        if not len(answers):
            return 0
        n_free = cache.capacity - cache.n_reserved - cache.n_pinned + answers.n_pages(1)
        n_most = answers.n_until_end()
        if answers.n_pages(n_most) <= n_free:
            return n_most
        return bisect_left(range(n_most), n_free + 1, lo=1, key=answers.n_pages) - 1

    def _chunk(
        self, run: Run, n_left: int, n_attended: float, chunks: list[tuple[Run, int]]
    ) -> tuple[int, float]:
        n_new = min(n_left, run.n_todo)
        chunks.append((run, n_new))
        n_context = run.job.n_prompt + run.n_answered - run.n_todo + n_new
        return n_left - n_new, n_attended + n_new * (n_context - n_new / 2)

    def _admit(self, now: float) -> bool:
        """Let the first of the queue in if there is room."""
        self._is_full = self._is_full or self.n_running >= self._batching.n_running
        if self._is_full:
            return False
        run, cache = self._waiting[0], self.cache
        n_tokens = run.job.n_prompt + run.n_answered
        # One use of its prefix, however often it is refused or preempted.
        pin = cache.pin(run.job.key) if run.pin is None else cache.renew(run.pin, run.job.key)
        n_own = ceil(n_tokens / self._page_size) - pin.n_pages
        kept = self._watermark if self.n_running else 0
        freed = None
        if n_own + kept <= cache.capacity - cache.n_reserved - cache.n_pinned:
            freed = cache.reserve(n_own)
        if freed is None:
            run.pin, self._is_full = cache.renew(pin, b""), True
            return False
        self._waiting.popleft()
        self._progress.removed += freed
        # The last token is always computed: its output is what is asked for.
        n_cached = min(pin.n_pages * self._page_size, n_tokens - 1)
        run.pin, run.n_own, run.n_todo = pin, n_own, n_tokens - n_cached
        if run.admitted is None:
            run.admitted, run.n_cached = now, n_cached
        if run.n_preempted:
            run.n_recomputed += run.n_todo - 1
        self._prompts.append(run)
        return True

    def _answer(self, run: Run, now: float) -> None:
        """Give a run the token that ends its prompt, and its prompt to the cache."""
        key, pin = run.job.key, run.pin
        assert pin is not None
        n_shared = len(key) // HASH - pin.n_pages
        if n_shared:
            self._store(run, key, n_shared)
            run.pin = self.cache.renew(pin, key)
        if run.first_token is None:
            run.first_token = now
            self._progress.answered.append(run)
        run.n_answered += 1
        if run.n_answered == run.job.n_output:
            self._finish(run, now)
        else:
            self._answers.add(run)

    def _finish(self, run: Run, now: float) -> None:
        """Give all of a run's pages to the cache."""
        n_whole = run.n_context // self._page_size
        n_shared = min(n_whole, len(run.job.key_after) // HASH) - len(run.job.key) // HASH
        if n_shared > 0:
            n_pages = len(run.job.key) // HASH + n_shared
            self._store(run, run.job.key_after[: n_pages * HASH], n_shared)
        assert run.pin is not None
        self.cache.unpin(run.pin)
        run.pin, run.finished = None, now
        self._release(run)
        self._progress.finished.append(run)

    def _store(self, run: Run, key: bytes, n_shared: int) -> None:
        """Insert a run's key; ``n_shared`` of its own pages become the cache's."""
        hashes = np.frombuffer(key, "<u8").tolist() if self._tells else None
        done = self.cache.insert(key, hashes, pin=run.pin, n_reserved=n_shared)
        run.n_own -= n_shared
        if hashes is not None:
            # All of it, and without an eviction: it takes the place of the run's own pages.
            assert done.n_found + done.n_added == len(hashes)
            self._progress.stored += hashes[done.n_found :]
        self._is_full = False

    def _preempt(self, run: Run) -> None:
        """Send a run back to the head of the queue; its answer so far will be computed again."""
        assert run.pin is not None
        run.pin = self.cache.renew(run.pin, b"")
        run.n_preempted += 1
        self._release(run)
        self._waiting.appendleft(run)
        self._is_full = True

    def _release(self, run: Run) -> None:
        self.cache.release(run.n_own)
        run.n_own, self._is_full = 0, False

    def _reserve(self, n_pages: int) -> None:
        freed = self.cache.reserve(n_pages)
        assert freed is not None
        self._progress.removed += freed

    def _answers_seconds(self, n_iterations: int) -> float:
        """Return the time of iterations of answers alone."""
        n = len(self._answers)
        n_kv = n_iterations * self._answers.n_kv + n * n_iterations * (n_iterations - 1) / 2
        fixed = self._cost.seconds(n, 0.0, 0.0)
        return n_iterations * fixed + 1e-3 * self._cost.cache * n_kv

    def _cut(self, stretch: _Stretch, now: float) -> None:
        """End a stretch with the iteration that is under way."""
        elapsed = now - stretch.start
        n_before = stretch.n_iterations
        n = bisect_left(range(n_before), elapsed, lo=1, key=self._answers_seconds)
        stretch.n_iterations = n
        self.due = stretch.start + self._answers_seconds(n)
