"""How many requests each worker has in flight: what every peer policy balances by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from triskele.serve.routing.roster import Roster
from triskele.serve.routing.router import Outcome, Phase, Request, Worker


class InFlight:
    """Requests on their way, by worker.

    Attributes
    ----------
    roster
        Who may be chosen.
    counts
        Requests in flight per slot, (n_slots,).
    """

    def __init__(self) -> None:
        self.roster = Roster()
        self.counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._slots: dict[int, int] = {}

    def update(self, workers: Sequence[Worker]) -> tuple[list[Worker], list[str]]:
        """Take note of who may be chosen; returns who joined and the names of who left.

        What was in flight to who left is gone.
        """
        joined, left = self.roster.update(workers)
        n_new = len(self.roster) - len(self.counts)
        if n_new:
            self.counts = np.concatenate([self.counts, np.zeros(n_new, dtype=np.int64)])
        if left:
            gone = set(self.roster.slots(left))
            self._slots = {n: slot for n, slot in self._slots.items() if slot not in gone}
            self.counts[list(gone)] = 0
        return joined, left

    def expect_new(self, request: Request) -> None:
        """Offer whom a request does not avoid; ``ValueError`` if it is in flight already."""
        self.roster.avoid(request.avoid)
        if request.id in self._slots:
            raise ValueError(f"expected a request not in flight, got id {request.id} again")

    def send(self, request: Request, slot: int) -> Worker:
        """Count a request as on its way to a slot, and return the worker there."""
        self._slots[request.id] = slot
        self.counts[slot] += 1
        return self.roster.worker(slot)

    def settle(self, outcome: Outcome) -> int | None:
        """Return the slot of a request in flight, and count it out if this is its end."""
        slot = self._slots.get(outcome.request_id)
        if slot is None or self.roster.names[slot] != outcome.worker:
            return None
        if outcome.phase is not Phase.FIRST_TOKEN:
            del self._slots[outcome.request_id]
            self.counts[slot] -= 1
        return slot

    def least(self, rng: np.random.Generator, among: NDArray[np.intp] | None = None) -> int:
        """Return a slot with the fewest requests in flight, a random one of equals."""
        slots = self.roster.present if among is None else among
        counts = self.counts[slots]
        return int(rng.choice(slots[counts == counts.min()]))

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        slots = list(self._slots.values())
        assert np.array_equal(self.counts, np.bincount(slots, minlength=len(self.counts)))
        assert all(map(self.roster.is_member, slots))
