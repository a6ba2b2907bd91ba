"""The simulator: a workload, a router and a fleet of replicas, driven by one heap of events.

The router is the very object that the gateway uses: it is told the time, never reads a clock, and
learns of outcomes and of the workers' caches with the delay of the network. Every job of the
workload ends in exactly one row of the result, as ``Status`` says. A request waits while no worker
that could hold it is up; a router that sends it to one that cannot has failed once.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol, runtime_checkable

from triskele.serve.cache import EvictionPolicy, PrefixCache
from triskele.serve.routing.router import CacheListener, Outcome, Phase, Request, Router, Worker
from triskele.serve.simulate.answers import Run
from triskele.serve.simulate.cost import CostModel
from triskele.serve.simulate.replica import Batching, Progress, Replica
from triskele.serve.simulate.result import Result, Rows, Status
from triskele.serve.simulate.workload import Job, Workload

Advance = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happens to a worker at a time: it ``joins`` (or returns, cold), or fails."""

    at: float
    worker: int
    joins: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The workers.

    Attributes
    ----------
    costs
        One cost model per worker.
    eviction
        Makes the eviction policy of a worker from its capacity in pages and its number.
    batching
        Limits of an iteration.
    network
        Seconds from the router to a worker, and back.
    event_delay
        Seconds until a router hears of a change of a cache; ``None`` if workers send no events.
    changes
        Joins and failures, in order of time. A worker whose first change is a join is absent
        before it.
    n_attempts
        How often a request is sent before it fails for good; at least once.
    """

    costs: Sequence[CostModel]
    eviction: Callable[[int, int], EvictionPolicy]
    batching: Batching = field(default_factory=Batching)
    network: float = 0.0005
    event_delay: float | None = None
    changes: Sequence[Change] = ()
    n_attempts: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not self.costs:
            raise ValueError("expected at least one worker, got none")
        delays = self.network, self.event_delay or 0.0
        if min(delays) < 0 or not all(map(isfinite, delays)):
            raise ValueError(f"expected delays of at least 0 seconds, got {delays}")
        if self.n_attempts < 1:
            raise ValueError(f"expected at least one attempt, got {self.n_attempts}")
        times = [change.at for change in self.changes]
        if times != sorted(times) or not all(isfinite(at) and at >= 0 for at in times):
            raise ValueError("expected changes in order of time, none before 0")
        for change in self.changes:
            if not 0 <= change.worker < len(self.costs):
                raise ValueError(f"expected a worker below {len(self.costs)}, got {change.worker}")


@runtime_checkable
class Predictor(Protocol):
    """A router that says what it expects."""

    def predicted(self, request_id: int) -> tuple[float, float] | None:
        """Return the time to first token and the latency it expected, in seconds."""


def simulate(
    workload: Workload, router: Router, fleet: Fleet, *, on_progress: Advance | None = None
) -> Result:
    """Serve a workload and return what became of every request.

    Parameters
    ----------
    workload
        Where requests come from.
    router
        Chooses a worker for each; keeps what it has learned.
    fleet
        The workers.
    on_progress
        Told, now and then, how many jobs have ended and the simulated time.

    Raises
    ------
    ValueError
        If the workload runs back in time, or a worker has no room for one page.
    """
    return _Simulation(workload, router, fleet, on_progress).run()


class _Simulation:
    """One run: the heap, the fleet, and the rows as they come."""

    def __init__(
        self, workload: Workload, router: Router, fleet: Fleet, on_progress: Advance | None
    ) -> None:
        self._workload, self._router, self._fleet = workload, router, fleet
        self._on_progress = on_progress
        tells = fleet.event_delay is not None
        self._listener = router if tells and isinstance(router, CacheListener) else None
        self._predictor = router if isinstance(router, Predictor) else None
        # (time, order, what to call, its argument); order puts what was planned first before.
        self._events: list[tuple[float, int, Callable[[Any, float], None], Any]] = []
        self._n_events = 0
        size = workload.page_size
        self._workers = [
            Worker(f"worker-{number}", cost.kv_tokens // size)
            for number, cost in enumerate(fleet.costs)
        ]
        self._numbers = {worker.name: number for number, worker in enumerate(self._workers)}
        self._replicas = [self._replica(number) for number in range(len(self._workers))]
        self._roomiest = max(self._replicas, key=lambda replica: replica.cache.capacity)
        late: dict[int, bool] = {}
        for change in fleet.changes:
            late.setdefault(change.worker, change.joins)
        self._is_up = [not late.get(number, False) for number in range(len(self._workers))]
        self._muster()
        self._n_failures = [0] * len(self._workers)
        self._heard_of: set[int] = set()
        self._held: list[Job] = []
        self._n_attempts: dict[int, int] = {}
        self._rows = Rows()
        self._now = 0.0

    def run(self) -> Result:
        """Let all events happen."""
        for change in self._fleet.changes:
            self._at(change.at, self._change, change)
        arrivals = self._workload.arrivals()
        job = next(arrivals, None)
        events = self._events
        while job is not None or events:
            if job is not None and (not events or job.at <= events[0][0]):
                if not job.at >= self._now:
                    raise ValueError(f"expected arrivals in order, got {job.at} after {self._now}")
                self._now = job.at
                self._route(job, self._now)
                job = next(arrivals, None)
                continue
            self._now, _, call, argument = heapq.heappop(events)
            call(argument, self._now)
        for held in self._held:
            self._give_up(held, Status.FAILED, self._now)
        return self._rows.result(
            workers=[worker.name for worker in self._workers],
            page_size=self._workload.page_size,
        )

    def _replica(self, number: int) -> Replica:
        cost, size = self._fleet.costs[number], self._workload.page_size
        capacity = cost.kv_tokens // size
        if capacity < 1:
            raise ValueError(f"expected room for a page of {size} tokens, got {cost.kv_tokens}")
        cache = PrefixCache(capacity, self._fleet.eviction(capacity, number))
        return Replica(
            cost,
            cache,
            page_size=size,
            batching=self._fleet.batching,
            tells=self._listener is not None,
        )

    def _muster(self) -> None:
        """Note who is up; routers notice a change by the identity of the tuple."""
        numbers = [number for number, is_up in enumerate(self._is_up) if is_up]
        self._up = tuple(self._workers[number] for number in numbers)
        self._roomiest_up = max(
            (self._replicas[number] for number in numbers),
            key=lambda replica: replica.cache.capacity,
            default=None,
        )

    def _at(self, time: float, call: Callable[[Any, float], None], argument: object) -> None:
        self._n_events += 1
        heapq.heappush(self._events, (time, self._n_events, call, argument))

    def _route(self, job: Job, now: float) -> None:
        """Ask the router, and send the job off."""
        n_tokens = job.n_prompt + job.n_output
        if not self._roomiest.fits(n_tokens):
            self._give_up(job, Status.REJECTED, now)
            return
        if self._roomiest_up is None or not self._roomiest_up.fits(n_tokens):
            self._held.append(job)
            return
        request = Request(job.id, job.key, job.n_prompt, session=job.session, kind=job.kind)
        worker = self._router.choose(request, self._up, now)
        self._at(
            now + self._fleet.network, self._deliver, (self._numbers[worker.name], Run(job, now))
        )

    def _deliver(self, where: tuple[int, Run], now: float) -> None:
        """Hand a run to its replica."""
        number, run = where
        replica = self._replicas[number]
        job = run.job
        if not self._is_up[number] or not replica.fits(job.n_prompt + job.n_output):
            self._at(now + self._fleet.network, self._lost, (number, run))
            return
        before = replica.due
        replica.submit(run, now)
        self._schedule(number, before)

    def _schedule(self, number: int, before: float | None) -> None:
        due = self._replicas[number].due
        if due is not None and due != before:
            self._at(due, self._advance, number)

    def _advance(self, number: int, now: float) -> None:
        """Let a replica go on, if this is still when it is due."""
        replica = self._replicas[number]
        if replica.due != now:
            return
        progress = replica.advance(now)
        if replica.due is not None:
            self._at(replica.due, self._advance, number)
        if progress.stored or progress.removed:
            self._tell(number, progress, now)
        back = now + self._fleet.network
        for run in progress.answered:
            self._at(back, self._first_token, (number, run))
        for run in progress.finished:
            self._at(back, self._finished, (number, run))

    def _tell(self, number: int, progress: Progress, now: float) -> None:
        delay = self._fleet.event_delay
        if delay is not None:
            self._at(now + delay, self._hear, (number, self._n_failures[number], progress))

    def _hear(self, news: tuple[int, int, Progress], now: float) -> None:
        """Tell the router of a changed cache, unless it has failed on the way."""
        number, n_failures, progress = news
        if self._listener is not None and n_failures == self._n_failures[number]:
            name = self._workers[number].name
            self._listener.removed(name, progress.removed)
            self._listener.stored(name, progress.stored)
            self._heard_of.add(number)

    def _first_token(self, where: tuple[int, Run], now: float) -> None:
        number, run = where
        self._observe(number, run, Phase.FIRST_TOKEN, now)

    def _finished(self, where: tuple[int, Run], now: float) -> None:
        number, run = where
        predicted = self._observe(number, run, Phase.FINISHED, now)
        self._write(run.job, Status.FINISHED, run=run, number=number, predicted=predicted)
        following = self._workload.follow_up(run.job, now)
        if following is not None:
            if not following.at >= now:
                raise ValueError(f"expected a follow-up after {now}, got {following.at}")
            self._at(following.at, self._route, following)

    def _lost(self, where: tuple[int, Run], now: float) -> None:
        """Send a run that its worker lost to another, or give it up."""
        number, run = where
        self._observe(number, run, Phase.FAILED, now)
        job = run.job
        n_attempts = self._n_attempts.get(job.id, 1)
        if n_attempts >= self._fleet.n_attempts:
            self._give_up(job, Status.FAILED, now, run=run, number=number)
            return
        self._n_attempts[job.id] = n_attempts + 1
        self._route(job, now)

    def _observe(
        self, number: int, run: Run, phase: Phase, now: float
    ) -> tuple[float, float] | None:
        predicted = None
        if self._predictor is not None and phase is Phase.FINISHED:
            predicted = self._predictor.predicted(run.job.id)
        self._router.observe(
            Outcome(
                run.job.id,
                self._workers[number].name,
                phase,
                now - run.routed,
                run.n_cached,
                run.n_answered,
            ),
            now,
        )
        return predicted

    def _change(self, change: Change, now: float) -> None:
        """Let a worker join or fail."""
        number = change.worker
        if change.joins == self._is_up[number]:
            return
        self._is_up[number] = change.joins
        self._muster()
        if not change.joins:
            self._n_failures[number] += 1
            if self._listener is not None and number in self._heard_of:
                self._heard_of.remove(number)
                self._listener.cleared(self._workers[number].name)
            for run in self._replicas[number].fail():
                self._at(now + self._fleet.network, self._lost, (number, run))
            return
        held, self._held = self._held, []
        for job in held:
            self._route(job, now)

    def _give_up(
        self, job: Job, status: Status, now: float, *, run: Run | None = None, number: int = -1
    ) -> None:
        """Write the row of a job without an answer, and of the turns that will not be asked."""
        self._write(job, status, run=run, number=number)
        following = self._workload.follow_up(job, now)
        while following is not None:
            self._write(following, Status.ABANDONED)
            following = self._workload.follow_up(following, following.at)

    def _write(
        self,
        job: Job,
        status: Status,
        *,
        run: Run | None = None,
        number: int = -1,
        predicted: tuple[float, float] | None = None,
    ) -> None:
        """Write the row of a job that has ended."""
        self._rows.add(job, status, worker=number, run=run, predicted=predicted)
        if self._on_progress is not None and len(self._rows) % 256 == 0:
            self._on_progress(len(self._rows), self._now)
