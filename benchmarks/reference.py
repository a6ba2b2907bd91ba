"""The routers of the published table, with the constants that KVRouting's code has.

Facts of its behaviour, written anew: a base cost of one millisecond per character that the router
believes uncached, queues that decay by 31/32 every 20 ms whether or not work is done, a bias per
worker by scalar recursive least squares, trees that know neither capacity nor eviction. Mended only
where it would crash: the covariance entries that overflow after 86,649 updates are not kept.

Text does not exist in the simulator. A page has as many characters as its hash says, 5.5 per token
on average and normally spread, the same for the same page: what makes a threshold on the matched
share of characters a matter of chance when the true share is the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triskele.serve.cache import least_recently_used
from triskele.serve.routing import CacheAware, Outcome, Phase, Request, Worker
from triskele.serve.routing.mirror import CacheMirror
from triskele.serve.routing.roster import Roster

CHARACTERS_PER_TOKEN, SPREAD_PER_TOKEN = 5.5, 2.5
TREE_CHARACTERS = 1 << 24
TICK, KEPT = 0.020, 31 / 32
FORGETTING, PRIOR = 0.992, 1e6
MARGIN, SEPARATOR = 1.0, 2.0


def characters(key: bytes, page_size: int) -> float:
    """Return the length in characters of the pages of a key."""
    hashes = np.frombuffer(key, "<u8")
    # Four times 16 bits added up are near enough to a normal number.
    parts = sum((hashes >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48))
    normal = (np.asarray(parts, dtype=np.float64) - 131_070) / 37_837
    per_page = CHARACTERS_PER_TOKEN * page_size + SPREAD_PER_TOKEN * page_size**0.5 * normal
    return float(np.maximum(per_page, 1.0).sum())


def published_cache_aware(rng: np.random.Generator, page_size: int) -> CacheAware:
    """Return the published baseline: SGLang's policy at the fork's 0.5 / 32 / 1.0001."""
    return CacheAware(
        rng,
        threshold=0.5,
        absolute=32,
        relative=1.0001,
        measure=lambda key: characters(key, page_size),
        fallback="smallest tree",
        tree_pages=int(TREE_CHARACTERS / CHARACTERS_PER_TOKEN / page_size),
    )


@dataclass(slots=True)
class _Reservation:
    slot: int
    base: float
    increment: float
    expected: float
    tick: int


class PublishedLBGR:
    """The published router.

    Parameters
    ----------
    page_size
        Tokens per page of the requests' keys.
    """

    def __init__(self, *, page_size: int) -> None:
        self._page_size = page_size
        self._tree_pages = int(TREE_CHARACTERS / CHARACTERS_PER_TOKEN / page_size)
        self._roster = Roster()
        self._trees = CacheMirror(lambda _: least_recently_used(), default_pages=self._tree_pages)
        self._held = np.zeros(0)
        self._queue = np.zeros(0)
        self._bias = np.zeros(0)
        self._variance = np.zeros(0)
        self._tick = 0
        self._reserved: dict[int, _Reservation] = {}

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker of the smallest prediction; the first of those within a millisecond."""
        self._update(workers)
        self._decay(now)
        hashes = np.frombuffer(request.key, "<u8").tolist()
        self._held[:] = 0.0
        self._trees.n_pages(hashes, self._roster.mask, self._held)
        rest = request.n_prompt - len(hashes) * self._page_size
        total = characters(request.key, self._page_size) + rest * CHARACTERS_PER_TOKEN + SEPARATOR
        matched = {
            int(n): characters(request.key[: 8 * int(n)], self._page_size) for n in set(self._held)
        }
        best: tuple[float, int, float] | None = None
        for slot in self._roster.present.tolist():
            base = max(1.0, total - matched[int(self._held[slot])])
            predicted = max(1.0, base + self._queue[slot] + self._bias[slot])
            if best is None or predicted + MARGIN < best[0]:
                best = predicted, slot, base
        assert best is not None
        _, slot, base = best
        expected = base + float(self._queue[slot])
        increment = float(round(base))
        self._queue[slot] += increment
        self._reserved[request.id] = _Reservation(slot, base, increment, expected, self._tick)
        self._trees.send(slot, request.key, hashes)
        return self._roster.worker(slot)

    def observe(self, outcome: Outcome, now: float) -> None:
        """Release what is left of the reservation, and learn the bias."""
        if outcome.phase is Phase.FIRST_TOKEN:
            return
        reserved = self._reserved.pop(outcome.request_id, None)
        if reserved is None:
            return
        self._decay(now)
        slot = reserved.slot
        left = reserved.increment * KEPT ** (self._tick - reserved.tick)
        self._queue[slot] = max(0.0, self._queue[slot] - left)
        if outcome.phase is Phase.FINISHED:
            target = max(1.0, 1000 * outcome.latency - reserved.expected)
            gain = self._variance[slot] / (FORGETTING + self._variance[slot])
            self._bias[slot] += gain * (target - self._bias[slot])
            self._variance[slot] = (1 - gain) * self._variance[slot] / FORGETTING

    def _decay(self, now: float) -> None:
        tick = int(now / TICK)
        if tick > self._tick:
            self._queue = np.floor(self._queue * KEPT ** (tick - self._tick))
            self._tick = tick

    def _update(self, workers: Sequence[Worker]) -> None:
        joined, left = self._roster.update(workers)
        n_new = len(self._roster) - len(self._queue)
        if n_new:
            self._queue = np.pad(self._queue, (0, n_new))
            self._bias = np.pad(self._bias, (0, n_new))
            self._variance = np.pad(self._variance, (0, n_new), constant_values=PRIOR)
            self._held = np.zeros(len(self._roster))
        for name in left:
            self._trees.leave(self._roster.slot(name) or 0)
        for worker in joined:
            self._trees.join(self._roster.slot(worker.name) or 0, self._tree_pages)
