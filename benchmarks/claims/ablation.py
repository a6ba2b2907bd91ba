"""What each difference from the published LBGR is worth, and how good the predictions are.

One thing at a time is taken out of our router, on four workloads at two loads; the published router
stands beside. Then errors of the predicted time to first token and latency: from the first requests
on, after the workload has changed, and on a fleet of two kinds of workers.
"""

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.serving import (
    Cell,
    Policy,
    router_of,
    run,
    workers_evict,
    workload_of,
)
from benchmarks.style import INK, STYLE, tidy
from triskele.serve.routing import LearnedGreedy, Outcome, Pricing, Request, Worker
from triskele.serve.simulate import (
    COSTS,
    Fleet,
    Job,
    MultiTurn,
    Result,
    SharedPrefix,
    Workload,
    simulate,
)

mpl.use("Agg")


from matplotlib import pyplot

OURS, SOLID = "#b5473c", "#2f6690"
METRICS = ("ttft_p50", "ttft_p95", "latency_p50", "latency_p95")
WORKLOADS = ("gsp 0.3 random", "gsp 0.5 random", "multi-turn", "mooncake")
ENDLESS = 1 << 20


class BlindToCapacity:
    """Our router with mirrors that never evict, like the published trees."""

    def __init__(self, router: LearnedGreedy) -> None:
        self._router = router
        self._given: Sequence[Worker] = ()
        self._told: tuple[Worker, ...] = ()

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Choose among workers whose capacity is hidden."""
        if workers is not self._given:
            self._given = workers
            self._told = tuple(replace(worker, n_pages=ENDLESS) for worker in workers)
        chosen = self._router.choose(request, self._told, now)
        return next(worker for worker in workers if worker.name == chosen.name)

    def observe(self, outcome: Outcome, now: float) -> None:
        """Pass an outcome on."""
        self._router.observe(outcome, now)


@dataclass(frozen=True, slots=True)
class Shift:
    """One workload after the other: what was learned of the first no longer holds."""

    first: Workload
    second: Workload
    at: float

    @property
    def page_size(self) -> int:
        """Tokens per page."""
        return self.first.page_size

    @property
    def n_jobs(self) -> int:
        """Jobs of both."""
        return self.first.n_jobs + self.second.n_jobs

    def arrivals(self) -> Iterator[Job]:
        """Yield the jobs of the first, then of the second."""
        yield from self.first.arrivals()
        for job in self.second.arrivals():
            yield replace(job, id=job.id + self.first.n_jobs, at=job.at + self.at, kind="second")

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return what follows in the workload that the job is of."""
        if job.kind != "second":
            return self.first.follow_up(job, now)
        following = self.second.follow_up(replace(job, id=job.id - self.first.n_jobs), now)
        if following is None:
            return None
        return replace(following, id=following.id + self.first.n_jobs, kind="second")


def variants() -> dict[str, dict[str, Any]]:
    """Return what is left out, and how."""
    free = {"followers": 0.0, "interrupted": 0.0, "copies": 0.0}
    return {
        "ours": {},
        "greedy: work costs nothing": {"pricing": Pricing(**free)},
        "without those that come later": {"pricing": Pricing(followers=0.0)},
        "without bound on those": {"pricing": Pricing(horizon=1e9)},
        "without the interrupted": {"pricing": Pricing(interrupted=0.0)},
        "without price of copies": {"pricing": Pricing(copies=0.0)},
        "coefficients not learned": {"deaf": ("ttft", "pace")},
        "answer lengths not learned": {"deaf": ("lengths",)},
        "mirrors without capacity": {"blind": True},
        "key-value events, not mirrors": {"events": True},
        "mirrors of the wrong policy": {"wrong": True},
        "published": {"published": True},
    }


def main() -> None:
    """Simulate, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the traces")
    parser.add_argument("--full", action="store_true", help="two loads, five seeds")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    full: bool = options.full
    seeds = range(5) if full else range(1)
    loads = (0.75, 0.95) if full else (0.75,)
    tasks = [
        (Cell(workload, load, seed), name)
        for workload in WORKLOADS
        for load in loads
        for name in variants()
        for seed in seeds
    ]
    with multiprocessing.Pool(options.processes) as pool:
        results = pool.map(partial(measure, data=options.data), tasks, chunksize=4)
    rows = list(relative(tasks, results))
    errors = [row for seed in seeds for row in prediction_errors(seed)]
    path = record(
        "ablation",
        [*figures_of(rows), *figures_of_errors(errors)],
        rows=[*rows, *errors],
        seeds=list(seeds),
        directory=RESULTS if full else SHORT,
        notes="ratios of variant over ours, geometric mean over workloads, loads and four figures "
        "(median and 95th percentile of time to first token and of latency), RLT on the workers; "
        "± is the standard error over seeds",
    )
    plot(rows, errors, path.with_suffix(".png"))


def measure(task: tuple[Cell, str], data: Path) -> list[float]:
    """Return the figures of a variant on a cell."""
    cell, name = task
    options = variants()[name]
    if options.get("published"):
        result = run(cell, Policy("published LBGR", "rlt"), data)
    else:
        result = _ours(cell, options, data)
    summary = result.summary()
    return [float(getattr(summary, metric)) for metric in METRICS]


def _ours(cell: Cell, options: dict[str, Any], data: Path) -> Result:
    workload, cost = workload_of(cell, data)
    pricing = options.get("pricing", Pricing())
    mirrored = "lru" if options.get("wrong") else "rlt"
    policy = Policy("LBGR", mirrored, (("pricing", pricing),))
    router = router_of(policy, workload.page_size, cell.seed)
    assert isinstance(router, LearnedGreedy)
    model = router._model
    parts = {"ttft": model.ttft, "pace": model.pace, "lengths": router._lengths}
    for part in options.get("deaf", ()):
        _deafen(parts[part])
    if options.get("blind"):
        router = BlindToCapacity(router)
    delay = 0.01 if options.get("events") else None
    fleet = Fleet(costs=[cost] * 4, eviction=workers_evict("rlt", cell.seed), event_delay=delay)
    return simulate(workload, router, fleet)


def _deafen(part: Any) -> None:
    """Let a part of a router learn nothing."""
    for name in ("update", "observe"):
        if hasattr(part, name):
            setattr(part, name, lambda *given, **named: None)


def relative(
    tasks: Sequence[tuple[Cell, str]], results: Sequence[list[float]]
) -> Iterator[dict[str, Any]]:
    """Yield the ratios of each variant to ours, per workload and load, seeds paired."""
    by_task = {task: np.log(values) for task, values in zip(tasks, results, strict=True)}
    groups = dict.fromkeys((cell.workload, cell.load, name) for cell, name in tasks)
    for workload, load, name in groups:
        seeds = [c.seed for c, n in tasks if (c.workload, c.load, n) == (workload, load, name)]
        logs = [
            by_task[Cell(workload, load, seed), name] - by_task[Cell(workload, load, seed), "ours"]
            for seed in seeds
        ]
        yield {
            "part": "variant",
            "workload": workload,
            "load": load,
            "variant": name,
            "log_ratio": [round(float(log.mean()), 4) for log in logs],
            "ratios": [round(float(r), 3) for r in np.exp(np.mean(logs, axis=0))],
        }


def prediction_errors(seed: int) -> Iterator[dict[str, Any]]:
    """Yield errors over the course of three runs: steady, shifted, and of two kinds of workers."""
    l40, a100 = COSTS["llama-8b-l40-all-in"], COSTS["llama-8b-a100"]
    steady = SharedPrefix(seed=seed, rate=10.0)
    half = SharedPrefix(seed=seed, rate=10.0, prompts_per_group=16)
    end = max(job.at for job in half.arrivals())
    talk = MultiTurn(conversations=400, message=512, answer=64, rate=12.0, seed=seed)
    runs: dict[str, tuple[Workload, list[Any]]] = {
        "steady": (steady, [l40] * 4),
        "shift after 2,048": (Shift(half, talk, end + 1.0), [a100] * 4),
        "two L40, two A100": (SharedPrefix(seed=seed, rate=20.0), [l40, l40, a100, a100]),
    }
    for name, (workload, costs) in runs.items():
        router = LearnedGreedy(page_size=workload.page_size)
        result = simulate(workload, router, Fleet(costs=costs, eviction=workers_evict("lru", seed)))
        done = result.is_finished
        for metric, observed in (("ttft", result.ttft), ("latency", result.latency)):
            predicted = result[f"predicted_{metric}"][done]
            error = np.abs(predicted - observed)
            edges = [0, 50, 100, 200, *range(400, len(error), 200), len(error)]
            yield {
                "part": "error",
                "run": name,
                "metric": metric,
                "seed": seed,
                "upto": edges[1:],
                "relative": [
                    round(float(np.median(error[a:b] / observed[a:b])), 3)
                    for a, b in pairwise(edges)
                ],
                "share": [
                    round(float(error[a:b].sum() / observed[a:b].sum()), 3)
                    for a, b in pairwise(edges)
                ],
            }


def figures_of(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield how many times longer each variant takes."""
    for name in variants():
        if name == "ours":
            continue
        per_seed = np.mean([row["log_ratio"] for row in rows if row["variant"] == name], axis=0)
        mean, error = mean_and_error(per_seed)
        ratio = float(np.exp(mean))
        yield Figure(name=name, value=ratio, spread=ratio * error, unit="× ours")


def figures_of_errors(errors: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield the median relative error at the beginning and at the end of each run."""
    for name in dict.fromkeys(row["run"] for row in errors):
        for metric in ("ttft", "latency"):
            chosen = [r for r in errors if (r["run"], r["metric"]) == (name, metric)]
            for words, value in (
                ("first 50", [row["relative"][0] for row in chosen]),
                ("last half", [np.mean(r["relative"][len(r["relative"]) // 2 :]) for r in chosen]),
            ):
                mean, error = mean_and_error(value)
                yield Figure(
                    name=f"median relative error of {metric}, {name}, {words}",
                    value=100 * mean,
                    spread=100 * error,
                    unit=" %",
                )


def plot(rows: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the ratio of each variant, and the errors over the course of the runs."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 2, figsize=(13, 4.4), layout="constrained")
        names = [name for name in variants() if name != "ours"]
        for y, name in enumerate(reversed(names)):
            chosen = [row for row in rows if row["variant"] == name]
            ratios = [float(np.exp(np.mean(row["log_ratio"]))) for row in chosen]
            axes[0].scatter(ratios, [y] * len(ratios), s=18, color=SOLID, alpha=0.5, linewidths=0)
            axes[0].plot([np.exp(np.mean(np.log(ratios)))] * 2, [y - 0.3, y + 0.3], color=INK)
        axes[0].set_yticks(range(len(names)), list(reversed(names)))
        axes[0].axvline(1, color=OURS, linewidth=1)
        axes[0].set(xscale="log", xlabel="times as long as ours")
        ticks = [0.8, 1, 1.5, 2, 3, 5, 10]
        axes[0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes[0].set_title("what is left out, one workload a point", loc="left", fontsize=10)
        colors = {"steady": SOLID, "shift after 2,048": OURS, "two L40, two A100": "#c9952b"}
        for name, color in colors.items():
            for metric, style in (("ttft", "-"), ("latency", "--")):
                chosen = [r for r in errors if (r["run"], r["metric"]) == (name, metric)]
                n = min(len(row["upto"]) for row in chosen)
                mean = np.mean([row["relative"][:n] for row in chosen], axis=0)
                axes[1].plot(
                    chosen[0]["upto"][:n], 100 * mean, style, color=color, label=f"{name}, {metric}"
                )
        axes[1].set(xlabel="requests so far", ylim=(0, 100), ylabel="median relative error, %")
        axes[1].set_title("predicted against observed", loc="left", fontsize=10)
        axes[1].legend(frameon=False, fontsize=8)
        for axis in axes:
            axis.minorticks_off()
            tidy(axis)
        figure.savefig(path, dpi=140)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
