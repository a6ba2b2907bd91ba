"""RLT, randomized leaf-token eviction (arXiv 2601.18999), and its unmarked control.

A marking algorithm on a prefix tree. Time falls into phases; every run used in a phase is marked.
To evict, a uniformly random unmarked evictable leaf loses its last page, again and again, until
enough is free. When the marked pages fill the cache, or no unmarked leaf is left, a new phase
begins and all marks clear. Against any request sequence the expected number of misses is within a
factor O(log capacity) of the clairvoyant optimum; for deterministic policies such as LRU that
factor is the capacity.

A mark is the number of the phase it was made in, so that clearing all of them is one addition.
Evictable leaves stand in one array for the marked and one for the unmarked, from which a leaf
leaves by changing places with the last: drawing a victim costs O(1), whatever the tree's size.
"""

import random
from collections.abc import Sequence

from triskele.serve.cache.radix import Node


class RandomizedLeafToken:
    """Evicts the last page of a random unmarked leaf.

    Parameters
    ----------
    capacity
        Pages whose marking ends a phase: the cache's own capacity.
    rng
        The source of all draws.
    """

    grain: int | None = 1

    def __init__(self, capacity: int, rng: random.Random) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of at least one page, got {capacity}")
        self._capacity = capacity
        self._draw = rng.random
        self._leaves: list[Node] = []
        self._marked: list[Node] = []
        self.phase = 1
        self.n_marked_pages = 0

    def use(self, key: bytes, way: Sequence[Node], *, stride: int, is_new: bool) -> None:
        """Mark the way; a first use beyond the capacity begins the next phase."""
        fresh = self._unmarked(way)
        n_fresh = sum([len(node.key) for node in fresh]) // stride
        if self.n_marked_pages + n_fresh > self._capacity:
            self._begin_phase()
            fresh = way
            n_fresh = sum([len(node.key) for node in way]) // stride
        if fresh and fresh[0].slot is not None:
            _leave(self._leaves, fresh[0])
            _join(self._marked, fresh[0])
        for node in fresh:
            node.epoch = self.phase
        self.n_marked_pages += n_fresh

    def add(self, leaf: Node) -> None:
        """Take up a leaf on the side that its mark says."""
        _join(self._marked if leaf.epoch == self.phase else self._leaves, leaf)

    def discard(self, leaf: Node) -> None:
        """Forget a leaf."""
        _leave(self._marked if leaf.epoch == self.phase else self._leaves, leaf)

    def victim(self) -> Node | None:
        """Draw an unmarked leaf; with none left, begin the next phase first."""
        if not self._leaves:
            if not self._marked:
                return None
            self._begin_phase()
        return self._leaves[int(self._draw() * len(self._leaves))]

    def _unmarked(self, way: Sequence[Node]) -> Sequence[Node]:
        """Return the part of a way that has no mark: what is above a mark is marked."""
        for n, node in enumerate(way):
            if node.epoch == self.phase:
                return way[:n]
        return way

    def _begin_phase(self) -> None:
        """Clear all marks; every leaf was marked at most once since, which pays for moving it."""
        self.phase += 1
        self.n_marked_pages = 0
        if len(self._marked) > len(self._leaves):
            self._leaves, self._marked = self._marked, self._leaves
        for leaf in self._marked:
            _join(self._leaves, leaf)
        self._marked.clear()


class RandomLeaf:
    """Evicts the last page of a random leaf, marked or not: what marking is worth shows here."""

    grain: int | None = 1

    def __init__(self, rng: random.Random) -> None:
        self._draw = rng.random
        self._leaves: list[Node] = []

    def use(self, key: bytes, way: Sequence[Node], *, stride: int, is_new: bool) -> None:
        """Do nothing: uses leave no trace."""

    def add(self, leaf: Node) -> None:
        """Take up a leaf."""
        _join(self._leaves, leaf)

    def discard(self, leaf: Node) -> None:
        """Forget a leaf."""
        _leave(self._leaves, leaf)

    def victim(self) -> Node | None:
        """Draw a leaf."""
        if not self._leaves:
            return None
        return self._leaves[int(self._draw() * len(self._leaves))]


def _join(side: list[Node], leaf: Node) -> None:
    leaf.slot = len(side)
    side.append(leaf)


def _leave(side: list[Node], leaf: Node) -> None:
    """Take a leaf out of an array; the last one takes its place."""
    slot = leaf.slot
    assert slot is not None
    assert side[slot] is leaf
    last = side.pop()
    if last is not leaf:
        side[slot] = last
        last.slot = slot
    leaf.slot = None
