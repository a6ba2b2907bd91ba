"""What took how long: laps of one clock, one after the other."""

from collections.abc import Callable


class Stopwatch:
    """Takes laps.

    Parameters
    ----------
    clock
        Tells seconds.

    Attributes
    ----------
    laps
        Seconds of each lap, by its name; of those of one name, together.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Give a name to the time since the last lap, or since the beginning."""
        now = self._clock()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now
