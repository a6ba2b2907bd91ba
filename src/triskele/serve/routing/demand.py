"""How much comes: the rate of requests, the work they bring, and how long answers get.

Rates are averages over a window that slides exponentially, corrected for a window that has not been
filled yet. Answers are averaged per class of prompts.
"""

from math import exp, expm1

N_KINDS = 4096


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
        kept = exp((self._last - now) / self._window)
        self._last = now
        n_before = self._n_requests * kept
        self._n_requests = n_before + 1.0
        self._work *= kept
        seconds = max(-expm1((self._begun - now) / self._window) * self._window, 1.0)
        return n_before / seconds, self._work / seconds

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


class AnswerLengths:
    """Expected tokens of an answer, by class of prompt; of classes, the last ``N_KINDS`` seen.

    Parameters
    ----------
    default
        Before any answer has been seen.
    weight
        Weight of one more answer of a class that has been seen often.
    """

    def __init__(self, *, default: float = 128.0, weight: float = 0.05) -> None:
        self._default, self._weight = default, weight
        self._means: dict[str, tuple[int, float]] = {}

    def expect(self, kind: str) -> float:
        """Return the expected length of an answer to a prompt of a class."""
        known = self._means.get(kind)
        return self._default if known is None else known[1]

    def observe(self, kind: str, n_output: int) -> None:
        """Learn the length of an answer."""
        n_seen, mean = self._means.get(kind, (0, 0.0))
        n_seen += 1
        # Entered anew, so that the kind seen longest ago comes first.
        self._means.pop(kind, None)
        self._means[kind] = n_seen, mean + max(self._weight, 1 / n_seen) * (n_output - mean)
        if len(self._means) > N_KINDS:
            del self._means[next(iter(self._means))]

    def state(self) -> dict[str, list[float]]:
        """Return what has been learned."""
        return {kind: [n_seen, mean] for kind, (n_seen, mean) in self._means.items()}

    def restore(self, state: dict[str, list[float]]) -> None:
        """Take up what :meth:`state` returned."""
        self._means = {kind: (int(n_seen), mean) for kind, (n_seen, mean) in state.items()}
