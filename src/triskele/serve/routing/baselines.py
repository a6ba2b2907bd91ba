"""Policies that do not look at caches: random, round robin, fewest in flight, the better of two.

And consistent hashing, which does not look at load: a session, or a prompt's first page, always
goes to the same worker, and only the sessions of a worker that leaves move.
"""

import itertools
from bisect import bisect
from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from triskele.serve.routing.load import InFlight
from triskele.serve.routing.router import Outcome, Request, Worker

HASH_BYTES = 8


class _Balanced:
    """A choice that needs nothing but the requests in flight."""

    def __init__(self, choose: Callable[[InFlight, Request], int]) -> None:
        self._choose = choose
        self._load = InFlight()

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker of the policy's choice."""
        self._load.update(workers)
        self._load.expect_new(request)
        return self._load.send(request, self._choose(self._load, request))

    def observe(self, outcome: Outcome, now: float) -> None:
        """Count out what has ended."""
        self._load.settle(outcome)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._load.check()


def random_choice(rng: np.random.Generator) -> _Balanced:
    """Return a router that draws a worker."""
    return _Balanced(lambda load, _: int(rng.choice(load.roster.present)))


def round_robin() -> _Balanced:
    """Return a router that takes the worker whose turn was longest ago."""
    turns: dict[int, int] = {}
    count = itertools.count(1)

    def choose(load: InFlight, request: Request) -> int:
        present: list[int] = load.roster.present.tolist()
        slot = min(present, key=lambda each: turns.get(each, 0))
        turns[slot] = next(count)
        return slot

    return _Balanced(choose)


def least_loaded(rng: np.random.Generator) -> _Balanced:
    """Return a router that takes a worker with the fewest requests in flight."""
    return _Balanced(lambda load, _: load.least(rng))


def power_of_two(rng: np.random.Generator) -> _Balanced:
    """Return a router that draws two workers and takes the one with fewer requests in flight."""

    def choose(load: InFlight, request: Request) -> int:
        present = load.roster.present
        return load.least(rng, rng.choice(present, size=min(2, len(present)), replace=False))

    return _Balanced(choose)


class ConsistentHash:
    """Sends a session, or a first page, always to the same worker.

    A prompt that has neither goes anywhere, by its id.

    Parameters
    ----------
    n_points
        Points of each worker on the ring: more make the shares more equal.
    """

    def __init__(self, *, n_points: int = 160) -> None:
        if n_points < 1:
            raise ValueError(f"expected at least one point per worker, got {n_points}")
        self._n_points = n_points
        self._load = InFlight()
        self._ring: list[tuple[int, int]] = []

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the first worker on the ring after the request's own point."""
        joined, left = self._load.update(workers)
        if joined or left:
            self._ring = sorted(
                (xxhash.xxh3_64_intdigest(f"{worker.name}#{point}".encode()), self._slot(worker))
                for worker in workers
                for point in range(self._n_points)
            )
        self._load.expect_new(request)
        point = xxhash.xxh3_64_intdigest(_name(request))
        at = bisect(self._ring, (point, -1)) % len(self._ring)
        return self._load.send(request, self._ring[at][1])

    def observe(self, outcome: Outcome, now: float) -> None:
        """Count out what has ended."""
        self._load.settle(outcome)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._load.check()

    def _slot(self, worker: Worker) -> int:
        slot = self._load.roster.slot(worker.name)
        assert slot is not None
        return slot


def _name(request: Request) -> bytes:
    if request.session is not None:
        return request.session.encode()
    return request.key[:HASH_BYTES] or str(request.id).encode()
