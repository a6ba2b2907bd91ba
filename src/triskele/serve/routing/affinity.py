"""Peers that send a prompt to where its prefix lies: SGLang, Ray Serve and NVIDIA Dynamo.

Each as its project documents it, with the defaults of its project. SGLang and Ray keep trees of
their own, filled with what they have routed; Dynamo listens to the workers' key-value events and
where there are none keeps a mirror of its own decisions, too.

Lengths are tokens here. The projects' trees count characters; the threshold on the matched share
compares the same way, but for noise: ``measure`` lets a benchmark put the characters back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triskele.serve.cache import least_recently_used
from triskele.serve.routing.load import InFlight
from triskele.serve.routing.mirror import CacheMirror
from triskele.serve.routing.router import Outcome, Phase, Request, Worker

HASH_BYTES = 8
# SGLang's trees end at 2²⁶ characters; a mirror of a few million pages is as good as endless here.
TREE_PAGES = 1 << 20


class CacheAware:
    """SGLang's cache-aware policy.

    While the fleet is balanced, a prompt of which one worker's tree matches more than a share goes
    to that worker, any other to the smallest tree; an unbalanced fleet takes the shortest queue.
    So does a prompt shorter than a page, which leaves no trace in a tree.

    Parameters
    ----------
    rng
        Breaks ties.
    threshold
        Share of the prompt that must match (strictly more).
    absolute, relative
        The fleet is unbalanced when the longest queue exceeds the shortest by more than
        ``absolute`` requests and ``relative`` times.
    measure
        Length of the prompt of a key; pages by default.
    tree_pages
        Capacity of each tree.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        threshold: float = 0.3,
        absolute: int = 64,
        relative: float = 1.5,
        measure: Callable[[bytes], float] = len,
        tree_pages: int = TREE_PAGES,
    ) -> None:
        self._rng = rng
        self._threshold, self._absolute, self._relative = threshold, absolute, relative
        self._measure = measure
        self._trees = _Trees(tree_pages)

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker with the prefix, the smallest tree or the shortest queue."""
        trees = self._trees
        hashes, _ = trees.update(request, workers)
        trees.load.expect_new(request)
        counts = trees.load.counts[trees.load.roster.present]
        longest, shortest = int(counts.max()), int(counts.min())
        is_unbalanced = longest - shortest > self._absolute and longest > self._relative * shortest
        if is_unbalanced or not hashes:
            slot = trees.load.least(self._rng)
        else:
            held = trees.held(hashes)
            best = held.max(initial=0.0)
            matched = self._measure(request.key[: int(best) * HASH_BYTES])
            if matched > self._threshold * max(1.0, self._measure(request.key)):
                slot = trees.pick(self._rng, held == best)
            else:
                slot = trees.smallest(self._rng)
        return trees.send(request, slot, hashes)[0]

    def observe(self, outcome: Outcome, now: float) -> None:
        """Count out what has ended."""
        self._trees.load.settle(outcome)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._trees.check()


class PrefixAffinity:
    """Ray Serve's prefix-cache-affinity policy.

    While the fleet is balanced, a prompt goes to the worker whose tree matches most, if that is at
    least a share of it; else to the smallest tree. An unbalanced fleet takes the better of two, and
    so does a prompt shorter than a page, which leaves no trace in a tree.

    Parameters
    ----------
    rng
        Draws the two, and breaks ties.
    threshold
        Share of the prompt that must match.
    imbalance
        The fleet is unbalanced when queues differ by more than this; Ray's default is infinite.
    tree_pages
        Capacity of each tree.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        threshold: float = 0.1,
        imbalance: float = float("inf"),
        tree_pages: int = TREE_PAGES,
    ) -> None:
        self._rng = rng
        self._threshold, self._imbalance = threshold, imbalance
        self._trees = _Trees(tree_pages)

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker with the prefix, the smallest tree, or the better of two."""
        trees = self._trees
        hashes, _ = trees.update(request, workers)
        trees.load.expect_new(request)
        present = trees.load.roster.present
        counts = trees.load.counts[present]
        if counts.max() - counts.min() > self._imbalance or not hashes:
            pair = self._rng.choice(present, size=min(2, len(present)), replace=False)
            slot = trees.load.least(self._rng, pair)
        else:
            held = trees.held(hashes)
            best = held.max(initial=0.0)
            if best and best >= self._threshold * len(hashes):
                slot = trees.pick(self._rng, held == best)
            else:
                slot = trees.smallest(self._rng)
        return trees.send(request, slot, hashes)[0]

    def observe(self, outcome: Outcome, now: float) -> None:
        """Count out what has ended."""
        self._trees.load.settle(outcome)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._trees.check()


class OverlapCost:
    """NVIDIA Dynamo's cost: blocks still to prefill, weighted, plus blocks in use.

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
        self._trees = _Trees(tree_pages, is_told_capacities=True)
        self._prefill: NDArray[np.float64] = np.zeros(0)
        self._in_use: NDArray[np.float64] = np.zeros(0)
        self._charges: dict[int, _Charge] = {}

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker of the lowest cost."""
        trees = self._trees
        hashes, left = trees.update(request, workers)
        n_slots = len(trees.load.roster)
        if len(self._prefill) < n_slots:
            self._prefill = np.pad(self._prefill, (0, n_slots - len(self._prefill)))
            self._in_use = np.pad(self._in_use, (0, n_slots - len(self._in_use)))
        if left:
            self._prefill[left] = self._in_use[left] = 0.0
            self._charges = {n: c for n, c in self._charges.items() if c.slot not in left}
        trees.load.expect_new(request)
        held = trees.held(hashes)
        present = trees.load.roster.present
        n_pages = len(hashes)
        to_prefill = np.maximum(self._prefill + n_pages - held, 0.0)
        cost = (self._weight * to_prefill + self._in_use + n_pages)[present]
        if self._temperature > 0:
            scaled = (cost.min() - cost) / (max(float(np.ptp(cost)), 1e-9) * self._temperature)
            shares = np.exp(scaled)
            slot = int(self._rng.choice(present, p=shares / shares.sum()))
        else:
            slot = int(self._rng.choice(present[cost == cost.min()]))
        n_new = n_pages - int(held[slot])
        worker, promised = trees.send(request, slot, hashes)
        self._charges[request.id] = _Charge(slot, n_new, n_pages, promised)
        self._prefill[slot] += n_new
        self._in_use[slot] += n_pages
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
            self._in_use[slot] -= charge.n_pages
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
        charged = np.zeros((2, len(self._prefill)))
        for charge in self._charges.values():
            charged[:, charge.slot] += charge.n_new, charge.n_pages
        assert np.array_equal(charged, [self._prefill, self._in_use])


@dataclass(slots=True)
class _Charge:
    """Blocks of a request: to prefill and in use; and what it promises until its first token."""

    slot: int
    n_new: int
    n_pages: int
    promised: Sequence[int]


class _Trees:
    """What each worker holds, as the policy knows, and how much is in flight."""

    def __init__(self, tree_pages: int, *, is_told_capacities: bool = False) -> None:
        self.load = InFlight()
        self._mirror = CacheMirror(lambda _: least_recently_used(), default_pages=tree_pages)
        self._is_told_capacities = is_told_capacities
        self._held: NDArray[np.float64] = np.zeros(0)

    def update(self, request: Request, workers: Sequence[Worker]) -> tuple[list[int], list[int]]:
        """Take note of who may be chosen; returns the prompt's hashes, and slots of who left."""
        joined, left = self.load.update(workers)
        slots_left = [self._slot(name) for name in left]
        for slot in slots_left:
            self._mirror.leave(slot)
        for worker in joined:
            n_pages = worker.n_pages if self._is_told_capacities else None
            self._mirror.join(self._slot(worker.name), n_pages)
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

    def _slot(self, name: str) -> int:
        slot = self.load.roster.slot(name)
        assert slot is not None
        return slot
