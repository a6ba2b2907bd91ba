"""Claim: U Σᵖ Vᵀ within 3 % of the exact one, at no more products than Muon's polar factor.

For condition numbers, power-law spectra, exponents, shapes and formats: the relative Frobenius
error of ``spectral_power`` against a float64 singular value decomposition, and its multiply-adds
relative to Muon's five Newton–Schulz steps. One chain of each length serves every exponent.

    python -m benchmarks.claims.spectral_accuracy            256 wide, one seed
    python -m benchmarks.claims.spectral_accuracy --full     512 wide, three seeds
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot
from torch import Tensor

from benchmarks.record import RESULTS, Figure, record
from triskele.optim.chain import CHAINS
from triskele.optim.spectral import Method, multiply_adds, spectral_power

EXPONENTS = (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0)
CONDITIONS = (10, 100, 1000, 10000)
DECAYS = (0.5, 1.0, 1.5)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GOAL = 0.03
Row = dict[str, Any]


def main() -> None:
    """Measure, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="512 wide, three seeds")
    args = parser.parse_args()
    width, seeds = (512, (0, 1, 2)) if args.full else (256, (0,))
    rows = []
    for shape in ((width, width), (width, 4 * width)):
        for name, spectrum in spectra(width):
            rows.extend(measure(shape, name, spectrum, seeds))
        print(f"{shape[0]}×{shape[1]} measured", flush=True)
    steps_of = {100: min(CHAINS), 1000: max(CHAINS)}
    figures = list(figures_of(rows, steps_of))
    notes = f"{width} wide, square and 1:4; worst over the eight exponents and both shapes"
    record("spectral_accuracy", figures, rows=rows, seeds=seeds, notes=notes)
    plot(rows, RESULTS / "spectral_accuracy.png")


def spectra(width: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names and singular values: log-uniform with a condition number, then power laws."""
    for condition in CONDITIONS:
        yield f"κ={condition}", torch.logspace(0, -len(str(condition)) + 1, width).double()
    for decay in DECAYS:
        yield f"i^−{decay:g}", torch.arange(1, width + 1).double() ** -decay


def measure(
    shape: tuple[int, int], name: str, values: Tensor, seeds: tuple[int, ...]
) -> Iterator[Row]:
    """Yield a row per exponent, method, chain and format."""
    m, n = shape
    factors = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        u = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64))[0]
        v = torch.linalg.qr(torch.randn(n, m, generator=generator, dtype=torch.float64))[0]
        factors.append((u, v.mT))
    muon = multiply_adds(shape, method="newton_schulz")
    tried: list[tuple[Method, int]] = [("chain", steps) for steps in CHAINS]
    tried += [("taylor", 5), ("newton_schulz", 5)]
    for p in EXPONENTS:
        exact = torch.stack([(u * values**p) @ vt for u, vt in factors])
        M = torch.stack([(u * values) @ vt for u, vt in factors]).float()
        for method, steps in tried:
            for format_, dtype in DTYPES.items():
                if method != "chain" and dtype == torch.float32:
                    continue
                got = spectral_power(
                    M, p, method=method, steps=steps, dtype=dtype, scale="reference"
                ).double()
                if method == "newton_schulz":
                    # Muon does not know p: it is given the best scalar.
                    dims = (-2, -1)
                    got = got * (got * exact).sum(dims, True) / got.square().sum(dims, True)
                error = (got - exact).norm(dim=(-2, -1)) / exact.norm(dim=(-2, -1))
                cost = multiply_adds(shape, p=p, method=method, steps=steps, dtype=dtype)
                yield {
                    "shape": list(shape),
                    "spectrum": name,
                    "p": p,
                    "method": method,
                    "steps": steps,
                    "dtype": format_,
                    "error": float(f"{error.mean().item():.4g}"),
                    "worst": float(f"{error.max().item():.4g}"),
                    "cost": round(cost / muon, 4),
                }


def figures_of(rows: list[Row], steps_of: dict[int, int]) -> Iterator[Figure]:
    """Yield the worst error and the cost for each claimed condition number and format."""
    limits = {100: 1.0, 1000: 1.4}
    for condition, steps in steps_of.items():
        for format_ in DTYPES:
            chosen = [
                row
                for row in rows
                if row["method"] == "chain"
                and row["steps"] == steps
                and row["dtype"] == format_
                and row["spectrum"] in {f"κ={c}" for c in CONDITIONS if c <= condition}
            ]
            worst = max(row["worst"] for row in chosen)
            cost = max(row["cost"] for row in chosen)
            yield Figure(
                name=f"worst error for κ ≤ {condition}, {format_}",
                value=100 * worst,
                unit=" %",
                goal=f"≤ {100 * GOAL:g} %",
                holds=worst <= GOAL,
            )
            yield Figure(
                name=f"multiply-adds of it relative to Muon, {format_}",
                value=cost,
                goal=f"≤ {limits[condition]}",
                holds=cost <= limits[condition],
            )
    for method in ("taylor", "newton_schulz"):
        errors = [row["error"] for row in rows if row["method"] == method and row["p"] == -0.25]
        yield Figure(
            name=f"median error at p=−0.25, {method}",
            value=100 * statistics.median(errors),
            unit=" %",
        )


def plot(rows: list[Row], path: Path) -> None:
    """Draw error over condition number: left ours for every p, right all methods at p = −0.25."""
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    square = [row for row in rows if row["shape"][0] == row["shape"][1]]
    colors = pyplot.colormaps["coolwarm"]
    best = max(CHAINS)
    for i, p in enumerate(EXPONENTS[:-1]):
        _line(
            axes[0],
            [
                r
                for r in square
                if r["p"] == p and r["steps"] == best and _is(r, "chain", "float32")
            ],
            label=f"p = {p:g}",
            color=colors(i / (len(EXPONENTS) - 2)),
        )
    axes[0].set_title(f"chain of {best} steps, float32", fontsize=10)
    for steps in CHAINS:
        for format_, style in (("float32", "-"), ("bfloat16", "--")):
            chosen = [r for r in square if r["steps"] == steps and _is(r, "chain", format_)]
            _line(
                axes[1],
                [r for r in chosen if r["p"] == -0.25],
                label=f"chain of {steps}, {format_}",
                color="#c44e52" if steps == best else "#3b6ea5",
                linestyle=style,
            )
    for method, label, color in (
        ("taylor", "published Taylor", "#777777"),
        ("newton_schulz", "Muon, best scalar", "#bbbbbb"),
    ):
        chosen = [r for r in square if r["p"] == -0.25 and _is(r, method, "bfloat16")]
        _line(axes[1], chosen, label=label, color=color)
    axes[1].set_title("p = −0.25", fontsize=10)
    for axis in axes:
        axis.axhline(100 * GOAL, color="#444444", linewidth=0.8, linestyle=":")
        axis.set(xscale="log", yscale="log", xlabel="condition number")
        axis.legend(frameon=False, fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("relative Frobenius error (%)")
    figure.savefig(path, dpi=150)


def _is(row: Row, method: str, format_: str) -> bool:
    return bool(row["method"] == method and row["dtype"] == format_)


def _line(axis: Any, rows: list[Row], **style: Any) -> None:
    points = {row["spectrum"]: 100 * row["error"] for row in rows}
    errors = [points[f"κ={condition}"] for condition in CONDITIONS]
    axis.plot(CONDITIONS, errors, marker="o", markersize=3, linewidth=1.3, **style)


if __name__ == "__main__":
    main()
