"""Claim: U Σᵖ Vᵀ within 3 % of the exact one, at no more products than Muon's polar factor.

For condition numbers, power-law spectra, exponents, shapes and precisions: the relative Frobenius
error of ``spectral_power`` against the known U Σᵖ Vᵀ in float64, and its multiply-adds relative to
Muon's five Newton–Schulz steps. One chain of each length serves every exponent. A "bfloat16" row
is the worse of two: products in bfloat16 on a float32 matrix, and on one that is itself bfloat16.
The published Taylor update and Muon's step do not mean to have this size, so theirs is the error
left by the best scalar.

    python -m benchmarks.claims.spectral_accuracy            128 wide, one seed
    python -m benchmarks.claims.spectral_accuracy --full     512 wide, three seeds
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot
from torch import Tensor

from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.style import INK, MUTED, STYLE, tidy
from triskele.optim.chain import CHAINS
from triskele.optim.spectral import Method, multiply_adds, spectral_power

EXPONENTS = (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0)
CONDITIONS = (10, 30, 100, 300, 1000, 3000, 10000)
DECAYS = (0.5, 1.0, 1.5)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GOAL = 0.03
# Largest condition number, the steps of the chain that serves it, and what it may cost.
CLAIMED = ((100, 5, 1.0), (1000, 7, 1.4))
OURS, LONG, PUBLISHED, MUON = "#b5473c", "#2f6690", "#c9952b", "#8a929b"
Row = dict[str, Any]


def main() -> None:
    """Measure, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="512 wide, three seeds")
    full = parser.parse_args().full
    width, seeds = (512, (0, 1, 2)) if full else (128, (0,))
    shapes = [(width, width), (width, width * 5 // 4), (width, 4 * width), (3 * width, width)]
    rows: list[Row] = []
    for shape in shapes:
        for name, values in spectra(width):
            rows.extend(measure(shape, name, values, seeds))
        print(f"measured {shape[0]}×{shape[1]}", flush=True)
    sizes = ", ".join(f"{m}×{n}" for m, n in shapes)
    path = record(
        "spectral_accuracy",
        list(figures_of(rows)),
        rows=rows,
        seeds=seeds,
        directory=RESULTS if full else SHORT,
        notes=f"{sizes}; the worst of all exponents, spectra, shapes and seeds; in bfloat16 the "
        "chain of 7 keeps its first two steps, and the whole of a wide matrix, in float32",
    )
    plot([row for row in rows if row["shape"] == [width, width]], path.with_suffix(".png"))


def spectra(width: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names and singular values: log-uniform with a condition number, then power laws."""
    for condition in CONDITIONS:
        yield f"κ={condition}", float(condition) ** -torch.linspace(0, 1, width).double()
    for decay in DECAYS:
        yield f"i^-{decay:g}", torch.arange(1, width + 1).double() ** -decay


def measure(
    shape: tuple[int, int], spectrum: str, values: Tensor, seeds: Sequence[int]
) -> Iterator[Row]:
    """Yield a row per exponent, method, chain and precision, the worst of the seeds."""
    u, vt = directions(shape, len(values), seeds)
    muon = multiply_adds(shape, method="newton_schulz")
    tried: list[tuple[Method, int, str]] = [
        ("chain", steps, precision) for steps in CHAINS for precision in PRECISIONS
    ]
    tried += [("taylor", 5, "bfloat16"), ("newton_schulz", 5, "bfloat16")]
    matrices = ((u * values) @ vt).float()
    rounded = matrices.bfloat16()
    # Rounding moves singular values and directions: what it was given is what counts.
    ur, sr, vtr = torch.linalg.svd(rounded.double(), full_matrices=False)
    for p in EXPONENTS:
        exact = (u * values**p) @ vt
        exact_rounded = (ur * sr.unsqueeze(-2) ** p) @ vtr
        for method, steps, precision in tried:
            given = [(matrices, exact)]
            if method == "chain" and precision == "bfloat16":
                given.append((rounded, exact_rounded))
            dtype = PRECISIONS[precision]
            errors = [
                error(M, p, target, method=method, steps=steps, dtype=dtype) for M, target in given
            ]
            cost = multiply_adds(shape, p=p, method=method, steps=steps, dtype=dtype)
            yield {
                "p": p,
                "spectrum": spectrum,
                "condition": round(float(values[0] / values[-1]), 1),
                "shape": list(shape),
                "dtype": precision,
                "method": method,
                "steps": steps,
                "error": float(f"{max(errors):.3g}"),
                "cost": round(cost / muon, 3),
            }


def directions(shape: tuple[int, int], k: int, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return random singular vectors, (seeds, m, k) and (seeds, k, n), in float64."""
    pair = []
    for size, offset in zip(shape, (0, 1000), strict=True):
        generators = [torch.Generator().manual_seed(seed + offset) for seed in seeds]
        normal = [torch.randn(size, k, generator=g, dtype=torch.float64) for g in generators]
        pair.append(torch.linalg.qr(torch.stack(normal))[0])
    return pair[0], pair[1].mT


def error(
    M: Tensor, p: float, exact: Tensor, *, method: Method, steps: int, dtype: torch.dtype
) -> float:
    """Return the largest relative Frobenius error over a stack of matrices."""
    got = spectral_power(M, p, method=method, steps=steps, dtype=dtype, scale="none").double()
    if method != "chain":
        got = got * (got * exact).sum((-2, -1), True) / got.square().sum((-2, -1), True)
    distance = (got - exact).norm(dim=(-2, -1)) / exact.norm(dim=(-2, -1))
    return float(distance.max())


def figures_of(rows: list[Row]) -> Iterator[Figure]:
    """Yield the worst error and cost of each claim, then what its rivals and limits are."""
    for condition, steps, limit in CLAIMED:
        for precision in PRECISIONS:
            chosen = [
                row
                for row in rows
                if _is(row, "chain", precision, steps) and row["condition"] <= condition
            ]
            worst = max(row["error"] for row in chosen)
            cost = max(row["cost"] for row in chosen)
            yield Figure(
                name=f"worst error for κ ≤ {condition}, {precision}",
                value=100 * worst,
                unit=" %",
                goal=f"≤ {100 * GOAL:g} %",
                holds=worst <= GOAL,
            )
            yield Figure(
                name=f"multiply-adds relative to Muon for κ ≤ {condition}, {precision}",
                value=cost,
                goal=f"≤ {limit:g}",
                holds=cost <= limit,
            )
    for method, name in (("taylor", "published Taylor update"), ("newton_schulz", "Muon's step")):
        errors = [row["error"] for row in rows if row["method"] == method and row["p"] == -0.25]
        yield Figure(
            name=f"median error at p = −0.25, best scalar given, {name}",
            value=100 * statistics.median(errors),
            unit=" %",
        )
    for steps, p in ((7, -0.25), (7, 0.25)):
        errors = [
            row["error"]
            for row in rows
            if _is(row, "chain", "float32", steps) and row["p"] == p and row["condition"] == 10000
        ]
        yield Figure(
            name=f"beyond the floor: error at κ = 10000, p = {p:g}, chain of {steps}",
            value=100 * max(errors),
            unit=" %",
        )


def plot(rows: list[Row], path: Path) -> None:
    """Draw gain curves, error over condition number for each p, and the methods at p = −0.25."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
        _gains(axes[0])
        _exponents(axes[1], rows)
        _methods(axes[2], rows)
        for axis in axes:
            tidy(axis)
        figure.savefig(path, dpi=160)
        pyplot.close(figure)


def _gains(axis: Any, p: float = -0.25) -> None:
    """Draw what each method makes of one singular value, read off a diagonal matrix."""
    x = torch.logspace(0, -4, 200)
    M = torch.diag(x)
    curves: list[tuple[str, Method, int, str, str]] = [
        ("Muon (p = 0)", "newton_schulz", 5, MUON, "-"),
        ("published Taylor", "taylor", 5, PUBLISHED, "-"),
        ("chain of 5", "chain", 5, OURS, "-"),
        ("chain of 7", "chain", 7, LONG, "-"),
    ]
    axis.plot(x, x**p, color=INK, linewidth=4, alpha=0.18, label="exact σᵖ")
    for label, method, steps, color, style in curves:
        got = spectral_power(M, p, method=method, steps=steps, scale="none", dtype=torch.float32)
        axis.plot(x, got.diagonal(), color=color, linestyle=style, linewidth=1.4, label=label)
    axis.set(xscale="log", yscale="log", xlabel="singular value σ", ylim=(0.15, 12))
    axis.set_yticks([0.2, 0.5, 1, 2, 5, 10], ["0.2", "0.5", "1", "2", "5", "10"])
    axis.minorticks_off()
    axis.set_title(f"gain at p = {_number(p)}", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="lower right")


def _exponents(axis: Any, rows: list[Row]) -> None:
    """Draw the error of the chains over the condition number, one colour per exponent."""
    colors = pyplot.colormaps["plasma"]
    for i, p in enumerate(EXPONENTS[:-1]):
        for steps, style in ((5, "-"), (7, "--")):
            chosen = [r for r in rows if r["p"] == p and _is(r, "chain", "float32", steps)]
            label = _number(p) if steps == 5 else None
            _line(axis, chosen, label=label, color=colors(i / 7.5), linestyle=style)
    axis.plot([], [], color=MUTED, linestyle="-", label="chain of 5")
    axis.plot([], [], color=MUTED, linestyle="--", label="chain of 7")
    _error_axis(axis)
    axis.set_title("chains in float32, for each p", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)


def _methods(axis: Any, rows: list[Row], p: float = -0.25) -> None:
    """Draw the error of every method at one exponent."""
    chosen = [row for row in rows if row["p"] == p]
    _line(axis, [r for r in chosen if r["method"] == "newton_schulz"], label="Muon", color=MUON)
    _line(axis, [r for r in chosen if r["method"] == "taylor"], label="published", color=PUBLISHED)
    for steps, color in ((5, OURS), (7, LONG)):
        for precision, style in (("float32", "-"), ("bfloat16", ":")):
            picked = [r for r in chosen if _is(r, "chain", precision, steps)]
            label = f"chain of {steps}, {precision}, {picked[0]['cost']:.2g}×"
            _line(axis, picked, label=label, color=color, linestyle=style)
    _error_axis(axis)
    axis.set_title(f"every method at p = {_number(p)}", loc="left", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _error_axis(axis: Any) -> None:
    axis.axhline(100 * GOAL, color=INK, linewidth=0.8)
    axis.annotate("goal 3 %", (10, 100 * GOAL), (0, 3), textcoords="offset points")
    axis.set(xscale="log", yscale="log", xlabel="condition number κ", ylim=(0.1, 2500))
    axis.set_yticks([0.1, 1, 10, 100], ["0.1 %", "1 %", "10 %", "100 %"])
    axis.minorticks_off()


def _is(row: Row, method: str, precision: str, steps: int) -> bool:
    return (row["method"], row["dtype"], row["steps"]) == (method, precision, steps)


def _line(axis: Any, rows: list[Row], **style: Any) -> None:
    points = {row["spectrum"]: 100 * row["error"] for row in rows}
    errors = [points[f"κ={condition}"] for condition in CONDITIONS]
    axis.plot(CONDITIONS, errors, marker="o", markersize=2.5, linewidth=1.4, **style)


def _number(p: float) -> str:
    return f"{p:g}".replace("-", "−")


if __name__ == "__main__":
    main()
