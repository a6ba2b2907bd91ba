"""A fleet small enough to reckon by hand: one queue per worker, first come first served."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from tests.serve.routing.prompts import PAGE_SIZE, pages_of, prompt

from triskele.serve.cache import PrefixCache, least_recently_used
from triskele.serve.routing import LearnedGreedy, Outcome, Phase, Worker

SECONDS = 0.1
"""Of an ordinary worker, per thousand tokens that it has not cached."""
MEAN_PAGES = 80


@dataclass(slots=True)
class LinearWorker:
    """Takes ``seconds`` per thousand new tokens, one prompt after the other."""

    seconds: float
    cache: PrefixCache
    free_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Served:
    """What became of a request, and what had been predicted."""

    worker: str
    ttft: float
    latency: float
    n_cached: int
    predicted: tuple[float, float]


class LinearFleet:
    """Serves what a router sends it.

    Parameters
    ----------
    seconds
        Per thousand tokens, by name.
    pace, network
        Seconds per token of an answer, and added to every time to first token.
    """

    def __init__(
        self,
        router: LearnedGreedy,
        seconds: dict[str, float],
        *,
        pace: float = 0.01,
        network: float = 0.02,
        n_pages: int = 4096,
        n_output: int = 4,
        streams: bool = True,
    ) -> None:
        self.router, self.now, self.n_sent = router, 0.0, 0
        self.present = tuple(Worker(name, n_pages) for name in seconds)
        self.workers = {
            name: LinearWorker(each, PrefixCache(n_pages, least_recently_used()))
            for name, each in seconds.items()
        }
        self._pace, self._network, self._n_output = pace, network, n_output
        self._streams = streams
        self._events: list[tuple[float, int, Outcome]] = []

    def serve(self, jobs: Iterable[tuple[float, tuple[int, ...]]]) -> list[Served]:
        """Route prompts, each some seconds after the one before."""
        served = []
        for gap, pages in jobs:
            self.wait(gap)
            served.append(self._send(pages))
        return served

    def wait(self, seconds: float) -> None:
        """Let time pass, and tell the router of what has happened."""
        self.now += seconds
        while self._events and self._events[0][0] <= self.now:
            at, _, outcome = heapq.heappop(self._events)
            self.router.observe(outcome, at)

    def _send(self, pages: tuple[int, ...]) -> Served:
        number = self.n_sent
        self.n_sent += 1
        request = prompt(number, *pages, n_output=self._n_output)
        name = self.router.choose(request, self.present, self.now).name
        worker = self.workers[name]
        n_cached = PAGE_SIZE * worker.cache.insert(request.key).n_found
        work = 1e-3 * worker.seconds * max(1, request.n_prompt - n_cached)
        worker.free_at = max(worker.free_at, self.now) + work
        ttft = worker.free_at + self._network - self.now
        latency = ttft + self._pace * (self._n_output - 1)
        events = [
            Outcome(number, name, Phase.FIRST_TOKEN, ttft, n_cached, 1),
            Outcome(number, name, Phase.FINISHED, latency, n_cached, self._n_output),
        ]
        for order, event in enumerate(events):
            if self._streams or event.phase is Phase.FINISHED:
                entry = self.now + event.latency, 2 * number + order, event
                heapq.heappush(self._events, entry)
        predicted = self.router.predicted(number)
        assert predicted is not None
        return Served(name, ttft, latency, n_cached, predicted)


def fleet_of(names: str, router: LearnedGreedy | None = None, **how: float) -> LinearFleet:
    """Return a fleet of ordinary workers; ``how`` are speeds of others, or the fleet's own."""
    seconds = {name: how.pop(name, SECONDS) for name in names}
    return LinearFleet(router or LearnedGreedy(page_size=PAGE_SIZE), seconds, **how)


def warmed(names: str = "abcd", **how: float) -> LinearFleet:
    """Return a fleet that has served two hundred prompts and is idle."""
    fleet = fleet_of(names, **how)
    fleet.serve(unshared(200, load=0.6, n_workers=len(names)))
    fleet.wait(30.0)
    return fleet


def unshared(
    n: int, *, load: float, n_workers: float, first: int = 10_000, seconds: float = SECONDS
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield prompts that share nothing, at random times that keep workers busy by a share."""
    rng = np.random.default_rng(first + n)
    gap = 1e-3 * seconds * PAGE_SIZE * MEAN_PAGES / (load * n_workers)
    for number in range(first, first + n):
        n_pages = int(rng.integers(MEAN_PAGES // 4, 2 * MEAN_PAGES - MEAN_PAGES // 4))
        yield float(rng.exponential(gap)), pages_of(number, n_pages)


def relative_error(served: list[Served]) -> float:
    """Return the median error of predicted times to first token."""
    return float(np.median([abs(one.predicted[0] - one.ttft) / one.ttft for one in served]))


def share(served: list[Served], name: str) -> float:
    """Return the share of requests that a worker got."""
    return sum(one.worker == name for one in served) / len(served)
