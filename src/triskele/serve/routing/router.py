"""What a router is told and what it answers: the protocol and its records.

A router chooses a worker for each request and learns from what became of it. It never reads a
clock and never speaks to a worker: time and outcomes are told to it, which lets the simulator, the
gateway and the plugins run the very same object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of a request before it is served.

    Attributes
    ----------
    id
        Unique among the requests in flight.
    key
        One 64-bit hash per whole page of the prompt, as ``hash_key`` packs them. A hash stands for
        the page and everything before it: equal hashes mean equal prefixes.
    n_prompt
        Tokens of the prompt, a partial last page included.
    n_output
        Tokens of the answer where the caller fixes them, else ``None``.
    session
        What ties the requests of one conversation together, if the caller says.
    kind
        The class of the prompt, whose answers are expected to be about equally long.
    avoid
        Names of workers that have failed at it: chosen only if there is no other.
    """

    id: int
    key: bytes
    n_prompt: int
    n_output: int | None = None
    session: str | None = None
    kind: str = ""
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that may be chosen.

    Attributes
    ----------
    name
        Stable over failures and returns.
    n_pages
        Capacity of its key-value cache in pages; ``None`` if nobody knows.
    """

    name: str
    n_pages: int | None = None


class Phase(Enum):
    """How far a request has come."""

    FIRST_TOKEN = "first token"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request; told once per phase.

    Attributes
    ----------
    request_id, worker
        Which request, and the name of the worker that had it.
    phase
        ``FIRST_TOKEN``, then ``FINISHED``; or at any time ``FAILED``, by the worker's fault, or
        ``CANCELLED``, by nobody's, and nothing after it.
    latency
        Seconds since the request was routed.
    n_cached
        Tokens of the prompt that the worker found in its cache; ``None`` if it does not say.
    n_output
        Tokens of the answer so far; ``None`` if nobody has counted them.
    """

    request_id: int
    worker: str
    phase: Phase
    latency: float
    n_cached: int | None = None
    n_output: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no clock can have measured."""
        if not 0 <= self.latency < inf:
            raise ValueError(f"expected a latency of at least 0 seconds, got {self.latency}")


class Router(Protocol):
    """Chooses workers and learns from outcomes."""

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return one of ``workers``, and count the request as on its way to it.

        Pass the same tuple for as long as the membership stays the same: that is noticed at once.
        A worker that is no longer among them has lost what it had in flight and in its cache.

        Raises
        ------
        ValueError
            When there is no worker, or the request is in flight already.
        """

    def observe(self, outcome: Outcome, now: float) -> None:
        """Learn what became of a request; ignored if it is not in flight to that worker."""


@runtime_checkable
class CacheListener(Protocol):
    """A router that also takes the key-value events that workers send."""

    def stored(self, worker: str, hashes: Sequence[int]) -> None:
        """Note that a worker now holds the pages of these hashes."""

    def removed(self, worker: str, hashes: Sequence[int]) -> None:
        """Note that a worker has evicted the pages of these hashes."""

    def cleared(self, worker: str) -> None:
        """Note that a worker holds nothing any more."""
