"""Pictures as SVG that takes its colours from the page: curves on two axes, and bars of shares.

What is drawn has classes and no colours, so that one picture serves light and dark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triskele.evaluate.report.markup import Html, Value, element, joined

WIDTH, HEIGHT = 520.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 14.0, 46.0
N_TICKS = 5
BAR_HEIGHT = 26
LEAST_SHARE_NAMED = 0.12
"""Shares below it have no room for their number."""
DIGITS = (1.0, 2.0, 5.0, 10.0)
SHORT = 30.0
"""Ends of a logarithmic axis that are not further apart than so many times have more numbers."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its ends, how its numbers are written, what stands below it, if it is a logarithm's.

    A logarithmic axis has only numbers above zero.
    """

    low: float
    high: float
    written: Callable[[float], str]
    label: str = ""
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1 between the ends."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, 1e-12))
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Return round numbers between the ends."""
        return self._powers() if self.is_log else self._multiples()

    def _powers(self) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        is_short = self.high / self.low < SHORT
        digits = (1.0, 2.0, 3.0, 5.0, 7.0) if is_short else DIGITS[:3]
        numbers = [digit * 10.0**decade for decade in decades for digit in digits]
        return [number for number in numbers if self.low <= number <= self.high]

    def _multiples(self) -> list[float]:
        raw = (self.high - self.low) / N_TICKS
        if raw <= 0:
            return [self.low]
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(digit * power for digit in DIGITS if digit * power >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line: its class, its points, and one of them to be marked and named."""

    tone: str
    points: Sequence[tuple[float, float]]
    mark: tuple[float, float] | None = None
    mark_text: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: its class, its share of the whole, what it is, and whether it is marked."""

    tone: str
    share: float
    said: str
    is_marked: bool = False


def curves(
    lines: Sequence[Curve], x: Axis, y: Axis, *, rule: float | None = None, described: str
) -> Html:
    """Return curves on two axes.

    Parameters
    ----------
    lines
        What is drawn, the last one on top.
    x, y
        The axes.
    rule
        A value of y at which a dashed line is drawn.
    described
        The picture in words, for who does not see it.
    """
    marks = joined(_mark(line, x, y) for line in lines)
    dashed = Html("") if rule is None else _level(y.place(rule), "rule")
    return element(
        "svg",
        {
            "class": "chart",
            "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}",
            "role": "img",
            "aria-label": described,
        },
        *_grid(x, y),
        dashed,
        *(_curve(line, x, y) for line in lines),
        marks,
    )


def shares(parts: Sequence[Part]) -> Html:
    """Return a bar whose parts are as long as their shares; text stays as large as it is."""
    drawn, at = list[Html](), 0.0
    for part in parts:
        if part.share <= 0:
            continue
        attributes: dict[str, Value] = {
            "class": f"{part.tone} {'marked' if part.is_marked else 'plain'}",
            "x": f"{100 * at:.2f}%",
            "width": f"{100 * part.share:.2f}%",
            "y": 0,
            "height": BAR_HEIGHT,
        }
        drawn.append(element("rect", attributes, element("title", None, part.said)))
        if part.share >= LEAST_SHARE_NAMED:
            middle = f"{100 * (at + part.share / 2):.2f}%"
            place: dict[str, Value] = {"x": middle, "y": BAR_HEIGHT / 2 + 5}
            classes: dict[str, Value] = {"class": "on" if part.is_marked else "off"}
            drawn.append(element("text", {**place, **classes}, f"{part.share:.0%}"))
        at += part.share
    return element("svg", {"class": "shares", "width": "100%", "height": BAR_HEIGHT}, *drawn)


def _grid(x: Axis, y: Axis) -> list[Html]:
    """Return lines and numbers of both axes, and what they say."""
    found = []
    for tick in y.ticks():
        place = y.place(tick)
        found.append(_level(place, "grid"))
        text: dict[str, Value] = {
            "x": LEFT - 8,
            "y": _down(place) + 4.5,
            "class": "of-y",
        }
        found.append(element("text", text, y.written(tick)))
    for tick in x.ticks():
        across = _across(x.place(tick))
        ends: dict[str, Value] = {"x1": across, "x2": across}
        heights: dict[str, Value] = {"y1": HEIGHT - BOTTOM, "y2": HEIGHT - BOTTOM + 4}
        found.append(element("line", {"class": "tick", **ends, **heights}))
        under: dict[str, Value] = {"x": across, "y": HEIGHT - BOTTOM + 19, "class": "of-x"}
        found.append(element("text", under, x.written(tick)))
    middle: dict[str, Value] = {"x": (LEFT + WIDTH - RIGHT) / 2, "y": HEIGHT - 6, "class": "of-x"}
    found.append(element("text", {**middle, "class": "label"}, x.label))
    return found


def _level(place: float, name: str) -> Html:
    down = _down(place)
    return element("line", {"class": name, "x1": LEFT, "x2": WIDTH - RIGHT, "y1": down, "y2": down})


def _curve(line: Curve, x: Axis, y: Axis) -> Html:
    inside = [
        (_across(_bounded(x.place(a))), _down(_bounded(y.place(b))))
        for a, b in line.points
        if b <= y.high
    ]
    path = " ".join(f"{'M' if n == 0 else 'L'}{a:.1f} {b:.1f}" for n, (a, b) in enumerate(inside))
    return element("path", {"class": f"curve {line.tone}", "d": path})


def _mark(line: Curve, x: Axis, y: Axis) -> Html:
    if line.mark is None:
        return Html("")
    across, down = _across(x.place(line.mark[0])), _down(y.place(line.mark[1]))
    dot: dict[str, Value] = {"class": f"dot {line.tone}", "cx": across, "cy": down, "r": 5.5}
    text: dict[str, Value] = {"class": f"named {line.tone}", "x": across, "y": down - 12}
    return joined([element("circle", dot), element("text", text, line.mark_text)])


def _across(place: float) -> float:
    return LEFT + place * (WIDTH - LEFT - RIGHT)


def _down(place: float) -> float:
    return HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)


def _bounded(place: float) -> float:
    return min(1.0, max(0.0, place))
