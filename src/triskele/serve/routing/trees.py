"""What a peer policy knows: a tree per worker of what it has routed there, and its load.

A policy that takes the workers' own key-value events has them passed on here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from triskele.serve.cache import least_recently_used
from triskele.serve.routing.load import InFlight
from triskele.serve.routing.mirror import CacheMirror
from triskele.serve.routing.router import Request, Worker

# SGLang's trees end at 2²⁶ characters; about a million pages are as good as endless here.
TREE_PAGES = 1 << 20


class Trees:
    """What each worker holds, as the policy knows, and how much is in flight.

    Parameters
    ----------
    tree_pages
        Capacity of each tree.
    is_told_capacities
        Whether a worker's tree has the capacity of its cache, where it names one.

    Attributes
    ----------
    load
        Who may be chosen, and the requests in flight.
    """

    def __init__(self, tree_pages: int, *, is_told_capacities: bool = False) -> None:
        self.load = InFlight()
        self._mirror = CacheMirror(lambda _: least_recently_used(), default_pages=tree_pages)
        self._is_told_capacities = is_told_capacities
        self._held: NDArray[np.float64] = np.zeros(0)

    def update(self, request: Request, workers: Sequence[Worker]) -> tuple[list[int], list[int]]:
        """Take note of who may be chosen; returns the prompt's hashes, and slots of who left."""
        joined, left = self.load.update(workers)
        slots_left = self.load.roster.slots(left)
        for slot in slots_left:
            self._mirror.leave(slot)
        slots_joined = self.load.roster.slots(worker.name for worker in joined)
        for slot, worker in zip(slots_joined, joined, strict=True):
            self._mirror.join(slot, worker.n_pages if self._is_told_capacities else None)
        hashes: list[int] = np.frombuffer(request.key, "<u8").tolist()
        return hashes, slots_left

    def held(self, hashes: Sequence[int]) -> NDArray[np.float64]:
        """Return how many pages of a prompt each slot holds; absent slots hold nothing."""
        if len(self._held) < len(self.load.roster):
            self._held = np.zeros(len(self.load.roster))
        self._mirror.n_pages(hashes, self.load.roster.mask, self._held)
        return self._held

    def pick(self, rng: np.random.Generator, chosen: NDArray[np.bool_]) -> int:
        """Return a random one of the chosen slots that are present."""
        present = self.load.roster.present
        return int(rng.choice(present[chosen[present]]))

    def smallest(self, rng: np.random.Generator) -> int:
        """Return a slot whose tree holds the fewest pages, a random one of equals."""
        sizes = {slot: self._mirror.size(slot) for slot in self.load.roster.present.tolist()}
        fewest = min(sizes.values())
        return int(rng.choice([slot for slot, size in sizes.items() if size == fewest]))

    def send(
        self, request: Request, slot: int, hashes: Sequence[int]
    ) -> tuple[Worker, Sequence[int]]:
        """Enter the prompt into the tree of a slot; returns the worker and what is promised."""
        return self.load.send(request, slot), self._mirror.send(slot, request.key, hashes)

    def arrive(self, slot: int, promised: Sequence[int]) -> None:
        """Note that a promise is kept, or has failed."""
        self._mirror.arrive(slot, promised)

    def hear(
        self,
        worker: str,
        *,
        stored: Sequence[int] = (),
        removed: Sequence[int] = (),
        cleared: bool = False,
    ) -> None:
        """Pass a worker's event on."""
        slot = self.load.roster.slot(worker)
        if slot is None:
            return
        if cleared:
            self._mirror.cleared(slot)
        if removed:
            self._mirror.removed(slot, removed)
        if stored:
            self._mirror.stored(slot, stored)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self.load.check()
        self._mirror.check()
