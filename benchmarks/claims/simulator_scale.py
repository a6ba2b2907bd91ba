"""How long and how much memory a simulation takes, up to a thousand workers and a million requests.

A synthetic trace: prompts of lognormal length, Zipf-popular shared prefixes, answers of geometric
length, at half of what the fleet can do, routed by LBGR. Every run is a process of its own, so that
peak memory is that run's.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.style import STYLE, tidy
from triskele.serve.cache import least_recently_used
from triskele.serve.routing import LearnedGreedy
from triskele.serve.simulate import COSTS, Fleet, Synthetic, simulate

mpl.use("Agg")
from matplotlib import pyplot

LARGEST = (1000, 1_000_000)
SIZES = [(4, 10_000), (32, 10_000), (250, 10_000), (1000, 10_000)]
SIZES += [(4, 100_000), (32, 100_000), (250, 100_000), (1000, 100_000), LARGEST]
RATE_PER_WORKER = 6.0
MAX_MINUTES, MAX_GIB = 30.0, 8.0


def main() -> None:
    """Measure, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="up to a million requests")
    full: bool = parser.parse_args().full
    rows = []
    for size in SIZES if full else SIZES[:4]:
        rows.append(in_a_process(size))
        print(f"{rows[-1]}", flush=True)
    path = record(
        "simulator_scale",
        list(figures_of(rows)),
        rows=rows,
        seeds=[0],
        directory=RESULTS if full else SHORT,
        notes="one process, one thread; LBGR, LRU on the workers, pages of 64 tokens",
    )
    plot(rows, path.with_suffix(".png"))


def in_a_process(size: tuple[int, int]) -> dict[str, Any]:
    """Run one simulation in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, size)


def measure(n_workers: int, n_jobs: int) -> dict[str, Any]:
    """Return time and peak memory of one simulation."""
    workload = Synthetic(n_jobs=n_jobs, rate=RATE_PER_WORKER * n_workers, page_size=64)
    router = LearnedGreedy(page_size=workload.page_size)
    costs = [COSTS["llama-8b-a100"]] * n_workers
    fleet = Fleet(costs=costs, eviction=lambda n_pages, number: least_recently_used())
    begun = time.perf_counter()
    summary = simulate(workload, router, fleet).summary()
    seconds = time.perf_counter() - begun
    return {
        "workers": n_workers,
        "requests": n_jobs,
        "seconds": round(seconds, 2),
        "microseconds_per_request": round(1e6 * seconds / n_jobs, 1),
        "gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "answered": summary.n_requests - summary.n_unanswered,
        "hit_rate": round(summary.hit_rate, 4),
        "ttft_p95": round(summary.ttft_p95, 4),
    }


def figures_of(rows: Sequence[dict[str, Any]]) -> list[Figure]:
    """Return minutes and memory of the largest run."""
    last = rows[-1]
    minutes = last["seconds"] / 60
    is_whole = (last["workers"], last["requests"]) == LARGEST
    name = f"{last['workers']:,} workers, {last['requests']:,} requests"
    return [
        Figure(
            name=f"minutes, {name}",
            value=minutes,
            goal=f"≤ {MAX_MINUTES:g}" if is_whole else None,
            holds=minutes <= MAX_MINUTES if is_whole else None,
        ),
        Figure(
            name=f"memory, {name}",
            value=last["gib"],
            unit=" GiB",
            goal=f"≤ {MAX_GIB:g}" if is_whole else None,
            holds=last["gib"] <= MAX_GIB if is_whole else None,
        ),
    ]


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw time and memory over requests, a line per fleet."""
    fleets = sorted({row["workers"] for row in rows})
    colors = pyplot.colormaps["viridis"](np.linspace(0, 0.85, len(fleets)))
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
        for axis, column, label, ticks in (
            (axes[0], "seconds", "seconds", (2, 5, 10, 30, 100, 300)),
            (axes[1], "gib", "peak memory, GiB", (0.1, 0.2, 0.5, 1, 2, 3)),
        ):
            for n_workers, color in zip(fleets, colors, strict=True):
                chosen = [row for row in rows if row["workers"] == n_workers]
                x = [row["requests"] for row in chosen]
                y = [row[column] for row in chosen]
                axis.plot(x, y, "o-", ms=4, color=color, label=f"{n_workers:,} workers")
            axis.set(xscale="log", yscale="log", xlabel="requests", ylabel=label)
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.yaxis.set_minor_formatter("")
            tidy(axis)
        axes[0].legend(frameon=False, fontsize=8)
        figure.savefig(path, dpi=140)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
