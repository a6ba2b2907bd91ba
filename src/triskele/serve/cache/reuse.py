"""What is remembered of the requests: which runs were used again, after how long, and of what kind.

A tree of keys like the cache's own, with more room and no payloads, which also remembers what the
cache has evicted. Each of its nodes belongs to one of these:

- the last *visit* of a conversation: the request that used it last. A request continues a visit if
  it brings back all of its prompt but at most the last page, which is often partial. What is to be
  expected of a visit depends on how many requests the conversation has had, on the time since the
  one before and on how much it has grown, or, for the first, on its size. Its last page and its
  answer, if that is told, may come back or not, and are counted by themselves.
- a *shared* run, which was used by requests that do not continue each other. What is to be expected
  depends on how often it was used and on the time since the use before.
- what a conversation has left behind: expected never to come back.

All it sees are keys and their order.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import product

from triskele.serve.cache.lifetable import LifeTable
from triskele.serve.cache.radix import Node, RadixTree

N_SIZES, N_TURNS, N_GAPS, N_GROWTHS, N_USES = 9, 7, 4, 5, 3
N_VISITS = N_SIZES + N_TURNS * N_GAPS * N_GROWTHS
BODY, LAST, ANSWER = range(3)
SHARED = 3 * N_VISITS
LEFT_BEHIND = SHARED + N_USES * N_GAPS
"""Not in the life table: its index is that of no use ever."""
SHORT_GAP = 128
"""Gaps of fewer requests are one kind, then each fourfold."""


@dataclass(slots=True, eq=False)
class Visit:
    """A request, as the latest of its conversation.

    Attributes
    ----------
    at
        Number of the request.
    turn
        How many requests the conversation has had, this one included.
    n_pages
        Length of its prompt.
    kind
        Row of the life table for its body, from which those of the other parts follow.
    waits
        Body, last page and answer; ``None`` where there are no pages.
    """

    at: int
    turn: int
    n_pages: int
    kind: int
    waits: "list[Wait | None]" = field(default_factory=lambda: [None, None, None])


@dataclass(slots=True, eq=False)
class Wait:
    """A wait for the next use; runs that wait as one share it.

    Attributes
    ----------
    kind, since
        Row of the life table, or ``LEFT_BEHIND``; number of the request that began it.
    visit
        Whose part it is; ``None`` for a shared run.
    n_uses
        Of a shared run.
    is_open
        Whether its end is still to be entered in the life table.
    """

    kind: int
    since: int
    visit: Visit | None
    n_uses: int = 1
    is_open: bool = True


class ReuseHistory:
    """Remembers keys and counts what became of them.

    Parameters
    ----------
    memory
        Pages to remember; beyond, what was used longest ago is forgotten.
    stride
        Bytes per page.

    Attributes
    ----------
    table
        The counts.
    now
        Requests so far.
    """

    def __init__(self, memory: int, stride: int) -> None:
        self.table = LifeTable(_levels())
        self.now = 0
        self.stride = stride
        self._memory = memory
        self._tree = RadixTree(stride)
        # Nodes at which requests have ended, the earliest first.
        self._ends: OrderedDict[Node, None] = OrderedDict()

    @property
    def n_pages(self) -> int:
        """Pages remembered."""
        return self._tree.n_pages

    def observe(self, key: bytes) -> Node:
        """Note a request; return the node at which its key ends."""
        self.now += 1
        tree = self._tree
        node, n_whole, n_inside = tree.descend(key)
        node = tree.cut(node, key, n_whole, n_inside)
        n_found, n_pages = n_whole + n_inside, len(key) // tree.stride
        earlier = node.past.visit if node.past is not None else None
        if earlier is not None and earlier.n_pages - n_found > 1:
            earlier = None
        visit = self._visit(earlier, n_found, n_pages)
        self._pass(node, earlier, visit)
        if n_found < n_pages - 1:
            node = self._grow(node, key[n_found * tree.stride : -tree.stride], visit, BODY)
        if n_found < n_pages:
            node = self._grow(node, key[-tree.stride :], visit, LAST)
        self._remember(node)
        return node

    def extend(self, key: bytes) -> Node:
        """Note that a request already observed has come to this; return where its key ends."""
        tree = self._tree
        node, n_whole, n_inside = tree.descend(key)
        n_found, n_pages = n_whole + n_inside, len(key) // tree.stride
        node = tree.cut(node, key, n_whole, n_inside)
        if n_found < n_pages:
            visit = node.past.visit if node.past is not None else None
            visit = visit or self._visit(None, n_found, n_pages)
            node = self._grow(node, key[n_found * tree.stride :], visit, ANSWER)
        self._remember(node)
        return node

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._tree.check()
        self.table.check()
        assert self._tree.n_pages <= self._memory
        for node in self._tree.nodes():
            assert node.children or node in self._ends
            assert node.past.kind <= LEFT_BEHIND
            assert node.past.since <= self.now
            assert (node.past.kind >= SHARED) >= (node.past.visit is None)
        assert all(node.parent is not None for node in self._ends)

    def _visit(self, earlier: Visit | None, n_found: int, n_pages: int) -> Visit:
        if earlier is None:
            size = min((n_pages - n_found).bit_length(), N_SIZES - 1)
            return Visit(self.now, 1, n_pages, size)
        turn = min(earlier.turn - 1, N_TURNS - 1)
        growth = min((n_pages - n_found).bit_length() // 2, N_GROWTHS - 1)
        kind = (turn * N_GAPS + _gap(self.now - earlier.at)) * N_GROWTHS + growth
        return Visit(self.now, earlier.turn + 1, n_pages, N_SIZES + kind)

    def _pass(self, node: Node, earlier: Visit | None, visit: Visit) -> None:
        """End the waits on the way to a node and begin new ones."""
        now = self.now
        step = node
        while step.parent is not None:
            wait = step.past
            if earlier is not None and wait.visit is earlier:
                self._reuse(wait)
                step.past = self._wait(visit, BODY)
            else:
                if wait.visit is None:
                    self._reuse(wait)
                n_uses = wait.n_uses + 1
                uses = min(n_uses.bit_length() - 2, N_USES - 1)
                kind = SHARED + uses * N_GAPS + _gap(now - wait.since)
                step.past = Wait(kind, now, None, n_uses)
                self.table.enter(kind, now)
            step = step.parent
        for left in earlier.waits if earlier is not None else ():
            if left is not None and left.kind != LEFT_BEHIND:
                self._lose(left)
                left.kind = LEFT_BEHIND

    def _grow(self, node: Node, run: bytes, visit: Visit, part: int) -> Node:
        leaf = self._tree.grow(node, run)
        leaf.past = self._wait(visit, part)
        return leaf

    def _wait(self, visit: Visit, part: int) -> Wait:
        """Return the wait of a part of a visit, which begins with the first run it has."""
        wait = visit.waits[part]
        if wait is None:
            wait = visit.waits[part] = Wait(part * N_VISITS + visit.kind, self.now, visit)
            self.table.enter(wait.kind, self.now)
        return wait

    def _reuse(self, wait: Wait) -> None:
        if wait.is_open:
            self.table.reuse(wait.kind, wait.since, self.now)
            wait.is_open = False

    def _lose(self, wait: Wait) -> None:
        if wait.is_open:
            self.table.lose(wait.kind, wait.since, self.now)
            wait.is_open = False

    def _remember(self, end: Node) -> None:
        """Put the end of a request last, and forget the first ones beyond the room there is."""
        if end.parent is not None:
            self._ends[end] = None
            self._ends.move_to_end(end)
        while self._tree.n_pages > self._memory:
            node, _ = self._ends.popitem(last=False)
            while node.parent is not None and not node.children and node not in self._ends:
                self._lose(node.past)
                self._tree.trim(node, self._tree.n_pages_of(node))
                node = node.parent


def _gap(n_requests: int) -> int:
    return min((n_requests // (SHORT_GAP // 2)).bit_length() // 2, N_GAPS - 1)


def _levels() -> list[list[int]]:
    """Return what the life table's kinds have in common: the pool, then three levels."""
    visits = [(("size", size), "first", "first") for size in range(N_SIZES)]
    later = product(range(N_TURNS), range(N_GAPS), range(N_GROWTHS))
    visits += [(("turn", turn), f"gap {gap}", f"growth {growth}") for turn, gap, growth in later]
    kinds = [(part, *visit) for part in (BODY, LAST, ANSWER) for visit in visits]
    uses = product(range(N_USES), range(N_GAPS))
    kinds += [(SHARED, ("uses", n), f"gap {gap}", "shared") for n, gap in uses]
    return [_numbers([(kind[0], kind[level]) for kind in kinds]) for level in range(4)]


def _numbers(names: list[tuple[Hashable, Hashable]]) -> list[int]:
    """Return a number for each name, the same for the same."""
    known: dict[tuple[Hashable, Hashable], int] = {}
    return [known.setdefault(name, len(known)) for name in names]
