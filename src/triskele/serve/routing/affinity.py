"""Peers that send a prompt to where its prefix lies: SGLang and Ray Serve.

Each as its project documents it, with the defaults of its project. Both keep trees of their own,
filled with what they have routed.

Lengths are tokens here. The projects' trees count characters; the threshold on the matched share
compares the same way, but for noise: ``measure`` lets a benchmark put the characters back.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.routing.router import Outcome, Request, Worker
from triskele.serve.routing.trees import TREE_PAGES, Trees


class CacheAware:
    """SGLang's cache-aware policy.

    While the fleet is balanced, a prompt of which one worker's tree matches more than a share goes
    to that worker, any other to the shortest queue; so does every prompt of an unbalanced fleet,
    and a prompt shorter than a page, which leaves no trace in a tree.

    Parameters
    ----------
    rng
        Breaks ties.
    threshold
        Share of the prompt that must match (strictly more).
    absolute, relative
        The fleet is unbalanced when the longest queue exceeds the shortest by more than
        ``absolute`` requests and ``relative`` times.
    fallback
        Where a prompt goes of which no tree matches enough: to the shortest queue, as in today's
        router (sglang-router 0.3), or to the smallest tree, as in the older crate.
    measure
        Length of the prompt of a key; the number of its pages by default.
    tree_pages
        Capacity of each tree.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        threshold: float = 0.3,
        absolute: int = 64,
        relative: float = 1.5,
        fallback: Literal["least loaded", "smallest tree"] = "least loaded",
        measure: Callable[[bytes], float] = lambda key: len(key) // HASH_BYTES,
        tree_pages: int = TREE_PAGES,
    ) -> None:
        self._rng = rng
        self._threshold, self._absolute, self._relative = threshold, absolute, relative
        self._fallback, self._measure = fallback, measure
        self._trees = Trees(tree_pages)

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker with the prefix, the shortest queue or the smallest tree."""
        trees = self._trees
        hashes, _ = trees.update(request, workers)
        trees.load.expect_new(request)
        counts = trees.load.counts[trees.load.roster.present]
        longest, shortest = int(counts.max()), int(counts.min())
        is_unbalanced = longest - shortest > self._absolute and longest > self._relative * shortest
        if is_unbalanced or not hashes:
            slot = trees.load.least(self._rng)
        else:
            held = trees.held(hashes)
            best = held.max(initial=0.0)
            matched = self._measure(request.key[: int(best) * HASH_BYTES])
            if matched > self._threshold * max(1.0, self._measure(request.key)):
                slot = trees.pick(self._rng, held == best)
            elif self._fallback == "smallest tree":
                slot = trees.smallest(self._rng)
            else:
                slot = trees.load.least(self._rng)
        return trees.send(request, slot, hashes)[0]

    def observe(self, outcome: Outcome, now: float) -> None:
        """Count out what has ended."""
        self._trees.load.settle(outcome)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._trees.check()


class PrefixAffinity:
    """Ray Serve's prefix-cache-affinity policy.

    While the fleet is balanced, a prompt goes to the worker whose tree matches most, if that is at
    least a share of it; else to the smallest tree. An unbalanced fleet takes the better of two, and
    so does a prompt shorter than a page, which leaves no trace in a tree.

    Parameters
    ----------
    rng
        Draws the two, and breaks ties.
    threshold
        Share of the prompt that must match.
    imbalance
        The fleet is unbalanced when queues differ by more than this; Ray's default is infinite.
    tree_pages
        Capacity of each tree.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        threshold: float = 0.1,
        imbalance: float = float("inf"),
        tree_pages: int = TREE_PAGES,
    ) -> None:
        self._rng = rng
        self._threshold, self._imbalance = threshold, imbalance
        self._trees = Trees(tree_pages)

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker with the prefix, the smallest tree, or the better of two."""
        trees = self._trees
        hashes, _ = trees.update(request, workers)
        trees.load.expect_new(request)
        present = trees.load.roster.present
        counts = trees.load.counts[present]
        if counts.max() - counts.min() > self._imbalance or not hashes:
            pair = self._rng.choice(present, size=min(2, len(present)), replace=False)
            slot = trees.load.least(self._rng, pair)
        else:
            held = trees.held(hashes)
            best = held.max(initial=0.0)
            if best and best >= self._threshold * len(hashes):
                slot = trees.pick(self._rng, held == best)
            else:
                slot = trees.smallest(self._rng)
        return trees.send(request, slot, hashes)[0]

    def observe(self, outcome: Outcome, now: float) -> None:
        """Count out what has ended."""
        self._trees.load.settle(outcome)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._trees.check()
