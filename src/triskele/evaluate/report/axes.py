"""Axes: where a value lies between the ends of a chart, and the round numbers on the way."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From one value to another."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float], *, margin: float = 0.04) -> "Axis":
        """Return the axis on which all finite values lie, with room at both ends."""
        known = [value for value in values if isfinite(value)]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        if high - low < TINY:
            low, high = low - 0.5, high + 0.5
        room = margin * (high - low)
        return cls(low=low - room, high=high + room)

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1; what is beyond an end lies at it."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def percent(self, value: float) -> str:
        """Return that as a length in SVG."""
        return f"{100 * self.place(value):.2f}%"

    def ticks(self, n: int) -> tuple[float, ...]:
        """Return round numbers on the axis, about n of them."""
        raw = (self.high - self.low) / max(1, n)
        power = 10.0 ** floor(log10(raw))
        step = next(step * power for step in STEPS if step * power >= raw - TINY)
        first, last = ceil(self.low / step - TINY), floor(self.high / step + TINY)
        return tuple(number * step for number in range(first, last + 1))


def signed(value: float) -> str:
    """Return a tick's label: with a sign, without needless decimals, a true minus."""
    text = f"{value:+.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("+0", "-0") else text.replace("-", "−")
