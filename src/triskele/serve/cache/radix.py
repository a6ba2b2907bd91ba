"""A radix tree over pages: runs of cached pages that share their prefixes.

A key is ``bytes``, a whole number of pages of ``stride`` bytes each: token ids packed by
``token_key``, or block hashes packed by ``hash_key``. A node holds a run of one or more pages; its
children begin with different pages, so that a key has one way down. Runs are compared as bytes,
which costs a few memory comparisons per node and never a Python step per token.

The tree knows neither capacity nor eviction. Its nodes carry the marks that eviction policies
leave on them, only so that a split can copy them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

TOKEN_BYTES = 4
HASH_BYTES = 8


def token_key(tokens: ArrayLike, page_size: int) -> bytes:
    """Return the key of the whole pages of ``tokens``; a partial last page is left out."""
    ids = np.asarray(tokens, dtype="<u4")
    return ids[: len(ids) // page_size * page_size].tobytes()


def hash_key(hashes: ArrayLike) -> bytes:
    """Return the key of a sequence of 64-bit block hashes, one page each."""
    return np.asarray(hashes, dtype="<u8").tobytes()


class Node:
    """A run of pages below ``parent``.

    Attributes
    ----------
    key, payloads
        The run's bytes, and one opaque value per page, or ``None`` for a tree without payloads.
    children
        By their first page.
    n_pins
        How many holders of a pin go through this node.
    stamp, n_hits, born
        Sequence number of the last use, uses since insertion, sequence number of that.
    epoch, slot, ticket, past
        A policy's own: when the node was marked, where it stands, which entry is its last, what is
        remembered of its pages.
    """

    __slots__ = (
        "born",
        "children",
        "epoch",
        "key",
        "n_hits",
        "n_pins",
        "parent",
        "past",
        "payloads",
        "slot",
        "stamp",
        "ticket",
    )

    def __init__(self, key: bytes, parent: "Node | None", payloads: list[Any] | None) -> None:
        self.key = key
        self.parent = parent
        self.payloads = payloads
        self.children: dict[bytes, Node] = {}
        self.n_pins = 0
        self.stamp = 0
        self.n_hits = 0
        self.born = 0
        self.epoch = 0
        self.slot: int | None = None
        self.ticket: int | None = None
        self.past: Any = None


class RadixTree:
    """Runs of pages by prefix.

    Parameters
    ----------
    stride
        Bytes per page: ``TOKEN_BYTES * page_size`` or ``HASH_BYTES``.
    """

    def __init__(self, stride: int) -> None:
        if stride < 1:
            raise ValueError(f"expected a stride of at least one byte, got {stride}")
        self.stride = stride
        self.root = Node(b"", None, None)
        self.n_pages = 0

    def n_pages_of(self, node: Node) -> int:
        """Return the length of a node's run in pages."""
        return len(node.key) // self.stride

    def descend(self, key: bytes) -> tuple[Node, int, int]:
        """Follow ``key`` as far as it is in the tree.

        Returns
        -------
        node, n_whole, n_inside
            The deepest node that matches as a whole, the pages down to its end, and how many pages
            of one of its children match beyond.
        """
        if len(key) % self.stride:
            raise ValueError(f"expected whole pages of {self.stride} bytes, got {len(key)} bytes")
        node, at, stride = self.root, 0, self.stride
        while at < len(key):
            child = node.children.get(key[at : at + stride])
            if child is None:
                break
            if not key.startswith(child.key, at):
                return node, at // stride, self._n_common(child.key, key, at)
            node, at = child, at + len(child.key)
        return node, at // stride, 0

    def cut(self, node: Node, key: bytes, n_whole: int, n_inside: int) -> Node:
        """Make a node end where :meth:`descend` ended, and return it."""
        if n_inside == 0:
            return node
        at = n_whole * self.stride
        return self.split(node.children[key[at : at + self.stride]], n_inside)

    def split(self, node: Node, n_upper: int) -> Node:
        """Cut a run in two and return the new upper part; ``node`` keeps what is below it."""
        assert node.parent is not None
        assert 0 < n_upper < self.n_pages_of(node)
        bytes_upper = n_upper * self.stride
        payloads = node.payloads
        upper = Node(
            node.key[:bytes_upper], node.parent, None if payloads is None else payloads[:n_upper]
        )
        upper.n_pins, upper.stamp, upper.n_hits = node.n_pins, node.stamp, node.n_hits
        upper.born, upper.epoch, upper.past = node.born, node.epoch, node.past
        node.parent.children[node.key[: self.stride]] = upper
        node.key = node.key[bytes_upper:]
        node.payloads = None if payloads is None else payloads[n_upper:]
        node.parent = upper
        upper.children[node.key[: self.stride]] = node
        return upper

    def grow(self, parent: Node, key: bytes, payloads: Sequence[Any] | None = None) -> Node:
        """Add a leaf with the run ``key`` below ``parent``."""
        assert len(key) >= self.stride
        assert key[: self.stride] not in parent.children
        leaf = Node(key, parent, None if payloads is None else list(payloads))
        parent.children[key[: self.stride]] = leaf
        self.n_pages += self.n_pages_of(leaf)
        return leaf

    def trim(self, leaf: Node, n_pages: int) -> list[Any]:
        """Drop the last ``n_pages`` of a leaf, and the leaf with its last page.

        Returns the payloads of the dropped pages; empty for a tree without payloads.
        """
        assert n_pages > 0
        assert not leaf.children
        n_bytes = len(leaf.key) - n_pages * self.stride
        assert n_bytes >= 0
        self.n_pages -= n_pages
        if n_bytes:
            leaf.key = leaf.key[:n_bytes]
        else:
            assert leaf.parent is not None
            del leaf.parent.children[leaf.key[: self.stride]]
        if leaf.payloads is None:
            return []
        dropped = leaf.payloads[-n_pages:]
        del leaf.payloads[-n_pages:]
        return dropped

    def nodes(self) -> Iterator[Node]:
        """Yield every node but the root, parents first."""
        waiting = list(self.root.children.values())
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children.values())

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        n_pages = 0
        assert self.root.parent is None
        for node in self.nodes():
            assert node.parent is not None
            assert node.parent.children[node.key[: self.stride]] is node
            assert node.key
            assert len(node.key) % self.stride == 0
            assert node.payloads is None or len(node.payloads) == self.n_pages_of(node)
            below = sum(child.n_pins > 0 for child in node.children.values())
            assert node.n_pins >= max((c.n_pins for c in node.children.values()), default=0)
            assert node.n_pins > 0 or below == 0
            n_pages += self.n_pages_of(node)
        assert n_pages == self.n_pages

    def _n_common(self, run: bytes, key: bytes, at: int) -> int:
        """Count the leading pages that ``run`` shares with ``key`` from byte ``at`` on."""
        low, high = 1, min(len(run), len(key) - at) // self.stride
        while low < high:
            middle = (low + high + 1) // 2
            if key.startswith(run[: middle * self.stride], at):
                low = middle
            else:
                high = middle - 1
        return low
