"""Predicted against observed: whether favourites are as sure as they are said to be."""

from collections.abc import Sequence

from triskele.evaluate.holdout import Bin
from triskele.evaluate.report.axes import Axis
from triskele.evaluate.report.markup import Html, Value, element

SIDE, LEFT, BELOW, MARGIN = 320, 62, 46, 22
TICKS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LEAST = 0.5
N_ERRORS = 1.645
"""Standard errors either way that hold 90 %."""


def reliability(bins: Sequence[Bin]) -> Html:
    """Return the chart: on the diagonal, predictions say what happens."""
    lowest = min([LEAST, *(found.observed - N_ERRORS * found.error for found in bins)])
    axis = Axis(low=max(0.0, min(lowest, LEAST) - 0.02), high=1.0)

    def x(value: float) -> float:
        return LEFT + SIDE * axis.place(value)

    def y(value: float) -> float:
        return MARGIN + SIDE * (1 - axis.place(value))

    parts = []
    for tick in TICKS:
        if tick < axis.low:
            continue
        name = f"{tick:.0%}"
        parts += [
            element(
                "line",
                {"class": "grid", "x1": LEFT, "x2": LEFT + SIDE, "y1": y(tick), "y2": y(tick)},
            ),
            element("text", {"x": LEFT - 8, "y": y(tick) + 4, "text-anchor": "end"}, name),
            element("text", {"x": x(tick), "y": MARGIN + SIDE + 18, "text-anchor": "middle"}, name),
        ]
    diagonal = {"x1": x(axis.low), "y1": y(axis.low), "x2": x(1.0), "y2": y(1.0)}
    parts.append(element("line", {"class": "ideal", **diagonal}))
    for found in bins:
        at, reach = x(found.predicted), N_ERRORS * found.error
        said = (
            f"predicted {found.predicted:.1%}, observed {found.observed:.1%} "
            f"± {reach:.1%}, {found.n:,} comparisons"
        )
        ends = {"y1": y(found.observed - reach), "y2": y(min(1.0, found.observed + reach))}
        parts += [
            element("line", {"class": "error", "x1": at, "x2": at, **ends}),
            element(
                "circle",
                {"cx": at, "cy": y(found.observed), "r": 5.5},
                element("title", None, said),
            ),
        ]
    middle = LEFT + SIDE / 2
    below = MARGIN + SIDE + BELOW - 4
    upright = f"rotate(-90 14 {MARGIN + SIDE / 2:.0f})"
    turned: dict[str, Value] = {
        "class": "of",
        "x": 14,
        "y": MARGIN + SIDE / 2,
        "text-anchor": "middle",
        "transform": upright,
    }
    parts += [
        element(
            "text",
            {"class": "of", "x": middle, "y": below, "text-anchor": "middle"},
            "predicted chance of the favourite",
        ),
        element("text", turned, "how often it won"),
    ]
    box = f"0 0 {LEFT + SIDE + MARGIN} {MARGIN + SIDE + BELOW}"
    label = "Predicted chances against outcomes on queries held out"
    return element(
        "svg", {"class": "reliability", "viewBox": box, "role": "img", "aria-label": label}, *parts
    )
