"""Eviction by Gittins index: what is least worth its room goes first, as learned so far.

A cached page takes room until its next use, which may never come. Its Gittins index is the most
uses to be expected per request of waiting, over all ages at which one might give up. Keeping the
pages of the largest index is the best that can be done by who knows how long pages of each kind
wait, but not which of them will come back. That knowledge is learned online, from nothing but keys
and their order: see ``reuse`` and ``lifetable``. Before there is any, the index falls with the time
since the last use, and the policy is LRU.

A leaf may hold runs of different worth: pages shared with other requests, those of one conversation
alone, its last page, which is often partial and then never comes back. They go run by run from the
tail. The victim is the leaf of the lowest index in a sample of the evictable leaves, to which the
runners-up of earlier samples belong.
"""

import random
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import count

from triskele.serve.cache.lifetable import HORIZON, gittins_indices
from triskele.serve.cache.radix import Node
from triskele.serve.cache.reuse import ReuseHistory

N_DRAWN = 24
"""Leaves drawn for a sample."""
N_KEPT = 8
"""Best of a sample that belong to the next one too."""
N_NAMED = 8
"""Victims taken from a sample at most; a request begins a new one."""
UPDATE_AFTER = (16, 256)
"""Indices are computed anew after an eighth of the requests so far, but between these two."""
PER_AGE = 1e-12
"""Subtracted per request of age: of two equal indices, the older one is smaller."""


class GittinsLeaves:
    """Evicts the run of least worth at the tail of a leaf.

    Parameters
    ----------
    capacity
        Pages in the cache.
    rng
        The source of all draws.
    memory
        Pages to remember, in multiples of the capacity; each takes little more than its key.
    """

    def __init__(self, capacity: int, rng: random.Random, *, memory: int = 32) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of at least one page, got {capacity}")
        if memory < 1:
            raise ValueError(f"expected a memory of at least the capacity, got {memory} times it")
        self.grain: int | None = None
        self._memory = capacity * memory
        self._history: ReuseHistory | None = None
        self._rng = rng
        self._leaves: list[Node] = []
        # Index, number of the entry, leaf.
        self._ranking: list[tuple[float, int, Node]] = []
        self._entry = count()
        self._ranked_at = 0
        self._n_named = 0
        self._next_update = 0
        self._indices: list[list[float]] = []

    def use(self, key: bytes, way: Sequence[Node], *, stride: int, is_new: bool) -> None:
        """Learn from the request, and give each node the remembered run of its last page."""
        if self._history is None:
            self._history = ReuseHistory(self._memory, stride)
        history = self._history
        run = history.observe(key) if is_new else history.extend(key)
        if history.now >= self._next_update:
            self._update(history)
        end = sum([len(node.key) for node in way])
        begin = len(key) - len(run.key)
        for node in way:
            while begin >= end:
                assert run.parent is not None
                run = run.parent
                begin -= len(run.key)
            node.past = run
            end -= len(node.key)

    def add(self, leaf: Node) -> None:
        """Take up a leaf."""
        leaf.slot = len(self._leaves)
        self._leaves.append(leaf)
        if self._history is not None and self._history.now == self._ranked_at:
            # Most often the parent of a victim, and as little worth.
            self._rank([leaf], self._history)

    def discard(self, leaf: Node) -> None:
        """Forget a leaf; the last one takes its place."""
        slot = leaf.slot
        assert slot is not None
        last = self._leaves.pop()
        if last is not leaf:
            self._leaves[slot] = last
            last.slot = slot
        leaf.slot = None

    def victim(self) -> Node | None:
        """Return the leaf of the lowest index in a sample; ``grain`` is the run at its tail."""
        history, ranking = self._history, self._ranking
        if history is None or not self._leaves:
            return None
        if history.now != self._ranked_at or self._n_named == N_NAMED:
            self._draw(history)
        self._n_named += 1
        while True:
            if not ranking:
                self._draw(history)
            leaf = ranking[0][2]
            if leaf.slot is None:
                heappop(ranking)
                continue
            end = _n_bytes_above(leaf) + len(leaf.key)
            begin = _n_bytes_above(leaf.past)
            if begin < end:
                self.grain = (end - begin) // history.stride
                return leaf
            # The run it was ranked by is gone; another is its tail.
            heappop(ranking)
            while begin >= end:
                leaf.past = leaf.past.parent
                begin -= len(leaf.past.key)
            self._rank([leaf], history)

    def _draw(self, history: ReuseHistory) -> None:
        """Rank another sample, and the best of the last one."""
        leaves = self._leaves
        if len(leaves) > N_DRAWN + N_KEPT:
            draw, n_leaves = self._rng.random, len(leaves)
            n_kept = min(N_KEPT, len(self._ranking))
            kept = [heappop(self._ranking)[2] for _ in range(n_kept)]
            leaves = [leaves[int(draw() * n_leaves)] for _ in range(N_DRAWN)]
            leaves += [leaf for leaf in kept if leaf.slot is not None]
        self._ranking.clear()
        # None twice: after its tail has gone, a leaf's index is another.
        self._rank(dict.fromkeys(leaves), history)
        self._ranked_at, self._n_named = history.now, 0

    def _rank(self, leaves: Iterable[Node], history: ReuseHistory) -> None:
        now, bin_of, rows = history.now, history.table.bin_of, self._indices
        ranking, entry = self._ranking, self._entry
        for leaf in leaves:
            wait = leaf.past.past
            age = now - wait.since
            index = rows[wait.kind][bin_of[age] if age < HORIZON else -1]
            heappush(ranking, (index - PER_AGE * age, next(entry), leaf))

    def _update(self, history: ReuseHistory) -> None:
        """Compute the indices of all kinds and ages; the last row is of what is left behind."""
        now, table = history.now, history.table
        self._indices = gittins_indices(table.hazards(now), table.widths).tolist()
        self._indices.append([0.0] * len(table.widths))
        soonest, latest = UPDATE_AFTER
        self._next_update = now + min(max(now // 8, soonest), latest)


def _n_bytes_above(node: Node) -> int:
    n_bytes, step = 0, node.parent
    while step is not None:
        n_bytes += len(step.key)
        step = step.parent
    return n_bytes
