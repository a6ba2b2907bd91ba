"""Claim: one DynMuon step costs no more than one step of ``torch.optim.Muon``.

Times a step on the matrices of GPT-2 small (48 of 768×768, 12 each of 3072×768 and 768×3072),
all optimizers in one process, interleaved round by round, and reports medians of per-round ratios.
Peak memory is the high-water mark of a process of its own that takes three steps.

    python -m benchmarks.claims.optimizer_step            three rounds
    python -m benchmarks.claims.optimizer_step --full     nine rounds, the recorded form
    python -m benchmarks.claims.optimizer_step --full --isa avx512 --layers 2
    python -m benchmarks.claims.optimizer_step --full --isa avx2 --layers 1 --width 256

The last two stand for CPUs without bfloat16 units on one that has them: oneDNN, which multiplies
bfloat16 for torch, is limited to plain AVX-512 or AVX2, and DynMuon computes in float32, which is
what it would choose there.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot
from torch import nn

from benchmarks.record import RESULTS, SHORT, Figure, record
from triskele.optim import DynMuon, PowerSchedule

EXPONENTS = (0.25, 0.1, 0.0, -0.1, -0.25)
HEAD_WIDTH = 64
MEMORY_GOAL = 1.05
MUON = "torch.optim.Muon"
ISA = "ONEDNN_MAX_CPU_ISA"
LIMITS = {"avx512": "AVX512_CORE", "avx2": "AVX2"}
Optimizers = dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]]


def main() -> None:
    """Measure, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="nine rounds instead of three")
    parser.add_argument("--layers", type=int, default=12, help="12 is GPT-2 small")
    parser.add_argument("--width", type=int, default=768, help="768 is GPT-2 small")
    parser.add_argument("--isa", choices=sorted(LIMITS), help="as on an older CPU")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.isa and os.environ.get(ISA) != LIMITS[args.isa]:
        restart_limited(LIMITS[args.isa])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = shapes_of(args.layers, args.width)
    if args.memory_of:
        print(peak_megabytes(args.memory_of, shapes, device))
        return

    rows = time_steps(shapes, device, n_rounds=9 if args.full else 3)
    goal = 1.0 if device.type == "cuda" else 0.15
    figures = []
    for name in optimizers():
        if name != MUON:
            median, spread = ratio_to_muon(rows, name)
            figures.append(Figure(name=f"time ratio, {name}", value=median, spread=spread))
    ours = [figure for figure in figures if "DynMuon" in figure.name]
    worst = max(ours, key=lambda figure: figure.value)
    figures += [
        replace(figure, name=f"time ratio, {label}", goal=f"≤ {goal}", holds=figure.value <= goal)
        for label, figure in (("slowest DynMuon", worst), ("groups of from_model", ours[-1]))
    ]
    muon = [row["seconds"][MUON] for row in rows]
    figures.append(
        Figure(name="torch.optim.Muon step", value=1e3 * statistics.median(muon), unit=" ms")
    )
    memory = {
        name: megabytes_in_subprocess(name, args.layers, args.width)
        for name in (MUON, "DynMuon p=-0.25")
    }
    ratio = memory["DynMuon p=-0.25"] / memory[MUON]
    figures.append(
        Figure(
            name="peak memory ratio",
            value=ratio,
            goal=f"≤ {MEMORY_GOAL}",
            holds=ratio <= MEMORY_GOAL,
        )
    )
    claim = f"optimizer_step_{device.type}" + (f"_{args.isa}" if args.isa else "")
    limits = f", oneDNN limited to {LIMITS[args.isa]}, DynMuon in float32" if args.isa else ""
    notes = f"{args.layers} layers {args.width} wide, {torch.get_num_threads()} threads{limits}"
    directory = RESULTS if args.full else SHORT
    path = record(claim, figures, rows=rows, notes=notes, directory=directory)
    plot(rows, path.with_suffix(".png"), goal)


def ratio_to_muon(rows: list[dict[str, dict[str, float]]], name: str) -> tuple[float, float]:
    """Return the median of the rounds' ratios, and half their range."""
    ratios = [row["seconds"][name] / row["seconds"][MUON] for row in rows]
    return statistics.median(ratios), (max(ratios) - min(ratios)) / 2


def shapes_of(n_layers: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return the shapes of the matrices of a transformer with four projections and a wide layer."""
    square, up, down = (width, width), (4 * width, width), (width, 4 * width)
    return (square,) * (4 * n_layers) + (up,) * n_layers + (down,) * n_layers


def restart_limited(isa: str) -> None:
    """Start over with the instruction set limited, which only a new process can be."""
    command = [sys.executable, "-m", "benchmarks.claims.optimizer_step", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, ISA: isa})


def optimizers() -> Optimizers:
    """Return every optimizer under test by the name the figures use."""
    dtype = torch.float32 if ISA in os.environ else None
    table: Optimizers = {MUON: lambda matrices: torch.optim.Muon(matrices, lr=0.01)}
    for p in EXPONENTS:
        table[f"DynMuon p={p:g}"] = lambda matrices, p=p: DynMuon(
            matrices,
            total_steps=100,
            schedule=PowerSchedule(shape="constant", start=p),
            dtype=dtype,
        )
    table["DynMuon p=-0.25, queries and keys by head"] = lambda matrices: DynMuon(
        by_head(matrices),
        total_steps=100,
        dtype=dtype,
        schedule=PowerSchedule(shape="constant", start=-0.25),
    )
    table["published Taylor p=-0.25"] = lambda matrices: DynMuon(
        matrices,
        total_steps=100,
        schedule=PowerSchedule(shape="constant", start=-0.25),
        method="taylor",
        scale="reference",
    )
    return table


def by_head(matrices: list[nn.Parameter]) -> list[dict[str, object]]:
    """Return groups as ``from_model`` makes them: half of the square matrices cut into heads."""
    n_cut = sum(matrix.shape[0] == matrix.shape[1] for matrix in matrices) // 2
    heads = (HEAD_WIDTH,) * (matrices[0].shape[0] // HEAD_WIDTH)
    return [{"params": matrices[:n_cut], "split": heads}, {"params": matrices[n_cut:]}]


def time_steps(
    shapes: tuple[tuple[int, int], ...], device: torch.device, *, n_rounds: int
) -> list[dict[str, dict[str, float]]]:
    """Return seconds per step by optimizer, one row per round; a warm-up round goes first."""
    matrices = make_matrices(shapes, device)
    table = {name: make(matrices) for name, make in optimizers().items()}
    rows = []
    for n_round in range(n_rounds + 1):
        seconds = {}
        for name, optimizer in table.items():
            n_steps = 20 if device.type == "cuda" else 1
            synchronize(device)
            start = time.perf_counter()
            for _ in range(n_steps):
                optimizer.step()
            synchronize(device)
            seconds[name] = (time.perf_counter() - start) / n_steps
        if n_round:
            rows.append({"seconds": seconds})
            ratio = seconds["DynMuon p=-0.25"] / seconds[MUON]
            print(f"round {n_round}/{n_rounds}: ratio at p=-0.25 {ratio:.3f}", flush=True)
    return rows


def make_matrices(shapes: tuple[tuple[int, int], ...], device: torch.device) -> list[nn.Parameter]:
    """Return parameters with gradients whose singular values fall like 1/i."""
    torch.manual_seed(0)
    matrices = []
    for m, n in shapes:
        decay = 1.0 / torch.arange(1, n + 1)
        parameter = nn.Parameter(0.02 * torch.randn(m, n, device=device))
        parameter.grad = (torch.randn(m, n) * decay).to(device)
        matrices.append(parameter)
    return matrices


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_megabytes(name: str, shapes: tuple[tuple[int, int], ...], device: torch.device) -> float:
    """Take three steps and return the peak memory of this process or of the device."""
    matrices = make_matrices(shapes, device)
    optimizer = optimizers()[name](matrices)
    for _ in range(3):
        optimizer.step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def megabytes_in_subprocess(name: str, layers: int, width: int) -> float:
    """Return :func:`peak_megabytes` of a fresh process."""
    module = "benchmarks.claims.optimizer_step"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            module,
            "--memory-of",
            name,
            "--layers",
            str(layers),
            "--width",
            str(width),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def plot(rows: list[dict[str, dict[str, float]]], path: object, goal: float) -> None:
    """Draw one bar per optimizer: median ratio to torch.optim.Muon, whiskers over the rounds."""
    names = [name for name in rows[0]["seconds"] if name != MUON]
    ratios = [sorted(row["seconds"][name] / row["seconds"][MUON] for row in rows) for name in names]
    medians = [statistics.median(values) for values in ratios]
    whiskers = [
        [median - values[0] for median, values in zip(medians, ratios, strict=True)],
        [values[-1] - median for median, values in zip(medians, ratios, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    colors = ["#3b6ea5" if name.startswith("DynMuon") else "#b0b0b0" for name in names]
    axes.barh(names, medians, xerr=whiskers, color=colors, ecolor="#444444", capsize=3)
    axes.axvline(1.0, color="#444444", linewidth=1)
    axes.text(1.0, -0.7, " torch.optim.Muon", fontsize=8, va="center")
    if goal != 1.0:
        axes.axvline(goal, color="#c44e52", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel("time of one step, as a ratio to torch.optim.Muon")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
