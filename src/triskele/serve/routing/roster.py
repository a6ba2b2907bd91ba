"""Who may be chosen: a stable slot for every worker, through joins, failures and returns.

Routers keep their knowledge in arrays by slot. A worker that leaves keeps its slot, so that its
return finds what was learned of its speed; a router hears of both and forgets what no longer holds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from triskele.serve.routing.router import Worker


class Roster:
    """Slots by name, and which of them are present.

    Attributes
    ----------
    present
        Slots of the workers that may be chosen now, in the order in which they were given.
    mask
        The same as bits of one integer.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.present: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self.mask = 0
        self._slots: dict[str, int] = {}
        self._workers: tuple[Worker, ...] = ()
        self._by_slot: dict[int, Worker] = {}
        self._is_deserted = True

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
        for worker in workers:
            if worker.name not in self._slots:
                self._slots[worker.name] = len(self.names)
                self.names.append(worker.name)
        self._workers, self._is_deserted = workers, False
        self._by_slot = {self._slots[worker.name]: worker for worker in workers}
        self.present = np.fromiter(self._by_slot, dtype=np.intp)
        self.mask = sum(1 << slot for slot in self._by_slot)
        return [w for w in workers if w.name not in stayed], sorted(before.keys() - stayed)

    def recall(self, names: Sequence[str]) -> None:
        """Give slots to workers of an earlier time, in order; none of them is present."""
        assert not self.names
        self.names = list(names)
        self._slots = {name: slot for slot, name in enumerate(self.names)}

    def slot(self, name: str) -> int | None:
        """Return the slot of a name, or ``None`` if it was never heard of."""
        return self._slots.get(name)

    def worker(self, slot: int) -> Worker:
        """Return the worker that is present at a slot."""
        return self._by_slot[slot]
