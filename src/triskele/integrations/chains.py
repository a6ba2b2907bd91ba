"""RLT over blocks that know their parents, for engines that keep blocks and not a tree.

Such an engine finds a cached block by the hash of everything up to its end, and hands out blocks
one by one. A block of a prefix that goes before the blocks after it leaves a hole: what is beyond
is kept and never found. So a block may go only when none that follows it is cached, or when another
block holds the same. Among those the choice is
:class:`triskele.serve.cache.randomized.RandomizedLeafToken`'s: each block is a leaf of one page.

A block is marked when its user lets go of it. It cannot go before, so nothing is lost by marking it
no earlier.
"""

import random
from collections.abc import Hashable, Iterable, Iterator

from triskele.serve.cache import RandomizedLeafToken
from triskele.serve.cache.radix import Node


class _Link:
    """A place in a chain: what is cached of it, and how many cached places follow it.

    Attributes
    ----------
    key, parent
        Its hash, and the place before it; ``None`` at the beginning, or if that is not cached.
    n_children
        Places after it of which something is cached.
    blocks
        Blocks that hold it, in use or free; none of a place that is only known as a parent.
    """

    __slots__ = ("blocks", "key", "n_children", "parent")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.parent: _Link | None = None
        self.n_children = 0
        self.blocks: list[int] = []


class BlockChains:
    """Cached blocks by number, and which of the free ones goes next.

    Parameters
    ----------
    capacity
        Blocks in all.
    rng
        The source of all draws.
    """

    def __init__(self, capacity: int, rng: random.Random) -> None:
        self._policy = RandomizedLeafToken(capacity, rng)
        self._links: dict[Hashable, _Link] = {}
        self._of_block: dict[int, _Link] = {}
        # In the order in which they were let go of.
        self._free: dict[int, Node] = {}
        # One per block, made when it is first let go of.
        self._nodes: dict[int, Node] = {}

    def __len__(self) -> int:
        """Return how many blocks are free."""
        return len(self._free)

    def __contains__(self, block: int) -> bool:
        """Return whether a block is free."""
        return block in self._free

    def __iter__(self) -> Iterator[int]:
        """Yield the free blocks, those let go of first before the others."""
        return iter(self._free)

    def is_cached(self, block: int) -> bool:
        """Return whether a block holds something, in use or free."""
        return block in self._of_block

    def store(self, block: int, key: Hashable, parent: Hashable | None) -> None:
        """Note that a block in use holds what ``key`` stands for, which follows ``parent``.

        Ignored if it holds something already.
        """
        if block in self._of_block:
            return
        link = self._links.get(key)
        if link is None:
            link = self._links[key] = _Link(key)
        link.blocks.append(block)
        self._of_block[block] = link
        n_blocks = len(link.blocks)
        if n_blocks == 2 and link.n_children:
            self._offer(link)
        if n_blocks > 1 or parent is None:
            return
        above = self._links.get(parent)
        if above is None:
            above = self._links[parent] = _Link(parent)
        link.parent = above
        above.n_children += 1
        if above.n_children == 1 and len(above.blocks) == 1:
            self._withdraw(above)

    def drop(self, block: int) -> None:
        """Note that a block's content is no longer cached; a free one is no longer in here."""
        link = self._of_block.pop(block, None)
        if link is None:
            return
        self.use(block)
        node = self._nodes.get(block)
        if node is not None:
            # What comes into it next has not been used yet.
            node.epoch = 0
        blocks = link.blocks
        blocks.remove(block)
        if blocks:
            if len(blocks) == 1 and link.n_children:
                self._withdraw(link)
            return
        above, link.parent = link.parent, None
        if link.n_children == 0:
            del self._links[link.key]
        if above is None:
            return
        above.n_children -= 1
        if above.n_children == 0:
            if not above.blocks:
                del self._links[above.key]
            elif len(above.blocks) == 1:
                self._offer(above)

    def free(self, blocks: Iterable[int]) -> None:
        """Let go of cached blocks that were in use, the last of a chain first: their use counts."""
        policy, free, links, nodes = self._policy, self._free, self._of_block, self._nodes
        mine = []
        for block in blocks:
            node = nodes.get(block)
            if node is None:
                node = nodes[block] = Node(b"\0", None, [block])
            free[block] = node
            mine.append(node)
        # Twice, because the first may begin a phase: it clears what was marked before of these.
        for _ in range(2):
            phase = policy.phase
            unmarked = [node for node in mine if node.epoch != phase]
            if unmarked:
                policy.use(b"", unmarked, stride=1, is_new=True)
        for node in mine:
            assert node.payloads is not None
            link = links[node.payloads[0]]
            if link.n_children == 0 or len(link.blocks) > 1:
                policy.add(node)

    def use(self, block: int) -> None:
        """Take a block from the free ones, if it is among them."""
        node = self._free.pop(block, None)
        if node is not None and node.slot is not None:
            self._policy.discard(node)

    def evict(self) -> int:
        """Take a random unmarked block that may go, and return it; its content is dropped.

        Raises
        ------
        IndexError
            When no block is free.
        """
        if not self._free:
            raise IndexError("expected a free block, got none")
        node = self._policy.victim()
        if node is None:
            # Only where what follows is in use without what is before it, as under a sliding
            # window, or where a cache was emptied in part: then the host's own order, the oldest.
            block = next(iter(self._free))
        else:
            assert node.payloads is not None
            block = node.payloads[0]
        self.drop(block)
        return block

    def clear(self) -> list[int]:
        """Forget everything, and return the blocks that were free."""
        blocks = list(self._free)
        for block in blocks:
            self.use(block)
        self._links.clear()
        self._of_block.clear()
        self._nodes.clear()
        return blocks

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        assert self._free.keys() <= self._of_block.keys()
        n_children: dict[Hashable, int] = dict.fromkeys(self._links, 0)
        for key, link in self._links.items():
            assert link.key == key
            assert link.blocks or (link.n_children and link.parent is None)
            assert all(self._of_block[block] is link for block in link.blocks)
            if link.parent is not None:
                n_children[link.parent.key] += 1
            may_go = link.n_children == 0 or len(link.blocks) > 1
            for block in self._free.keys() & set(link.blocks):
                assert (self._free[block].slot is not None) == may_go
        assert n_children == {key: link.n_children for key, link in self._links.items()}
        assert sum(len(link.blocks) for link in self._links.values()) == len(self._of_block)

    def _offer(self, link: _Link) -> None:
        """Let the free blocks of a place go from now on."""
        for block in link.blocks:
            node = self._free.get(block)
            if node is not None:
                self._policy.add(node)

    def _withdraw(self, link: _Link) -> None:
        """Keep the free block of a place: something follows it, and nothing else holds it."""
        for block in link.blocks:
            node = self._free.get(block)
            if node is not None:
                self._policy.discard(node)
