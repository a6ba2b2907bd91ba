"""Which leaf of the prefix tree goes first: the protocol, and the policies that rank leaves.

A policy is told of every use, of every node that becomes evictable (a leaf that nobody has
pinned) and of every node that ceases to be; asked for a victim, it names one of the evictable
leaves. It never changes the tree. Only leaves are evicted because a hole in a prefix would make
everything below it useless.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from triskele.serve.cache.radix import Node

Rank = Callable[[Node], Any]


class EvictionPolicy(Protocol):
    """Chooses among evictable leaves.

    ``grain`` is how many pages go from the tail of the victim just named before the next is asked
    for; ``None`` stands for the whole leaf.
    """

    grain: int | None

    def use(self, key: bytes, way: Sequence[Node], *, stride: int, is_new: bool) -> None:
        """Note that a request uses what is cached of its key.

        Parameters
        ----------
        key
            The whole key, whatever is cached of it.
        way
            The nodes of its cached prefix, the deepest first, the root left out; empty if nothing
            is cached. Their stamps are new already. Only the first may be a leaf; one that the
            request has just added is not evictable yet: :meth:`add` follows.
        stride
            Bytes per page.
        is_new
            Whether the request is told of for the first time: not when it inserts what it computed
            beyond a prefix that it has pinned.
        """

    def add(self, leaf: Node) -> None:
        """Take up a leaf that has become evictable."""

    def discard(self, leaf: Node) -> None:
        """Forget a leaf that is no longer evictable."""

    def victim(self) -> Node | None:
        """Return the leaf to evict next, or ``None`` if there is no evictable leaf."""


class RankedLeaves:
    """Evicts the leaf of the smallest rank, in O(log leaves).

    Parameters
    ----------
    rank
        A leaf's rank, from what uses have left on it; it may only change with a use.
    """

    grain: int | None = None

    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        self._heap: list[tuple[Any, int, Node]] = []
        self._n_leaves = 0
        self._n_tickets = 0

    def use(self, key: bytes, way: Sequence[Node], *, stride: int, is_new: bool) -> None:
        """Rank the leaf anew, if there is an evictable one."""
        if way and way[0].ticket is not None:
            self._push(way[0])

    def add(self, leaf: Node) -> None:
        """Rank a leaf that has become evictable."""
        assert leaf.ticket is None
        self._n_leaves += 1
        self._push(leaf)

    def discard(self, leaf: Node) -> None:
        """Forget the leaf; its entries in the heap are void from now on."""
        assert leaf.ticket is not None
        self._n_leaves -= 1
        leaf.ticket = None

    def victim(self) -> Node | None:
        """Return the evictable leaf of the smallest rank."""
        while self._heap:
            _, ticket, leaf = self._heap[0]
            if leaf.ticket == ticket:
                return leaf
            heapq.heappop(self._heap)
        return None

    def _push(self, leaf: Node) -> None:
        self._n_tickets += 1
        leaf.ticket = self._n_tickets
        if len(self._heap) > 2 * self._n_leaves + 64:
            self._heap = [entry for entry in self._heap if entry[2].ticket == entry[1]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (self._rank(leaf), self._n_tickets, leaf))


def least_recently_used() -> RankedLeaves:
    """Return leaf-LRU, SGLang's default: the leaf whose last use is oldest goes first."""
    return RankedLeaves(lambda leaf: leaf.stamp)


def least_frequently_used() -> RankedLeaves:
    """Return leaf-LFU: the leaf with the fewest uses goes first, the older one of equals."""
    return RankedLeaves(lambda leaf: (leaf.n_hits, leaf.stamp))


def segmented(protect_after: int = 2) -> RankedLeaves:
    """Return SLRU as SGLang has it: leaves used fewer than ``protect_after`` times go first."""
    return RankedLeaves(lambda leaf: (leaf.n_hits >= protect_after, leaf.stamp))


def first_in_first_out() -> RankedLeaves:
    """Return FIFO: the leaf that was inserted first goes first."""
    return RankedLeaves(lambda leaf: leaf.born)
