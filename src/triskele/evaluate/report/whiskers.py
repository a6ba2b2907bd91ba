"""Leaderboards as dots with whiskers: a line per model, its interval on a common axis.

Every line is a picture of its own whose lengths are in percent, so that text stays as large as it
is however narrow the page.
"""

from collections.abc import Iterable, Sequence

from triskele.evaluate.report.axes import Axis, signed
from triskele.evaluate.report.markup import Html, Value, element, joined
from triskele.evaluate.standings import Standing

N_TICKS = 5
HEIGHT, MIDDLE, RADIUS, CAP = 20, 10, 4.5, 4


def common_axis(boards: Iterable[Sequence[Standing]]) -> Axis:
    """Return the axis on which all whiskers of some lines lie."""
    return Axis.around(
        end for lines in boards for line in lines for end in (line.lower, line.upper)
    )


def whisker_chart(lines: Iterable[Standing], axis: Axis) -> Html:
    """Return lines of a leaderboard with their axis below."""
    rows = [_row(line, axis) for line in lines]
    return element("div", {"class": "board"}, *rows, _axis_row(axis))


def _row(line: Standing, axis: Axis) -> Html:
    may_be = f"{line.best}" if line.best == line.worst else f"{line.best}–{line.worst}"
    said = (
        f"{line.model}: strength {line.strength:+.2f}, from {line.lower:+.2f} to "
        f"{line.upper:+.2f}; rank {may_be}; {line.wins:,.1f} wins of {line.n_comparisons:,.1f}"
    )
    return element(
        "div",
        {"class": "line", "title": said},
        element("span", {"class": "rank"}, str(line.rank)),
        element("span", {"class": "name"}, line.model),
        _track(line, axis),
        element("span", {"class": "figure"}, f"{line.strength:+.2f}".replace("-", "−")),
        element("span", {"class": "ranks"}, may_be),
    )


def _track(line: Standing, axis: Axis) -> Html:
    left, right = axis.percent(line.lower), axis.percent(line.upper)
    at, zero = axis.percent(line.strength), axis.percent(0.0)
    average: dict[str, Value] = {"class": "zero", "x1": zero, "x2": zero, "y1": 0, "y2": HEIGHT}
    has_average = axis.low < 0 < axis.high
    ends = [
        element("line", {"x1": x, "x2": x, "y1": MIDDLE - CAP, "y2": MIDDLE + CAP})
        for x in (left, right)
    ]
    return element(
        "svg",
        {"class": "track", "width": "100%", "height": HEIGHT, "aria-hidden": "true"},
        *([element("line", average)] if has_average else []),
        element("line", {"x1": left, "x2": right, "y1": MIDDLE, "y2": MIDDLE}),
        *ends,
        element("circle", {"cx": at, "cy": MIDDLE, "r": RADIUS}),
    )


def _axis_row(axis: Axis) -> Html:
    labels = joined(
        element(
            "text",
            {"x": axis.percent(tick), "y": 13, "text-anchor": "middle"},
            signed(tick),
        )
        for tick in axis.ticks(N_TICKS)
    )
    svg = element("svg", {"class": "ticks", "width": "100%", "height": 18}, labels)
    blank = element("span", {"class": "rank"}), element("span", {"class": "name"})
    return element("div", {"class": "line axis", "aria-hidden": "true"}, *blank, svg)
