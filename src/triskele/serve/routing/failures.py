"""Workers that fail: seconds that choosing one costs more, which fade.

A worker that fails what it is sent is always idle, and would seem the best of all. So each request
that it fails before its first token makes it dearer by what the request was predicted to take, and
half of that is forgotten every few seconds: it is tried again, and seldom as long as it fails.
"""

import numpy as np

from triskele.serve.routing.regression import Floats

FORGOTTEN = 1e-6


class Failures:
    """Seconds to be added to the costs of workers.

    Parameters
    ----------
    half_life
        Seconds after which half of them is forgotten.
    """

    def __init__(self, *, half_life: float = 10.0) -> None:
        self._half_life = half_life
        self._seconds: Floats = np.zeros(0)
        self._at = 0.0
        self._is_any = False

    def grow(self, n_slots: int) -> None:
        """Make room for workers up to ``n_slots``."""
        self._seconds = np.pad(self._seconds, (0, n_slots - len(self._seconds)))

    def add(self, slot: int, seconds: float, now: float) -> None:
        """Make a worker dearer."""
        self._fade(now)
        self._seconds[slot] += seconds
        self._is_any = True

    def clear(self, slot: int) -> None:
        """Forget the failures of a worker."""
        self._seconds[slot] = 0.0

    def seconds(self, now: float) -> Floats | None:
        """Return what to add to costs, (n_slots,); ``None`` if nothing."""
        if self._is_any:
            self._fade(now)
            self._is_any = bool(self._seconds.max() > FORGOTTEN)
        return self._seconds if self._is_any else None

    def _fade(self, now: float) -> None:
        self._seconds *= 2.0 ** min(0.0, (self._at - now) / self._half_life)
        self._at = now
