"""How the claims' pictures look: ink, a light grid, no box."""

from typing import Any

INK, MUTED, GRID = "#22282f", "#8a929b", "#e3e6e9"
STYLE = {"font.size": 9, "axes.edgecolor": MUTED, "text.color": INK}


def tidy(axis: Any, /, *, hidden: tuple[str, ...] = ("top", "right"), **grid: Any) -> None:
    """Put a grid behind an axis and take the box and the ticks away."""
    axis.grid(color=GRID, linewidth=0.7, **grid)
    axis.set_axisbelow(True)
    axis.spines[list(hidden)].set_visible(False)
    axis.tick_params(colors=INK, which="both", length=0)
