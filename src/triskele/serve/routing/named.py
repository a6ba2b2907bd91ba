"""The names of routers and eviction policies, and what they stand for.

A policy of the command line is a router and what the workers evict by. Whoever mirrors the workers'
caches is told their eviction policy, as a gateway is by its configuration; what a randomized one
draws on a worker its mirror cannot know, and draws for itself.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triskele.serve.cache import EvictionPolicy
from triskele.serve.cache.named import EVICTIONS
from triskele.serve.routing.affinity import CacheAware, PrefixAffinity
from triskele.serve.routing.baselines import (
    ConsistentHash,
    least_loaded,
    power_of_two,
    random_choice,
    round_robin,
)
from triskele.serve.routing.latency import Diligence
from triskele.serve.routing.learned import LearnedGreedy, Pricing
from triskele.serve.routing.overlap import OverlapCost
from triskele.serve.routing.router import Router

EVERY_OUTCOME = Diligence()
HASHED = 256
"""Tokens of a prompt without a session that consistent hashing goes by."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a router may need to be made.

    Attributes
    ----------
    page_size
        Tokens per page.
    rng
        The source of its draws.
    eviction
        Makes the workers' eviction policy from a capacity in pages.
    diligence
        How much of its time may go into learning, if it learns.
    """

    page_size: int
    rng: np.random.Generator
    eviction: Callable[[int], EvictionPolicy]
    diligence: Diligence = EVERY_OUTCOME


ROUTERS: dict[str, Callable[[Surroundings], Router]] = {
    "lbgr": lambda given: LearnedGreedy(
        page_size=given.page_size, eviction=given.eviction, diligence=given.diligence
    ),
    "lbgr-greedy": lambda given: LearnedGreedy(
        page_size=given.page_size,
        eviction=given.eviction,
        pricing=Pricing(followers=0.0, interrupted=0.0, copies=0.0),
        diligence=given.diligence,
    ),
    "cache-aware": lambda given: CacheAware(given.rng),
    "prefix-affinity": lambda given: PrefixAffinity(given.rng),
    "dynamo": lambda given: OverlapCost(given.rng),
    "consistent-hash": lambda given: ConsistentHash(n_pages=max(1, HASHED // given.page_size)),
    "least-loaded": lambda given: least_loaded(given.rng),
    "power-of-two": lambda given: power_of_two(given.rng),
    "round-robin": lambda given: round_robin(),
    "random": lambda given: random_choice(given.rng),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A router and an eviction policy, by name."""

    router: str
    eviction: str

    def __post_init__(self) -> None:
        """Refuse names that nobody knows."""
        for kind, name, known in (
            ("router", self.router, ROUTERS.keys()),
            ("eviction", self.eviction, EVICTIONS.keys()),
        ):
            if name not in known:
                raise ValueError(f"no {kind} {name!r}; there are: {', '.join(known)}")

    @classmethod
    def parse(cls, text: str, *, eviction: str) -> "Policy":
        """Read ``router`` or ``router+eviction``; ``eviction`` is what the former means."""
        router, plus, own = text.partition("+")
        return cls(router, own if plus else eviction)

    @property
    def label(self) -> str:
        """Both names, as the command line takes them."""
        return f"{self.router}+{self.eviction}"

    def evict(self, seed: int) -> Callable[[int, int], EvictionPolicy]:
        """Return what makes a worker's eviction policy from its capacity and its number."""
        make = EVICTIONS[self.eviction]
        return lambda n_pages, number: make(n_pages, random.Random(f"{seed}, worker {number}"))

    def route(self, seed: int, *, page_size: int, diligence: Diligence = EVERY_OUTCOME) -> Router:
        """Return a new router for pages of ``page_size`` tokens."""
        make, draws = EVICTIONS[self.eviction], random.Random(f"{seed}, mirrors")
        return ROUTERS[self.router](
            Surroundings(
                page_size=page_size,
                rng=np.random.default_rng(seed),
                eviction=lambda n_pages: make(n_pages, draws),
                diligence=diligence,
            )
        )
