"""How much comes: the rate of requests, and of the work they bring.

Rates are averages over a window that slides exponentially, corrected for a window that has not been
filled yet.
"""

from math import exp, expm1


class Demand:
    """Requests and seconds of work per second.

    Parameters
    ----------
    window
        Seconds over which rates are averaged.
    """

    def __init__(self, *, window: float = 30.0) -> None:
        self._window = window
        self._begun: float | None = None
        self._last = 0.0
        self._n_requests = 0.0
        self._work = 0.0

    def arrive(self, now: float) -> tuple[float, float]:
        """Count a request; returns requests and work per second, of those before it."""
        if self._begun is None:
            self._begun = self._last = now
        rates = self.rates(now)
        kept = exp((self._last - now) / self._window)
        self._last = now
        self._n_requests = self._n_requests * kept + 1.0
        self._work *= kept
        return rates

    def rates(self, now: float) -> tuple[float, float]:
        """Return requests and work per second until now."""
        if self._begun is None:
            return 0.0, 0.0
        kept = exp((self._last - now) / self._window)
        seconds = max(-expm1((self._begun - now) / self._window) * self._window, 1.0)
        return self._n_requests * kept / seconds, self._work * kept / seconds

    def add(self, work: float) -> None:
        """Count the work of the request that arrived last, in seconds of one worker."""
        self._work += work

    def state(self) -> dict[str, float] | None:
        """Return what has been counted, or ``None`` before the first request."""
        if self._begun is None:
            return None
        lasted = self._last - self._begun
        return {"lasted": lasted, "n_requests": self._n_requests, "work": self._work}

    def restore(self, state: dict[str, float] | None, now: float) -> None:
        """Take up what :meth:`state` returned, as if the last request had come now."""
        if state is not None:
            self._begun, self._last = now - state["lasted"], now
            self._n_requests, self._work = state["n_requests"], state["work"]
