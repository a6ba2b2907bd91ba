"""SIEVE (Zhang et al., NSDI 2024) on the leaves of a prefix tree.

Leaves stand in a queue in the order they came. A hand moves from the oldest toward the newest: a
leaf that was used since the hand last passed is spared once, any other is evicted. The hand stays
where it is between evictions, which is what tells SIEVE from CLOCK. A node that becomes evictable
later than it was inserted, because its last child or its last pin went, takes its place at the
hand: it is as old as what stands there, and the mark it may have earned still spares it.
"""

from collections.abc import Sequence

from triskele.serve.cache.radix import Node


class _Place:
    """A leaf's place in the queue."""

    __slots__ = ("is_used", "leaf", "newer", "older")

    def __init__(self, leaf: Node | None) -> None:
        self.leaf = leaf
        self.is_used = False
        self.older: _Place = self
        self.newer: _Place = self


class Sieve:
    """Evicts whole leaves by SIEVE, in O(1) amortised."""

    grain: int | None = None

    def __init__(self) -> None:
        self._places: dict[Node, _Place] = {}
        self._used: set[Node] = set()
        # One ring: the end's newer neighbour is the oldest leaf, its older one the newest.
        self._end = _Place(None)
        self._hand = self._end

    def use(self, key: bytes, way: Sequence[Node], *, stride: int, is_new: bool) -> None:
        """Mark the leaf as used; an interior node keeps the mark until it is a leaf."""
        for node in way:
            place = self._places.get(node)
            if place is not None:
                place.is_used = True
            elif node.stamp != node.born:
                self._used.add(node)

    def add(self, leaf: Node) -> None:
        """Queue a new leaf last, and one that comes back at the hand."""
        place = _Place(leaf)
        place.is_used = leaf in self._used
        self._used.discard(leaf)
        newer = self._end
        if leaf.stamp != leaf.born:
            # The hand at the end is about to pass to the oldest.
            newer = self._hand if self._hand is not self._end else self._end.newer
        place.newer, place.older = newer, newer.older
        newer.older.newer = place
        newer.older = place
        if newer is self._hand is not self._end:
            self._hand = place
        self._places[leaf] = place

    def discard(self, leaf: Node) -> None:
        """Take a leaf out of the queue."""
        place = self._places.pop(leaf)
        if place.is_used and leaf.key:
            self._used.add(leaf)
        if self._hand is place:
            self._hand = place.newer
        place.older.newer = place.newer
        place.newer.older = place.older

    def victim(self) -> Node | None:
        """Move the hand to the next leaf that was not used, sparing the others once."""
        if not self._places:
            return None
        while self._hand.leaf is None or self._hand.is_used:
            self._hand.is_used = False
            self._hand = self._hand.newer
        return self._hand.leaf
