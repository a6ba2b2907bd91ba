"""Who was compared with whom, and how often: a square per pair of models."""

from collections.abc import Sequence

import numpy as np

from triskele.evaluate.columns import Floats
from triskele.evaluate.report.markup import Html, Value, element

CELL, GAP, LABEL = 34, 2, 8
WIDTH_OF_LETTER = 7.2
MAX_MODELS = 60
"""More are not shown: the page would be longer than anybody reads."""
NUMBERED = 14
"""Up to so many models, counts are written into the squares."""
LONGEST_NAME = 28
FAINTEST, STRONGEST = 0.06, 0.62
"""How opaque the squares are of few and of the most comparisons."""


def heatmap(models: Sequence[str], counts: Floats) -> Html:
    """Return the comparisons of pairs of models as a picture.

    Parameters
    ----------
    models
        In the order that is wanted; the first ``MAX_MODELS`` are shown.
    counts
        Comparisons of each pair, (n_models, n_models), in that order.
    """
    names = [_short(name) for name in models[:MAX_MODELS]]
    n = len(names)
    shown = counts[:n, :n]
    most = float(shown.max(initial=0.0))
    left = LABEL + WIDTH_OF_LETTER * max(map(len, names))
    side = n * CELL
    parts = [
        element(
            "text",
            {"x": left - LABEL, "y": CELL * (row + 0.5) + 4, "text-anchor": "end"},
            name,
        )
        for row, name in enumerate(names)
    ]
    parts += [
        _column_name(name, left + CELL * (column + 0.5), side) for column, name in enumerate(names)
    ]
    for row in range(n):
        for column in range(n):
            if row != column:
                x, y = left + CELL * column, float(CELL * row)
                parts += _cell(names, shown, row, column, x, y, most)
    below = LABEL + WIDTH_OF_LETTER * max(map(len, names)) * 0.75 + 12
    width, height = left + side, side + below
    return element(
        "svg",
        {
            "class": "heat",
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "width": f"{width:.0f}",
            "role": "img",
            "aria-label": "How often each pair of models was compared",
        },
        *parts,
    )


def _cell(
    names: Sequence[str], counts: Floats, row: int, column: int, x: float, y: float, most: float
) -> list[Html]:
    count = float(counts[row, column])
    said = f"{names[row]} and {names[column]}: {count:,.6g} comparisons"
    share = float(np.sqrt(count / most)) if most > 0 else 0.0
    box: dict[str, Value] = {"x": x, "y": y, "width": CELL - GAP, "height": CELL - GAP, "rx": 4}
    look: dict[str, Value] = {"fill-opacity": FAINTEST + (STRONGEST - FAINTEST) * share}
    if count == 0:
        look = {"class": "none"}
    cells = [element("rect", {**box, **look}, element("title", None, said))]
    if len(names) <= NUMBERED and count > 0:
        middle: dict[str, Value] = {"x": x + (CELL - GAP) / 2, "y": y + CELL / 2 + 3}
        anchor: dict[str, Value] = {"class": "count", "text-anchor": "middle"}
        cells.append(element("text", {**anchor, **middle}, f"{count:,.0f}"))
    return cells


def _column_name(name: str, x: float, side: float) -> Html:
    y = side + 14.0
    turned = f"rotate(-48 {x:.1f} {y:.1f})"
    return element("text", {"x": x, "y": y, "text-anchor": "end", "transform": turned}, name)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
