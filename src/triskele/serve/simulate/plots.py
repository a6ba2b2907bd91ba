"""One picture of some trials: how long people waited, and why.

Above: distributions of the time to first token and of latency, and what a router expected against
what came. Below: hit rate and requests in flight over time, and how the load fell on the workers.

Drawing is done on figures of their own with the Agg backend, so that neither a display nor
pyplot's global state is touched.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from numpy.typing import NDArray

from triskele.serve.simulate.result import Result

COLORS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d5fd3", "#e08e1b", "#5c6b73")
DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.2)))
"""When all colours are used up, they come again in the next of these."""
INK, FAINT = "#22303c", "#d8dee4"
N_BINS = 40
"""Parts of the time axis over which a rate is averaged, at most."""
BIN_REQUESTS = 25
"""Requests in one of them, on average, at least."""
N_SHOWN = 1500
"""Most points of a cloud, and of a curve."""
LOW_SHARE = 0.002
"""Share of the quickest requests that a logarithmic axis may leave out."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """What to draw of one trial, and what to call it."""

    label: str
    result: Result


@dataclass(frozen=True, slots=True)
class _Style:
    color: str
    dashes: str | tuple[int, tuple[float, float]]


def plot_results(path: Path, curves: Sequence[Curve], *, title: str, slo: float) -> None:
    """Draw the trials and save the picture.

    Parameters
    ----------
    path
        Where to write; the suffix chooses the format.
    curves
        One or several trials of the same workload.
    title
        Line above the picture.
    slo
        Objective on the time to first token in seconds, to be marked.
    """
    # The load has a row per trial, the names stand four in a row.
    below = max(3.8, 0.45 * len(curves))
    figure = Figure(
        figsize=(14.0, 4.3 + below + 0.25 * ((len(curves) - 1) // 4)),
        dpi=110,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12),
    )
    FigureCanvasAgg(figure)
    (ttft, latency, expected), (hits, flight, load) = figure.subplots(
        2, 3, gridspec_kw={"height_ratios": (3.8, below)}
    )
    styles = [
        _Style(COLORS[i % len(COLORS)], DASHES[i // len(COLORS) % len(DASHES)])
        for i in range(len(curves))
    ]
    _draw_distribution(ttft, [curve.result.ttft for curve in curves], styles)
    ttft.axvline(slo, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    _dress(
        ttft,
        "Time to first token",
        "seconds; the dashed line is the objective",
        "share of requests",
    )
    _draw_distribution(latency, [curve.result.latency for curve in curves], styles)
    _dress(latency, "Latency", "seconds", "share of requests")
    _draw_expected(expected, curves, styles)
    _dress(expected, "Time to first token, predicted", "observed, seconds", "predicted, seconds")
    for curve, style in zip(curves, styles, strict=True):
        _draw_line(hits, *_hit_rate(curve.result), style)
        _draw_line(flight, *_in_flight(curve.result), style)
    _dress(hits, "Hit rate over time", "seconds", "prompt tokens found in a cache")
    _dress(flight, "Requests in flight over time", "seconds", "requests, mean")
    hits.set_ylim(bottom=0.0)
    flight.set_ylim(bottom=0.0)
    hits.yaxis.set_major_formatter(FuncFormatter(_percent))
    _draw_load(load, curves, styles)
    _dress(load, "Load per worker", "prompt tokens computed, relative to the mean", "")
    figure.legend(
        handles=ttft.lines[: len(curves)],
        labels=[curve.label for curve in curves],
        loc="outside upper left",
        ncols=min(4, len(curves)),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        title=title,
        alignment="left",
        title_fontproperties={"size": 13, "weight": "bold"},
    )
    figure.savefig(path)


def _dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=11, pad=8)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, length=3)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)


def _draw_line(axes: Axes, x: Floats, y: Floats, style: _Style) -> None:
    axes.plot(x, y, color=style.color, linestyle=style.dashes, linewidth=1.6)


def _draw_distribution(axes: Axes, values: Sequence[Floats], styles: Sequence[_Style]) -> None:
    """Draw the share of requests that took at most so long, time on a logarithmic axis."""
    for seconds, style in zip(values, styles, strict=True):
        shares = np.linspace(0.0, 1.0, min(len(seconds), N_SHOWN))
        _draw_line(axes, np.quantile(seconds, shares) if len(seconds) else shares, shares, style)
    _logarithmic(axes, values, "x")
    axes.set_ylim(0.0, 1.01)
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))


def _draw_expected(axes: Axes, curves: Sequence[Curve], styles: Sequence[_Style]) -> None:
    """Draw each request of the routers that predict, against the line of perfect prediction."""
    both: list[Floats] = []
    for curve, style in zip(curves, styles, strict=True):
        observed = curve.result.ttft
        predicted = curve.result["predicted_ttft"][curve.result.is_finished]
        is_known = ~np.isnan(predicted) & (observed > 0) & (predicted > 0)
        observed, predicted = observed[is_known], predicted[is_known]
        if not len(observed):
            continue
        error = float(np.median(np.abs(predicted - observed) / observed))
        shown = slice(None, None, -(-len(observed) // N_SHOWN))
        axes.scatter(
            observed[shown],
            predicted[shown],
            s=6,
            alpha=0.35,
            linewidths=0,
            color=style.color,
            label=f"{curve.label}: half within {error:.0%}",
        )
        both += [observed, predicted]
    if not both:
        axes.text(
            0.5, 0.5, "no router here predicts", transform=axes.transAxes, ha="center", color=INK
        )
        axes.set_xticks([])
        axes.set_yticks([])
        return
    for side in ("x", "y"):
        _logarithmic(axes, both, side)
    axes.axline((1.0, 1.0), (2.0, 2.0), color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.legend(
        loc="upper left",
        fontsize=9,
        labelcolor=INK,
        markerscale=2.5,
        facecolor="white",
        edgecolor="none",
        framealpha=0.85,
    )


def _draw_load(axes: Axes, curves: Sequence[Curve], styles: Sequence[_Style]) -> None:
    """Draw one row per trial and one dot per worker."""
    for row, (curve, style) in enumerate(zip(curves, styles, strict=True)):
        load = _load(curve.result)
        alpha = 0.8 if len(load) <= 32 else 0.25
        axes.scatter(
            load, np.full(len(load), row), s=60, alpha=alpha, linewidths=0, color=style.color
        )
    axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks(
        range(len(curves)), [curve.label.replace("+", "\n+") for curve in curves], fontsize=9
    )
    axes.set_ylim(len(curves) - 0.5, -0.5)
    low, high = axes.get_xlim()
    reach = max(1.05 * max(high - 1.0, 1.0 - low), 0.1)
    axes.set_xlim(max(0.0, 1.0 - reach), 1.0 + reach)


def _logarithmic(axes: Axes, values: Sequence[Floats], side: str) -> None:
    """Make an axis logarithmic, from about the least to the greatest, with plain numbers on it.

    Values that are all of one size stay on a linear axis.
    """
    known = [x[x > 0] for x in values if (x > 0).any()]
    if not known:
        return
    low = min(float(np.quantile(x, LOW_SHARE)) for x in known)
    high = max(float(x.max()) for x in known)
    if high / low < 3.0:
        return
    axis = axes.xaxis if side == "x" else axes.yaxis
    (axes.set_xscale if side == "x" else axes.set_yscale)("log")
    (axes.set_xlim if side == "x" else axes.set_ylim)(low / 1.1, high * 1.1)
    axis.set_major_locator(FixedLocator(_round_numbers(low, high)))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _round_numbers(low: float, high: float) -> list[float]:
    """Return the numbers to write on a logarithmic axis: as many as help, never a crowd."""
    n_decades = math.log10(high / low)
    digits = (1, 2, 5) if n_decades < 1.5 else (1, 3) if n_decades < 4.0 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [digit * 10.0**exponent for exponent in exponents for digit in digits]
    return [number for number in numbers if low / 1.1 <= number <= high * 1.1]


def _hit_rate(result: Result) -> tuple[Floats, Floats]:
    """Return times and the share of prompt tokens found in a cache around them."""
    done = result.is_finished
    arrived = result["arrived"][done]
    if not len(arrived):
        return np.zeros(0), np.zeros(0)
    n_bins = min(max(len(arrived) // BIN_REQUESTS, 1), N_BINS)
    edges = np.linspace(arrived.min(), max(arrived.max(), arrived.min() + 1e-9), n_bins + 1)
    found, _ = np.histogram(arrived, edges, weights=result["n_cached"][done])
    asked, _ = np.histogram(arrived, edges, weights=result["n_prompt"][done])
    is_known = asked > 0
    return ((edges[1:] + edges[:-1]) / 2)[is_known], found[is_known] / asked[is_known]


def _in_flight(result: Result) -> tuple[Floats, Floats]:
    """Return times and how many requests, on average around them, were not answered yet."""
    done = result.is_finished
    arrived, ended = np.sort(result["arrived"][done]), np.sort(result["finished"][done])
    if not len(ended):
        return np.zeros(0), np.zeros(0)
    times = np.linspace(0.0, ended[-1], N_BINS * 50 + 1)[:-1]
    n_arrived = np.searchsorted(arrived, times, side="right")
    n_open = n_arrived - np.searchsorted(ended, times, side="right")
    return times.reshape(N_BINS, -1).mean(1), n_open.reshape(N_BINS, -1).mean(1)


def _load(result: Result) -> Floats:
    """Return how many prompt tokens each worker computed, relative to the mean."""
    done = result.is_finished
    n_computed = result["n_prompt"] - result["n_cached"]
    load = np.bincount(
        result["worker"][done].astype(np.intp),
        weights=n_computed[done],
        minlength=len(result.workers),
    )
    return np.asarray(load / max(1.0, load.mean()))


def _plain(value: float, place: object) -> str:
    return f"{value:g}"


def _percent(value: float, place: object) -> str:
    return f"{value:.0%}"
