"""Who holds which prefix: one dictionary from page hash to the workers that hold the page.

Workers are bits of an integer. A hash stands for its page and all before it, and a cache that
evicts leaves only never has a hole; so along a prompt the set of holders only shrinks, and where it
does is found by bisection: a lookup costs a few dictionary reads per distinct depth, not per page
and not per worker. Events that got lost do leave holes. Two pages more are probed to find the
largest: who lacks the first page holds nothing, who lacks the middle one is looked up before it.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

FEW = 24


class HolderIndex:
    """Pages by hash, with the slots of the workers that hold them."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def __len__(self) -> int:
        """Return how many different pages are held by anyone."""
        return len(self._masks)

    def store(self, slot: int, hashes: Iterable[int]) -> None:
        """Note that a worker holds these pages."""
        masks, bit = self._masks, 1 << slot
        for page in hashes:
            masks[page] = masks.get(page, 0) | bit

    def remove(self, slot: int, hashes: Iterable[int]) -> None:
        """Note that a worker no longer holds these pages; pages it did not hold are ignored."""
        masks, bit = self._masks, 1 << slot
        for page in hashes:
            mask = masks.get(page, 0)
            if mask == bit:
                del masks[page]
            elif mask & bit:
                masks[page] = mask ^ bit

    def clear(self, slot: int) -> None:
        """Note that a worker holds nothing; costs a walk over all pages."""
        bit = 1 << slot
        self.remove(slot, [page for page, mask in self._masks.items() if mask & bit])

    def count(self, slot: int) -> int:
        """Return how many pages a worker holds; costs a walk over all pages."""
        return sum(mask >> slot & 1 for mask in self._masks.values())

    def depths(self, hashes: Sequence[int], among: int) -> Iterator[tuple[int, int]]:
        """Yield who holds how much of a prompt, deepest first.

        Parameters
        ----------
        hashes
            The prompt's pages.
        among
            Bits of the slots that count.

        Yields
        ------
        n_pages, mask
            The bits of those that hold the first ``n_pages`` and no more; who holds nothing is
            not named. Who was found to have a hole comes last.
        """
        masks = self._masks
        seen, n_pages = 0, len(hashes)
        with_hole: list[tuple[int, int]] = []
        while n_pages:
            # How far the set of holders is larger than what has been named already.
            n_pages = bisect_left(
                hashes,
                True,
                hi=n_pages,
                key=lambda page: not masks.get(page, 0) & among & ~seen,
            )
            if n_pages:
                new = masks[hashes[n_pages - 1]] & among & ~seen
                seen |= new
                new &= masks.get(hashes[0], 0)
                n_half = n_pages // 2
                whole = new & masks.get(hashes[n_half], 0)
                if whole:
                    yield n_pages, whole
                if whole != new:
                    with_hole.append((n_half, new ^ whole))
        for n_half, mask in with_hole:
            yield from self.depths(hashes[:n_half], mask)

    def spread(self, hashes: Sequence[int], among: int, out: NDArray[np.float64]) -> None:
        """Raise ``out``, (n_slots,), to how many pages of a prompt each slot holds."""
        for n_pages, mask in self.depths(hashes, among):
            if mask.bit_count() <= FEW:
                for slot in slots_of(mask):
                    out[slot] = max(out[slot], n_pages)
            else:
                packed = np.frombuffer(mask.to_bytes(-(-len(out) // 8), "little"), np.uint8)
                bits = np.unpackbits(packed, count=len(out), bitorder="little").view(np.bool_)
                out[bits] = np.maximum(out[bits], n_pages)


class CountedHolders:
    """Pages that requests hold on to: a worker has a page as long as one of its requests does."""

    def __init__(self) -> None:
        self.index = HolderIndex()
        self._counts: dict[int, Counter[int]] = {}

    def take(self, slot: int, hashes: Sequence[int]) -> None:
        """Count a request in that holds these pages of a worker."""
        self._counts.setdefault(slot, Counter()).update(hashes)
        self.index.store(slot, hashes)

    def release(self, slot: int, hashes: Sequence[int]) -> None:
        """Count a request out that held these pages."""
        counts = self._counts[slot]
        counts.subtract(hashes)
        free = [page for page in hashes if counts[page] <= 0]
        for page in free:
            del counts[page]
        self.index.remove(slot, free)

    def drop(self, slot: int) -> None:
        """Forget all requests of a worker."""
        self.index.remove(slot, self._counts.pop(slot, ()))

    def n_pages(self, slot: int) -> int:
        """Return how many different pages of a worker are held."""
        return len(self._counts.get(slot, ()))

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        for slot, counts in self._counts.items():
            assert self.index.count(slot) == len(counts)
            assert min(counts.values(), default=1) > 0
        assert len(self.index) == len(set().union(*self._counts.values()))


def slots_of(mask: int) -> Iterator[int]:
    """Yield the set bits of a mask, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
