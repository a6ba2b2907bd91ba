"""The prefix cache: a radix tree with a capacity, an eviction policy, pins and an account of hits.

One object serves the simulator, the engine and the router's mirror of a worker. It decides what
stays; where the pages' contents lie is the business of whoever holds the payloads. It never reads
a clock: order is the order of calls.

Every page is in one of three places: in the tree, reserved (handed out for a running request and
not in the tree yet), or free. Their sum is the capacity at all times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triskele.serve.cache.eviction import EvictionPolicy
from triskele.serve.cache.radix import HASH_BYTES, TOKEN_BYTES, Node, RadixTree


@dataclass(frozen=True, slots=True)
class Match:
    """The longest cached prefix of a key: its length in pages, and their payloads if there are."""

    n_pages: int
    payloads: list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Pin:
    """A prefix that eviction may not touch until :meth:`PrefixCache.unpin`."""

    node: Node
    n_pages: int
    payloads: list[Any]


@dataclass(frozen=True, slots=True)
class Insertion:
    """What became of a key: pages found, pages added, and payloads that are free again.

    ``freed`` holds the payloads of evicted pages and, of the given ones, those that were not
    needed because their page was there already or had no room.
    """

    n_found: int
    n_added: int
    freed: list[Any]


@dataclass(slots=True)
class Account:
    """Pages asked for, found, added and evicted since the beginning."""

    n_asked: int = 0
    n_found: int = 0
    n_added: int = 0
    n_evicted: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the pages asked for that were found; 0 before the first."""
        return self.n_found / self.n_asked if self.n_asked else 0.0


class PrefixCache:
    """Caches runs of pages by prefix, within a capacity.

    Parameters
    ----------
    capacity
        Number of pages.
    policy
        What goes first.
    stride
        Bytes per page in keys: ``TOKEN_BYTES * page_size``, or ``HASH_BYTES`` for block hashes.

    Examples
    --------
    >>> cache = PrefixCache(1000, least_recently_used(), stride=TOKEN_BYTES * 16)
    >>> cache.insert(token_key(prompt, 16))
    >>> cache.match(token_key(another, 16)).n_pages
    """

    def __init__(self, capacity: int, policy: EvictionPolicy, *, stride: int = HASH_BYTES) -> None:
        if capacity < 0:
            raise ValueError(f"expected a capacity of at least 0 pages, got {capacity}")
        self.capacity = capacity
        self.account = Account()
        self.n_reserved = 0
        self.n_pinned = 0
        self._policy = policy
        self._tree = RadixTree(stride)
        self._pins: set[Pin] = set()
        self._clock = 0

    @classmethod
    def for_tokens(cls, capacity: int, policy: EvictionPolicy, *, page_size: int) -> "PrefixCache":
        """Return a cache whose keys are made by ``token_key(tokens, page_size)``."""
        return cls(capacity, policy, stride=TOKEN_BYTES * page_size)

    @property
    def n_pages(self) -> int:
        """Pages in the tree."""
        return self._tree.n_pages

    @property
    def n_free(self) -> int:
        """Pages neither in the tree nor reserved."""
        return self.capacity - self._tree.n_pages - self.n_reserved

    def match(self, key: bytes) -> Match:
        """Return the longest cached prefix of ``key``; changes nothing."""
        node, n_whole, n_inside = self._tree.descend(key)
        payloads = _payloads(_way_to(node))
        if n_inside:
            at = n_whole * self._tree.stride
            child = node.children[key[at : at + self._tree.stride]]
            payloads += (child.payloads or [])[:n_inside]
        return Match(n_whole + n_inside, payloads)

    def pin(self, key: bytes) -> Pin:
        """Use and hold the longest cached prefix of ``key``, and enter it into the account."""
        node, n_whole, n_inside = self._tree.descend(key)
        n_found = n_whole + n_inside
        way = _way_to(self._tree.cut(node, key, n_whole, n_inside))
        self._enter(key, n_found)
        self._stamp(way, is_new=True)
        self._policy.use(key, way, stride=self._tree.stride, is_new=True)
        return self._hold(way, n_found)

    def unpin(self, pin: Pin) -> None:
        """Let go of a pinned prefix; once per pin."""
        self._remove(pin)
        self._let_go(_way_to(pin.node))

    def renew(self, pin: Pin, key: bytes) -> Pin:
        """Let go of ``pin`` and hold the longest cached prefix of ``key`` instead.

        For a running request whose pages have been inserted: it is the same use, so neither the
        account nor the policy hears of it.
        """
        node, n_whole, n_inside = self._tree.descend(key)
        self._remove(pin)
        way = _way_to(self._tree.cut(node, key, n_whole, n_inside))
        renewed = self._hold(way, n_whole + n_inside)
        self._let_go(_way_to(pin.node))
        return renewed

    def reserve(self, n_pages: int) -> list[Any] | None:
        """Take ``n_pages`` for a running request, evicting what is missing.

        Returns the payloads of evicted pages, or ``None``, with nothing changed, if there is no
        room because the rest is pinned or reserved.
        """
        if n_pages < 0:
            raise ValueError(f"expected at least 0 pages, got {n_pages}")
        if n_pages > self.capacity - self.n_reserved - self.n_pinned:
            return None
        freed = self.evict(n_pages - self.n_free)
        self.n_reserved += n_pages
        return freed

    def release(self, n_pages: int) -> None:
        """Give reserved pages back."""
        if not 0 <= n_pages <= self.n_reserved:
            raise ValueError(f"expected at most the {self.n_reserved} reserved, got {n_pages}")
        self.n_reserved -= n_pages

    def insert(
        self,
        key: bytes,
        payloads: Sequence[Any] | None = None,
        *,
        pin: Pin | None = None,
        n_reserved: int = 0,
    ) -> Insertion:
        """Use the cached prefix of ``key`` and add the rest, evicting what is missing.

        Parameters
        ----------
        key
            Whole pages.
        payloads
            One per page of the key.
        pin
            What the same request has pinned: its use was counted then and is not counted again.
        n_reserved
            How many reserved pages this key was computed in; they are given back first, so that
            a request's own pages become the tree's without any eviction.

        Returns
        -------
        Insertion
            If pins and reservations leave too little room, only the first pages are added.
        """
        n_keys = len(key) // self._tree.stride
        if payloads is not None and len(payloads) != n_keys:
            raise ValueError(f"expected {n_keys} payloads, one per page, got {len(payloads)}")
        tree, is_new = self._tree, pin is None
        node, n_whole, n_inside = tree.descend(key)
        self.release(n_reserved)
        n_found = n_whole + n_inside
        node = tree.cut(node, key, n_whole, n_inside)
        if is_new:
            self._enter(key, n_found)
        freed: list[Any] = []
        if n_keys - n_found > self.n_free:
            freed = self._evict_beside(node, n_keys - n_found - self.n_free)
        n_added = min(n_keys - n_found, self.n_free)
        if payloads is not None:
            freed += [*payloads[:n_found], *payloads[n_found + n_added :]]
        way = _way_to(node)
        self._stamp(way, is_new=is_new)
        if n_added:
            way.insert(0, self._grow(node, key, n_found, n_added, payloads))
        self._policy.use(key, way, stride=tree.stride, is_new=is_new)
        if n_added:
            self._policy.add(way[0])
        return Insertion(n_found, n_added, freed)

    def evict(self, n_pages: int) -> list[Any]:
        """Evict ``n_pages`` pages, or all that may go, and return their payloads."""
        freed: list[Any] = []
        policy, tree, n_left = self._policy, self._tree, n_pages
        while n_left > 0:
            leaf = policy.victim()
            if leaf is None:
                break
            n_run = len(leaf.key) // tree.stride
            grain = policy.grain
            n_dropped = n_run if grain is None or grain > n_run else grain
            if n_dropped > n_left:
                n_dropped = n_left
            n_left -= n_dropped
            if n_dropped < n_run:
                freed += tree.trim(leaf, n_dropped)
                continue
            policy.discard(leaf)
            freed += tree.trim(leaf, n_run)
            if leaf.parent is not None and _is_evictable(leaf.parent):
                policy.add(leaf.parent)
        self.account.n_evicted += n_pages - n_left
        return freed

    def clear(self) -> list[Any]:
        """Evict everything that is not pinned."""
        return self.evict(self._tree.n_pages)

    def leaf_keys(self) -> list[bytes]:
        """Return the key of every leaf, the one used longest ago first.

        Inserted in this order into an empty cache, they make its tree again.
        """
        leaves = [node for node in self._tree.nodes() if not node.children]
        leaves.sort(key=lambda node: node.stamp)
        return [b"".join(node.key for node in reversed(_way_to(leaf))) for leaf in leaves]

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._tree.check()
        assert self.n_reserved >= 0
        assert self.n_free >= 0
        pinned = (node for node in self._tree.nodes() if node.n_pins)
        assert self.n_pinned == sum(map(self._tree.n_pages_of, pinned))

    def _enter(self, key: bytes, n_found: int) -> None:
        self.account.n_asked += len(key) // self._tree.stride
        self.account.n_found += n_found

    def _stamp(self, way: list[Node], *, is_new: bool) -> None:
        self._clock += 1
        for node in way:
            node.stamp = self._clock
            node.n_hits += is_new

    def _evict_beside(self, node: Node, n_pages: int) -> list[Any]:
        """Evict, but not ``node``; above it nothing becomes a leaf."""
        if _is_evictable(node):
            self._policy.discard(node)
        node.n_pins += 1
        freed = self.evict(n_pages)
        node.n_pins -= 1
        if _is_evictable(node):
            self._policy.add(node)
        return freed

    def _grow(
        self, node: Node, key: bytes, n_found: int, n_added: int, payloads: Sequence[Any] | None
    ) -> Node:
        """Add a leaf, of which the policy has not heard yet."""
        stride = self._tree.stride
        run = key[n_found * stride : (n_found + n_added) * stride]
        if _is_evictable(node):
            self._policy.discard(node)
        own = None if payloads is None else payloads[n_found : n_found + n_added]
        leaf = self._tree.grow(node, run, own)
        leaf.stamp = leaf.born = self._clock
        leaf.n_hits = 1
        self.account.n_added += n_added
        return leaf

    def _hold(self, way: list[Node], n_pages: int) -> Pin:
        if way and _is_evictable(way[0]):
            self._policy.discard(way[0])
        n_bytes = 0
        for node in way:
            if node.n_pins == 0:
                n_bytes += len(node.key)
            node.n_pins += 1
        self.n_pinned += n_bytes // self._tree.stride
        pin = Pin(way[0] if way else self._tree.root, n_pages, _payloads(way))
        self._pins.add(pin)
        return pin

    def _remove(self, pin: Pin) -> None:
        if pin not in self._pins:
            raise ValueError("expected a pin that is still held, got one that was let go")
        self._pins.remove(pin)

    def _let_go(self, way: list[Node]) -> None:
        n_bytes = 0
        for node in way:
            node.n_pins -= 1
            if node.n_pins == 0:
                n_bytes += len(node.key)
        self.n_pinned -= n_bytes // self._tree.stride
        if way and _is_evictable(way[0]):
            self._policy.add(way[0])


def _is_evictable(node: Node) -> bool:
    return not node.children and node.n_pins == 0 and node.parent is not None


def _way_to(node: Node) -> list[Node]:
    """Return a node and all above it but the root, the deepest first."""
    way, step = [], node
    while step.parent is not None:
        way.append(step)
        step = step.parent
    return way


def _payloads(way: list[Node]) -> list[Any]:
    """Return the payloads down a way; empty for a tree without payloads."""
    if not way or way[0].payloads is None:
        return []
    return [payload for node in reversed(way) for payload in node.payloads or ()]
