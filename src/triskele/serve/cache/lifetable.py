"""Life tables of cached runs: how likely a run is to be used again at each age, by kind.

A run is born with a use and dies with the next; its age is counted in requests. A table counts, per
kind and age, how many died (were used again), how many were lost from sight, and how many wait: the
actuarial estimate of the hazard divides the deaths at an age by those who reached it.

Most kinds are seen rarely. A kind therefore leans on its pool: on the pool's hazard by age, scaled
by one factor for each of the kind's levels (its turn, its gap, …) and one for the kind itself. The
factors are actual over expected deaths, each computed on top of those before it: one round of
iterative proportional fitting of a log-linear model. Ages fall into bins that grow geometrically.

Also here is the Gittins index of a waiting run, from its hazards.
"""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HORIZON = 1 << 14
"""Requests after which a run that was not used again is taken to be lost."""
N_BINS = 24
SLOT = 64
"""Those that wait are counted together if they were born within so many requests."""
N_SLOTS = HORIZON // SLOT
FADING = 4 * HORIZON
"""Requests after which all that was counted so far counts half."""
POOL_WEIGHT = 100.0
"""Runs of its own that a kind needs at an age to count as much as its pool."""
FACTOR_WEIGHT = 10.0
"""Deaths at a level that make up half of its factor."""
PRIOR_WEIGHT, PRIOR_HAZARD = 10.0, 0.05
"""Before anything is known the hazard is the same in every bin: falling with age."""
MAX_HAZARD = 0.9


class LifeTable:
    """Counts lives by kind and age.

    Parameters
    ----------
    levels
        One sequence per factor, with a number for every kind; kinds with the same number share
        the factor. The first numbers the pools.

    Attributes
    ----------
    bin_of
        The bin of every age from 0 to ``HORIZON``; older ages belong to the last bin.
    widths
        How many ages are in each bin.
    """

    def __init__(self, levels: Sequence[Sequence[int]]) -> None:
        first = np.unique(np.geomspace(1, HORIZON, N_BINS + 1).round().astype(np.int64))[:-1]
        bins = np.searchsorted(first, np.arange(HORIZON + 1), side="right")
        self.bin_of = bytes(bins.tolist())
        self.widths = np.bincount(bins).astype(np.float64)
        self._levels = [np.asarray(numbers) for numbers in levels]
        self._n_kinds = len(levels[0])
        self._n_bins = len(self.widths)
        self._reused = array("d", bytes(8 * self._n_kinds * self._n_bins))
        self._lost = array("d", bytes(8 * self._n_kinds * self._n_bins))
        self._waiting = array("d", bytes(8 * self._n_kinds * N_SLOTS))
        self._slot = 0

    def enter(self, kind: int, now: int) -> None:
        """Count a run that begins to wait."""
        self._turn_to(now // SLOT)
        self._waiting[kind * N_SLOTS + now // SLOT % N_SLOTS] += 1

    def reuse(self, kind: int, since: int, now: int) -> None:
        """Count the next use of a run that has waited since then."""
        self._turn_to(now // SLOT)
        if self._leave(kind, since):
            self._reused[kind * self._n_bins + self.bin_of[now - since]] += 1

    def lose(self, kind: int, since: int, now: int) -> None:
        """Count a run whose next use will not be seen."""
        self._turn_to(now // SLOT)
        if self._leave(kind, since):
            self._lost[kind * self._n_bins + self.bin_of[now - since]] += 1

    def hazards(self, now: int) -> NDArray[np.float64]:
        """Return the probability of use within each bin, once it is reached: (kinds, bins)."""
        reused, lost, waiting = self._grids()
        lost = lost + self._by_bin(waiting, now)
        reached = (reused + lost)[:, ::-1].cumsum(1)[:, ::-1] - lost / 2
        pools = self._levels[0]
        members = (pools == np.arange(pools.max() + 1)[:, None]).astype(np.float64)
        pooled = members @ reused + PRIOR_WEIGHT * PRIOR_HAZARD
        pooled /= members @ reached + PRIOR_WEIGHT
        prior = pooled[pools]
        actual, expected = reused.sum(1), (reached * prior).sum(1)
        factors = np.ones(self._n_kinds)
        for level in (*self._levels[1:], np.arange(self._n_kinds)):
            so_far = np.bincount(level, expected * factors)
            ratios = (np.bincount(level, actual) + FACTOR_WEIGHT) / (so_far + FACTOR_WEIGHT)
            factors *= ratios[level]
        prior *= factors[:, None]
        hazards: NDArray[np.float64] = (reused + POOL_WEIGHT * prior) / (reached + POOL_WEIGHT)
        return hazards.clip(max=MAX_HAZARD)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        assert all((counts >= 0).all() for counts in self._grids())

    def _turn_to(self, slot: int) -> None:
        """Begin a slot; whoever was born in its place a horizon ago is lost."""
        if slot == self._slot:
            return
        reused, lost, waiting = self._grids()
        while self._slot < slot:
            self._slot += 1
            place = self._slot % N_SLOTS
            lost[:, -1] += waiting[:, place]
            waiting[:, place] = 0
            if self._slot * SLOT % FADING == 0:
                reused /= 2
                lost /= 2

    def _leave(self, kind: int, since: int) -> bool:
        """Take one out of those that wait; false if it has been lost before."""
        slot = since // SLOT
        if self._slot - slot >= N_SLOTS:
            return False
        self._waiting[kind * N_SLOTS + slot % N_SLOTS] -= 1
        return True

    def _by_bin(self, waiting: NDArray[np.float64], now: int) -> NDArray[np.float64]:
        slots = np.arange(self._slot, max(-1, self._slot - N_SLOTS), -1)
        ages = (now - slots * SLOT - SLOT // 2).clip(0, HORIZON)
        bins = np.frombuffer(self.bin_of, np.uint8)[ages]
        firsts = np.flatnonzero(np.diff(bins, prepend=N_BINS + 1))
        by_bin = np.zeros((self._n_kinds, self._n_bins))
        by_bin[:, bins[firsts]] = np.add.reduceat(waiting[:, slots % N_SLOTS], firsts, axis=1)
        return by_bin

    def _grids(self) -> Sequence[NDArray[np.float64]]:
        """Return the reused, lost and waiting as matrices on the same memory, a row per kind."""
        counts = (self._reused, self._lost, self._waiting)
        return [np.frombuffer(row, np.float64).reshape(self._n_kinds, -1) for row in counts]


def gittins_indices(
    hazards: NDArray[np.float64], widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Gittins index at each age: uses to expect per request of waiting, at best.

    At best, because one may give up at any later age. Keeping the runs of the largest index is the
    best use of room when many runs wait independently of each other (Gittins 1979).

    Parameters
    ----------
    hazards
        Probability of use within a bin, once it is reached: (kinds, bins), below 1.
    widths
        Requests in each bin: (bins,). A use falls in the middle of its bin.

    Returns
    -------
    Array
        (kinds, bins), at the beginning of each bin.
    """
    # Bins first: whatever is added up then lies side by side.
    used = np.ascontiguousarray(hazards.T)
    alive = np.cumprod(1 - used, axis=0) / (1 - used)
    uses = alive * used
    waits = alive * widths[:, None] * (1 - used / 2)
    n_uses, n_waits, indices = uses.copy(), waits.copy(), uses / waits
    n_bins = len(widths)
    for n_more in range(1, n_bins):
        # Those who wait from each bin through so many more.
        begin = slice(0, n_bins - n_more)
        n_uses[begin] += uses[n_more:]
        n_waits[begin] += waits[n_more:]
        np.maximum(indices[begin], n_uses[begin] / n_waits[begin], out=indices[begin])
    return indices.T
