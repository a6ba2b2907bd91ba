"""The map of the queries: a dot per query in the colour of its cluster."""

from collections.abc import Sequence

import numpy as np

from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.report.markup import Html, element
from triskele.evaluate.terminal import clipped

WIDTH, HEIGHT, MARGIN = 1000, 640, 24
MANY = 1_200
"""Dots from which on they are drawn smaller."""
LARGE, SMALL, BADGE = 5.0, 3.2, 15
TEXT_LENGTH = 140
FEWEST_LABELLED = 3


def scatter(points: Floats, labels: Integers, texts: Sequence[str], notes: Sequence[str]) -> Html:
    """Return the map.

    Parameters
    ----------
    points
        Within [0, 1]², (n, 2).
    labels
        Cluster of each, (n,).
    texts, notes
        What is shown of a dot that is pointed at: (n,) each.
    """
    radius = SMALL if len(points) > MANY else LARGE
    x = MARGIN + points[:, 0] * (WIDTH - 2 * MARGIN)
    y = MARGIN + (1 - points[:, 1]) * (HEIGHT - 2 * MARGIN)
    dots = [
        element(
            "circle",
            {
                "class": f"k{label}",
                "cx": round(float(x[row]), 1),
                "cy": round(float(y[row]), 1),
                "r": radius,
                "data-t": clipped(texts[row], TEXT_LENGTH) or "(no text)",
                "data-n": notes[row],
            },
        )
        for row, label in enumerate(labels.tolist())
    ]
    sizes = np.bincount(labels)
    # The largest clusters come last, on top of the others.
    badges = [
        _badge(cluster, *_middle(x[labels == cluster], y[labels == cluster]))
        for cluster in np.argsort(sizes, kind="stable").tolist()
        if sizes[cluster] >= FEWEST_LABELLED
    ]
    return element(
        "svg",
        {
            "id": "map",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "role": "img",
            "aria-label": "Map of the queries, near in meaning is near on the map",
        },
        element("g", {"class": "dots"}, *dots),
        element("g", {"class": "badges"}, *badges),
    )


def _middle(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the dot that is nearest to the middle, which itself may lie among others."""
    nearest = np.hypot(x - np.median(x), y - np.median(y)).argmin()
    return float(x[nearest]), float(y[nearest])


def _badge(cluster: int, x: float, y: float) -> Html:
    return element(
        "g",
        {"class": f"k{cluster}"},
        element("circle", {"cx": x, "cy": y, "r": BADGE}),
        element("text", {"x": x, "y": y + 6, "text-anchor": "middle"}, str(cluster)),
    )
