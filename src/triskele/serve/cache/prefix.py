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
        payloads = _payloads_down_to(node)
        if n_inside:
            at = n_whole * self._tree.stride
            child = node.children[key[at : at + self._tree.stride]]
            payloads += (child.payloads or [])[:n_inside]
        return Match(n_whole + n_inside, payloads)

    def pin(self, key: bytes) -> Pin:
        """Use and hold the longest cached prefix of ``key``, and enter it into the account."""
        node = self._enter(key, *self._tree.descend(key), is_use=True)
        self._hold(node)
        pin = Pin(node, self._n_pages_down_to(node), _payloads_down_to(node))
        self._pins.add(pin)
        return pin

    def unpin(self, pin: Pin) -> None:
        """Let go of a pinned prefix; once per pin."""
        if pin not in self._pins:
            raise ValueError("expected a pin that is still held, got one that was let go")
        self._pins.remove(pin)
        self._let_go(pin.node)

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
        place = self._tree.descend(key)
        self.release(n_reserved)
        node = self._enter(key, *place, is_use=pin is None)
        n_found = self._n_pages_down_to(node)
        freed: list[Any] = []
        if n_keys - n_found > self.n_free:
            self._hold(node)
            freed = self.evict(n_keys - n_found - self.n_free)
            self._let_go(node)
        n_added = min(n_keys - n_found, self.n_free)
        if payloads is not None:
            freed += [*payloads[:n_found], *payloads[n_found + n_added :]]
        if n_added:
            self._grow(node, key, n_found, n_added, payloads)
        return Insertion(n_found, n_added, freed)

    def evict(self, n_pages: int) -> list[Any]:
        """Evict ``n_pages`` pages, or all that may go, and return their payloads."""
        freed: list[Any] = []
        policy, tree = self._policy, self._tree
        while n_pages > 0:
            leaf = policy.victim()
            if leaf is None:
                break
            n_run = tree.n_pages_of(leaf)
            n_dropped = min(n_pages, n_run, policy.grain or n_run)
            if n_dropped == n_run:
                policy.discard(leaf)
            freed += tree.trim(leaf, n_dropped)
            parent = leaf.parent
            if n_dropped == n_run and parent is not None and _is_evictable(parent):
                policy.add(parent)
            n_pages -= n_dropped
            self.account.n_evicted += n_dropped
        return freed

    def clear(self) -> list[Any]:
        """Evict everything that is not pinned."""
        return self.evict(self._tree.n_pages)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._tree.check()
        assert self.n_reserved >= 0
        assert self.n_free >= 0
        pinned = (node for node in self._tree.nodes() if node.n_pins)
        assert self.n_pinned == sum(map(self._tree.n_pages_of, pinned))

    def _enter(self, key: bytes, node: Node, n_whole: int, n_inside: int, *, is_use: bool) -> Node:
        """Make a node end where ``key`` left the tree, touch the way to it, and return it."""
        if is_use:
            self.account.n_asked += len(key) // self._tree.stride
            self.account.n_found += n_whole + n_inside
        node = self._tree.cut(node, key, n_whole, n_inside)
        self._touch(node, is_use=is_use)
        return node

    def _touch(self, node: Node, *, is_use: bool) -> None:
        """Stamp a node and all above it."""
        self._clock += 1
        step: Node | None = node
        while step is not None and step.parent is not None:
            step.stamp = self._clock
            step.n_hits += is_use
            self._policy.touch(step, self._tree.n_pages_of(step))
            step = step.parent

    def _grow(
        self, node: Node, key: bytes, n_found: int, n_added: int, payloads: Sequence[Any] | None
    ) -> None:
        stride = self._tree.stride
        run = key[n_found * stride : (n_found + n_added) * stride]
        if _is_evictable(node):
            self._policy.discard(node)
        own = None if payloads is None else payloads[n_found : n_found + n_added]
        leaf = self._tree.grow(node, run, own)
        leaf.stamp = leaf.born = self._clock
        leaf.n_hits = 1
        self._policy.touch(leaf, n_added)
        self._policy.add(leaf)
        self.account.n_added += n_added

    def _hold(self, node: Node) -> None:
        step: Node | None = node
        while step is not None:
            if _is_evictable(step):
                self._policy.discard(step)
            if step.n_pins == 0:
                self.n_pinned += self._tree.n_pages_of(step)
            step.n_pins += 1
            step = step.parent

    def _let_go(self, node: Node) -> None:
        step: Node | None = node
        while step is not None:
            step.n_pins -= 1
            if step.n_pins == 0:
                self.n_pinned -= self._tree.n_pages_of(step)
            if _is_evictable(step):
                self._policy.add(step)
            step = step.parent

    def _n_pages_down_to(self, node: Node) -> int:
        n_bytes, step = 0, node
        while step.parent is not None:
            n_bytes += len(step.key)
            step = step.parent
        return n_bytes // self._tree.stride


def _is_evictable(node: Node) -> bool:
    return not node.children and node.n_pins == 0 and node.parent is not None


def _payloads_down_to(node: Node) -> list[Any]:
    runs = []
    step: Node | None = node
    while step is not None:
        if step.payloads is not None:
            runs.append(step.payloads)
        step = step.parent
    return [payload for run in reversed(runs) for payload in run]
