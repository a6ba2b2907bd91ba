"""Policies that do not look at caches: random, round robin, fewest in flight, the better of two.

And consistent hashing: a session always goes to the same worker, and only the sessions of a worker
that leaves move. So do prompts that begin alike, as long as their worker has no more than its share
in flight (the Shepherd Model Gateway's prefix hash: 256 tokens and a load factor of 1.25; Mirrokni,
Thorup and Zadimoghaddam, 2018, on consistent hashing with bounded loads).
"""

import itertools
from bisect import bisect
from collections.abc import Callable, Sequence
from math import inf

import numpy as np
import xxhash

from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.routing.load import InFlight
from triskele.serve.routing.router import Outcome, Request, Worker

# A worker with more than this times the mean in flight, and one more, is passed over.
LOAD_FACTOR = 1.25


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
    """Sends a session always to the same worker, and prompts that begin alike if it is not full.

    A prompt that has neither a session nor a whole page goes anywhere, by its id.

    Parameters
    ----------
    n_pages
        Pages that must be alike: 256 tokens, of pages of 16.
    n_points
        Points of each worker on the ring: more make the shares more equal.
    """

    def __init__(self, *, n_pages: int = 16, n_points: int = 160) -> None:
        if n_pages < 1:
            raise ValueError(f"expected at least one page to hash, got {n_pages}")
        if n_points < 1:
            raise ValueError(f"expected at least one point per worker, got {n_points}")
        self._n_pages, self._n_points = n_pages, n_points
        self._load = InFlight()
        self._ring: list[tuple[int, int]] = []

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the first worker on the ring after the request's own point that is not full."""
        joined, left = self._load.update(workers)
        if joined or left:
            names = [worker.name for worker in workers]
            self._ring = sorted(
                (xxhash.xxh3_64_intdigest(f"{name}#{point}".encode()), slot)
                for name, slot in zip(names, self._load.roster.slots(names), strict=True)
                for point in range(self._n_points)
            )
        self._load.expect_new(request)
        point = xxhash.xxh3_64_intdigest(_name(request, self._n_pages))
        at = bisect(self._ring, (point, -1))
        counts, most = self._load.counts, inf
        if request.session is None:
            # Who has the fewest is never full, so this ends.
            most = LOAD_FACTOR * counts[self._load.roster.present].mean() + 1
        offered = set(self._load.roster.present.tolist()) if request.avoid else None
        for _, slot in itertools.chain(self._ring[at:], self._ring):
            if counts[slot] <= most and (offered is None or slot in offered):
                break
        return self._load.send(request, slot)

    def observe(self, outcome: Outcome, now: float) -> None:
        """Count out what has ended."""
        self._load.settle(outcome)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._load.check()


def _name(request: Request, n_pages: int) -> bytes:
    if request.session is not None:
        return request.session.encode()
    # The last of the pages stands for those before it, too.
    return request.key[: n_pages * HASH_BYTES][-HASH_BYTES:] or str(request.id).encode()
