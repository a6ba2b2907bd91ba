"""Pictures of runs: loss against steps, several runs side by side, and where they meet a target.

Drawing is done on figures of their own with the Agg backend, so that neither a display nor
pyplot's global state is touched. The plots know nothing of models or files other than their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from triskele.train.metrics import Curves, steps_to_reach

COLORS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d5fd3", "#e08e1b", "#5c6b73")
INK, FAINT = "#22303c", "#d8dee4"
SMOOTHED_POINTS = 50
"""Training loss is averaged over about one such part of the run."""
SHOWN_SHARE = 0.92
"""The share of all losses that the picture shows; the highest, of the first steps, it does not."""


@dataclass(frozen=True, slots=True)
class Run:
    """What to draw of one run, and what to call it."""

    label: str
    curves: Curves


def plot_losses(
    path: Path, runs: Sequence[Run], *, title: str, target: float | None = None
) -> None:
    """Draw the losses of some runs and save the picture.

    Validation loss is drawn bold where there is any, training loss as a faint cloud with its
    running mean. With a target, each run's first crossing is marked with its step.

    Parameters
    ----------
    path
        Where to write; the suffix chooses the format.
    runs
        One or several runs.
    title
        Line above the picture.
    target
        A validation loss to mark.
    """
    figure = Figure(figsize=(8.0, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.add_subplot()
    _dress(axes)
    for color, run in zip(_cycle(len(runs)), runs, strict=True):
        _draw_run(axes, run, color)
    if target is not None:
        axes.axhline(target, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        for color, run in zip(_cycle(len(runs)), runs, strict=True):
            _mark_target(axes, run, color, target)
    _frame(axes, runs)
    axes.set_title(title, loc="left", color=INK, fontsize=11, pad=12)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    figure.savefig(path)


def _dress(axes: Axes) -> None:
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("loss, nats per token", color=INK)
    axes.tick_params(colors=INK, length=3)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)


def _draw_run(axes: Axes, run: Run, color: str) -> None:
    curves = run.curves
    has_validation = bool(curves.validation_steps)
    if curves.steps:
        steps = np.asarray(curves.steps, dtype=float)
        losses = np.asarray(curves.losses, dtype=float)
        axes.plot(steps, losses, color=color, linewidth=0.5, alpha=0.18, zorder=2)
        mean_steps, means = _running_mean(steps, losses)
        axes.plot(
            mean_steps,
            means,
            color=color,
            label=None if has_validation else run.label,
            linewidth=1.0 if has_validation else 1.8,
            alpha=0.55 if has_validation else 1.0,
            zorder=3,
        )
    if has_validation:
        axes.plot(
            curves.validation_steps,
            curves.validation_losses,
            color=color,
            linewidth=1.8,
            marker="o",
            markersize=2.5,
            label=f"{run.label}: {curves.validation_losses[-1]:.3f}",
            zorder=4,
        )


def _running_mean(
    steps: NDArray[np.float64], losses: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width = max(1, len(losses) // SMOOTHED_POINTS)
    kernel = np.full(width, 1.0 / width)
    return np.convolve(steps, kernel, mode="valid"), np.convolve(losses, kernel, mode="valid")


def _mark_target(axes: Axes, run: Run, color: str, target: float) -> None:
    reached = steps_to_reach(run.curves.validation_steps, run.curves.validation_losses, target)
    if reached is None:
        return
    axes.plot([reached], [target], marker="D", markersize=6, color=color, zorder=5)
    axes.annotate(
        f"{reached:.0f}",
        (reached, target),
        xytext=(0, 10),
        textcoords="offset points",
        ha="center",
        bbox={
            "boxstyle": "round,pad=0.2",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.85,
        },
        zorder=6,
        color=color,
        fontsize=9,
        fontweight="bold",
    )


def _frame(axes: Axes, runs: Sequence[Run]) -> None:
    """Leave the first steep fall outside the picture: the curves part below it."""
    finite = [
        np.asarray(losses)[np.isfinite(losses)]
        for run in runs
        for losses in (run.curves.losses, run.curves.validation_losses)
        if losses
    ]
    values = np.concatenate([x for x in finite if len(x)] or [np.zeros(1)])
    low, high = float(values.min()), float(np.quantile(values, SHOWN_SHARE))
    margin = 0.05 * max(high - low, 1e-3)
    axes.set_ylim(low - margin, high + margin)


def _cycle(n: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(n)]
