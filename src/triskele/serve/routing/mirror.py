"""What the workers' caches hold, as far as a router can know: mirrors, or the workers' own events.

A mirror is the worker's own kind of cache, of its capacity and under its eviction policy, told of
every request that is sent there, in order. A worker that serves in that order will find what the
mirror says, even for requests that still wait: the mirror is ahead of the worker by its queue.

A worker that sends key-value events is believed instead, for what it has computed; for what it has
been promised and has not computed yet, there is a note of each request on its way.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from triskele.serve.cache import EvictionPolicy, PrefixCache
from triskele.serve.routing.holders import CountedHolders, HolderIndex

PolicyOf = Callable[[int], EvictionPolicy]


class CacheMirror:
    """How many pages of a prompt each worker will find in its cache.

    Parameters
    ----------
    policy
        Makes the eviction policy of a worker's mirror from its capacity in pages.
    default_pages
        Capacity of a mirror whose worker does not say.
    """

    def __init__(self, policy: PolicyOf, *, default_pages: int) -> None:
        self._policy = policy
        self._default_pages = default_pages
        self._index = HolderIndex()
        self._promised = CountedHolders()
        self._mirrors: dict[int, PrefixCache] = {}
        # The workers that send events.
        self._listening: set[int] = set()

    def join(self, slot: int, n_pages: int | None) -> None:
        """Begin with an empty cache for a worker, of ``n_pages`` if it says so."""
        self.leave(slot)
        capacity = self._default_pages if n_pages is None else n_pages
        self._mirrors[slot] = PrefixCache(capacity, self._policy(max(1, capacity)))

    def leave(self, slot: int) -> None:
        """Forget all that a worker holds."""
        mirror = self._mirrors.pop(slot, None)
        if slot in self._listening:
            self._listening.remove(slot)
            self._index.clear(slot)
            self._promised.drop(slot)
        elif mirror is not None:
            # A walk over its own pages: nobody pins any, so all of them are freed.
            self._index.remove(slot, mirror.clear())

    def n_pages(self, hashes: Sequence[int], among: int, out: NDArray[np.float64]) -> None:
        """Write how many leading pages each slot holds into ``out``, (n_slots,)."""
        out[:] = 0.0
        self._index.spread(hashes, among, out)
        if len(self._promised.index):
            self._promised.index.spread(hashes, among, out)

    def size(self, slot: int) -> int:
        """Return how many pages a worker's mirror holds."""
        return self._mirrors[slot].n_pages

    def send(self, slot: int, key: bytes, hashes: Sequence[int]) -> Sequence[int]:
        """Note that a prompt is on its way to a worker; returns what it promises."""
        if slot in self._listening:
            self._promised.take(slot, hashes)
            return hashes
        done = self._mirrors[slot].insert(key, hashes)
        # After the evicted pages come those of the prompt that were there or found no room.
        self._index.remove(slot, done.freed[: len(done.freed) - (len(hashes) - done.n_added)])
        self._index.store(slot, hashes[done.n_found : done.n_found + done.n_added])
        return ()

    def arrive(self, slot: int, promised: Sequence[int]) -> None:
        """Note that what :meth:`send` returned is kept, or has failed: no promise any more."""
        if promised and slot in self._listening:
            self._promised.release(slot, promised)

    def stored(self, slot: int, hashes: Sequence[int]) -> None:
        """Take a worker's own word that it holds these pages; from now on only its word counts.

        Nobody is believed before :meth:`join` and after :meth:`leave`.
        """
        if self._listen(slot):
            self._index.store(slot, hashes)

    def removed(self, slot: int, hashes: Sequence[int]) -> None:
        """Take a worker's own word that it has evicted these pages."""
        if self._listen(slot):
            self._index.remove(slot, hashes)

    def cleared(self, slot: int) -> None:
        """Take a worker's own word that it holds nothing."""
        if self._listen(slot):
            self._index.clear(slot)

    def state(self) -> dict[str, list[str]]:
        """Return the keys in each mirror by slot, as hexadecimal text.

        Of a worker that sends events there are none: it is heard of again.
        """
        return {
            str(slot): [key.hex() for key in mirror.leaf_keys()]
            for slot, mirror in self._mirrors.items()
        }

    def restore(self, state: dict[str, list[str]], slots: set[int]) -> None:
        """Fill the mirrors of these slots with what :meth:`state` returned."""
        for text, keys in state.items():
            slot = int(text)
            if slot in slots:
                for key in map(bytes.fromhex, keys):
                    self.send(slot, key, np.frombuffer(key, "<u8").tolist())

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        assert self._listening <= self._mirrors.keys()
        self._promised.check()
        for slot, mirror in self._mirrors.items():
            mirror.check()
            if slot in self._listening:
                assert mirror.n_pages == 0
            else:
                assert self._index.count(slot) == mirror.n_pages
                assert self._promised.n_pages(slot) == 0

    def _listen(self, slot: int) -> bool:
        """Let a worker's word count, if it is there."""
        mirror = self._mirrors.get(slot)
        if mirror is None:
            return False
        if slot not in self._listening:
            self._listening.add(slot)
            self._index.remove(slot, mirror.clear())
        return True
