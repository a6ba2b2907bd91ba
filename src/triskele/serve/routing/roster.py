"""Who may be chosen: a stable slot for every worker, through joins, failures and returns.

Routers keep their knowledge in arrays by slot. A worker that leaves keeps its slot, so that its
return finds what was learned of its speed; a router hears of both and forgets what no longer holds.
Where names come and go for good, the slot longest absent is given to a new name as soon as twice as
many slots are absent as present.
"""

from collections.abc import Iterable, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from triskele.serve.routing.router import Worker

Capacities = NDArray[np.float64]

# So many absent slots are kept in any case.
N_ABSENT = 16


class Roster:
    """Slots by name, and which of them are present.

    Attributes
    ----------
    present
        Slots of the workers that may be chosen now, in the order in which they were given; fewer
        while some are avoided.
    mask
        The same as bits of one integer.
    reused
        Slots that the last change took from absent workers for those of new names: what is kept of
        them by slot is of somebody else.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.present: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self.mask = 0
        self.reused: list[int] = []
        self._absent: dict[int, None] = {}
        self._slots: dict[str, int] = {}
        self._workers: tuple[Worker, ...] = ()
        self._by_slot: dict[int, Worker] = {}
        self._capacities: Capacities = np.empty(0)
        self._least = inf
        self._is_deserted = True
        self._is_narrowed = False

    def __len__(self) -> int:
        """Return how many slots there are, those of absent workers included."""
        return len(self.names)

    def update(self, workers: Sequence[Worker]) -> tuple[list[Worker], list[str]]:
        """Take note of who may be chosen.

        Returns
        -------
        joined, left
            Workers that were not present before, and names of those that are no longer. Whose
            record is another than before, or who was there before all had left, has done both.
        """
        workers = tuple(workers)
        is_same = workers is self._workers or workers == self._workers
        if is_same and not self._is_deserted:
            return [], []
        if not workers:
            self._is_deserted = True
            raise ValueError("expected at least one worker, got none")
        if len({worker.name for worker in workers}) < len(workers):
            raise ValueError("expected workers of different names, got one name twice")
        before = {worker.name: worker for worker in self._workers}
        stayed = {worker.name for worker in workers if before.get(worker.name) == worker}
        if self._is_deserted:
            stayed.clear()
        self._give_slots([worker.name for worker in workers])
        # Only now: a router looks up the slot of who has just left.
        gone = before.keys() - {worker.name for worker in workers}
        self._absent.update(dict.fromkeys(sorted(self._slots[name] for name in gone)))
        self._workers, self._is_deserted = workers, False
        self._by_slot = {self._slots[worker.name]: worker for worker in workers}
        self._offer(list(self._by_slot))
        return [w for w in workers if w.name not in stayed], sorted(before.keys() - stayed)

    def avoid(self, names: Sequence[str]) -> None:
        """Offer the workers of the last :meth:`update` but these, or all if none would be left."""
        if not names and not self._is_narrowed:
            return
        slots = [slot for slot, worker in self._by_slot.items() if worker.name not in names]
        self._offer(slots or list(self._by_slot))
        self._is_narrowed = len(self.present) < len(self._by_slot)

    def is_member(self, slot: int) -> bool:
        """Tell whether the worker of a slot is present, avoided or not."""
        return slot in self._by_slot

    def recall(self, names: Sequence[str]) -> None:
        """Give slots to workers of an earlier time, in order; none of them is present."""
        assert not self.names
        self.names = list(names)
        self._slots = {name: slot for slot, name in enumerate(self.names)}
        self._absent = dict.fromkeys(range(len(self.names)))

    def slot(self, name: str) -> int | None:
        """Return the slot of a name, or ``None`` if it was never heard of."""
        return self._slots.get(name)

    def slots(self, names: Iterable[str]) -> list[int]:
        """Return the slots of names that have one."""
        return [self._slots[name] for name in names]

    def fitting(self, n_pages: int) -> NDArray[np.intp]:
        """Return the slots present whose caches hold so many pages; all if none is known to."""
        if n_pages <= self._least:
            return self.present
        fits = self._capacities >= n_pages
        return self.present[fits] if fits.any() else self.present

    def worker(self, slot: int) -> Worker:
        """Return the worker that is present at a slot."""
        return self._by_slot[slot]

    def _offer(self, slots: list[int]) -> None:
        self.present = np.array(slots, dtype=np.intp)
        self.mask = sum(1 << slot for slot in slots)
        pages = (self._by_slot[slot].n_pages for slot in slots)
        self._capacities = np.array([inf if each is None else each for each in pages])
        self._least = float(self._capacities.min())
        self._is_narrowed = False

    def _give_slots(self, names: Sequence[str]) -> None:
        self.reused = []
        for name in names:
            if name in self._slots:
                self._absent.pop(self._slots[name], None)
        for name in names:
            if name in self._slots:
                continue
            slot = len(self.names)
            if len(self._absent) > max(N_ABSENT, 2 * len(names)):
                slot = next(iter(self._absent))
                del self._absent[slot], self._slots[self.names[slot]]
                self.names[slot] = name
                self.reused.append(slot)
            else:
                self.names.append(name)
            self._slots[name] = slot
