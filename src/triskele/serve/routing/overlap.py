"""NVIDIA Dynamo's policy: to the worker of the lowest cost in blocks.

Dynamo listens to the workers' key-value events, and where there are none keeps a mirror of its own
decisions. Blocks in use are counted once, however many requests of a worker share them, as its own
tracker of active sequences does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triskele.serve.routing.holders import CountedHolders
from triskele.serve.routing.router import Outcome, Phase, Request, Worker
from triskele.serve.routing.trees import TREE_PAGES, Trees


class OverlapCost:
    """NVIDIA Dynamo's cost: blocks still to prefill, weighted, plus different blocks in use.

    Parameters
    ----------
    rng
        Breaks ties; draws when the temperature is above 0.
    prefill_weight
        What a block to prefill counts against a block in use.
    temperature
        Of a softmax over costs divided by their range; 0 takes the cheapest.
    tree_pages
        Capacity of a mirror where a worker neither says its own nor sends events.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        prefill_weight: float = 1.0,
        temperature: float = 0.0,
        tree_pages: int = TREE_PAGES,
    ) -> None:
        self._rng = rng
        self._weight, self._temperature = prefill_weight, temperature
        self._trees = Trees(tree_pages, is_told_capacities=True)
        self._prefill: NDArray[np.float64] = np.zeros(0)
        self._in_use: NDArray[np.float64] = np.zeros(0)
        self._shared: NDArray[np.float64] = np.zeros(0)
        self._active = CountedHolders()
        self._charges: dict[int, _Charge] = {}

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker of the lowest cost."""
        trees = self._trees
        hashes, left = trees.update(request, workers)
        n_slots = len(trees.load.roster)
        if len(self._prefill) < n_slots:
            self._prefill = np.pad(self._prefill, (0, n_slots - len(self._prefill)))
            self._in_use = np.pad(self._in_use, (0, n_slots - len(self._in_use)))
            self._shared = np.zeros(n_slots)
        if left:
            self._prefill[left] = self._in_use[left] = 0.0
            for slot in left:
                self._active.drop(slot)
            self._charges = {n: c for n, c in self._charges.items() if c.slot not in left}
        trees.load.expect_new(request)
        held = trees.held(hashes)
        n_pages = len(hashes)
        present = trees.load.roster.fitting(n_pages)
        # Of this request's pages, those that are in use at a worker already take no more room.
        self._shared[:] = 0.0
        self._active.index.spread(hashes, trees.load.roster.mask, self._shared)
        to_prefill = np.maximum(self._prefill + n_pages - held, 0.0)
        cost = (self._weight * to_prefill + self._in_use + n_pages - self._shared)[present]
        if self._temperature > 0:
            scaled = (cost.min() - cost) / (max(float(np.ptp(cost)), 1e-9) * self._temperature)
            shares = np.exp(scaled)
            slot = int(self._rng.choice(present, p=shares / shares.sum()))
        else:
            slot = int(self._rng.choice(present[cost == cost.min()]))
        n_new = n_pages - int(held[slot])
        worker, promised = trees.send(request, slot, hashes)
        self._charges[request.id] = _Charge(slot, n_new, hashes, promised)
        self._prefill[slot] += n_new
        self._active.take(slot, hashes)
        self._in_use[slot] = self._active.n_pages(slot)
        return worker

    def observe(self, outcome: Outcome, now: float) -> None:
        """Free the prefill at the first token, all at the end."""
        slot = self._trees.load.settle(outcome)
        if slot is None:
            return
        charge = self._charges[outcome.request_id]
        self._prefill[slot] -= charge.n_new
        self._trees.arrive(slot, charge.promised)
        charge.n_new, charge.promised = 0, ()
        if outcome.phase is not Phase.FIRST_TOKEN:
            self._active.release(slot, charge.hashes)
            self._in_use[slot] = self._active.n_pages(slot)
            del self._charges[outcome.request_id]

    def stored(self, worker: str, hashes: Sequence[int]) -> None:
        """Take a worker's event."""
        self._trees.hear(worker, stored=hashes)

    def removed(self, worker: str, hashes: Sequence[int]) -> None:
        """Take a worker's event."""
        self._trees.hear(worker, removed=hashes)

    def cleared(self, worker: str) -> None:
        """Take a worker's event."""
        self._trees.hear(worker, cleared=True)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._trees.check()
        self._active.check()
        prefill = np.zeros(len(self._prefill))
        in_use: list[set[int]] = [set() for _ in self._in_use]
        for charge in self._charges.values():
            prefill[charge.slot] += charge.n_new
            in_use[charge.slot].update(charge.hashes)
        assert np.array_equal(prefill, self._prefill)
        assert [len(pages) for pages in in_use] == self._in_use.tolist()


@dataclass(slots=True)
class _Charge:
    """Blocks of a request: to prefill, in use, and promised until its first token."""

    slot: int
    n_new: int
    hashes: Sequence[int]
    promised: Sequence[int]
