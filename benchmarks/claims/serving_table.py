"""Which router answers soonest, over workloads and loads; and the published table, made again.

First the four rows that KVRouting (arXiv 2601.18999) publishes, with its constants, on a fleet
whose one free parameter, 6,400 prompt tokens per second, the table itself implies. Then every peer
at its documented defaults and at the best of a grid tuned for each cell on another seed, the
published router and ours, on GSP at three prefix ratios in three orders, conversations, questions
on long documents and the Mooncake trace, at loads from 50 % to 120 % of capacity.
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.reference import PublishedLBGR, published_cache_aware
from benchmarks.serving import (
    EVICTED,
    N_WORKERS,
    TUNING_SEED,
    WORKLOADS,
    Cell,
    Policy,
    bounds,
    router_of,
    run,
    workers_evict,
)
from benchmarks.style import INK, STYLE, tidy
from triskele.serve.routing import Pricing, Router
from triskele.serve.simulate import COSTS, Fleet, SharedPrefix, simulate

mpl.use("Agg")
from matplotlib import pyplot

OURS, SOLID = "#b5473c", "#2f6690"
LOADS = (0.5, 0.75, 0.95, 1.2)
# The weights of our own prices were chosen on seeds below.
FIRST_SEED = 10
METRICS = ("ttft_p50", "ttft_p95", "latency_p50", "latency_p95", "goodput")
REPORTED = (*METRICS, "hit_rate")
# (hit rate, requests per second, P50 and P95 of latency and of time to first token, seconds)
PUBLISHED = {
    ("cache-aware", "lru"): (0.2389, 10.73, 26.681, 46.767, 25.023, 46.140),
    ("cache-aware", "rlt"): (0.2636, 11.05, 19.191, 38.917, 14.333, 37.505),
    ("LBGR", "lru"): (0.3333, 11.80, 6.025, 24.561, 2.958, 21.074),
    ("LBGR", "rlt"): (0.3731, 11.92, 2.264, 15.335, 1.089, 11.495),
}
PLAIN = [Policy(name) for name in ("random", "round robin", "least loaded", "power of two")]
PEERS = [Policy(name) for name in ("consistent hash", "cache-aware", "prefix affinity", "dynamo")]
OWN = [Policy("published LBGR"), Policy("LBGR")]
GRIDS: dict[str, list[tuple[tuple[str, Any], ...]]] = {
    "cache-aware": [
        (("absolute", absolute), ("relative", relative), ("threshold", threshold))
        for threshold, (absolute, relative) in product(
            (0.1, 0.3, 0.5), ((64, 1.5), (16, 1.2), (4, 1.1))
        )
    ],
    "prefix affinity": [
        (("imbalance", imbalance), ("threshold", threshold))
        for imbalance, threshold in product((4.0, 10.0, 30.0), (0.1, 0.5))
    ],
    "dynamo": [(("prefill_weight", weight),) for weight in (0.25, 1.0, 4.0, 16.0)],
}


def main() -> None:
    """Simulate, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the traces")
    parser.add_argument("--published", action="store_true", help="only the published table")
    parser.add_argument("--full", action="store_true", help="all cells")
    parser.add_argument("--seeds", type=int, help="5 in the full form, else 2")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    full: bool = options.full
    if options.published:
        with multiprocessing.Pool(options.processes) as pool:
            show(list(published_table(pool, range(options.seeds or 5))))
        return
    if options.data is None:
        parser.error("expected --data, the folder of the traces, or --published")
    n_seeds = options.seeds or (5 if full else 2)
    seeds = range(FIRST_SEED, FIRST_SEED + n_seeds)
    workloads = WORKLOADS if full else ["gsp 0.5 random", "multi-turn", "mooncake"]
    loads = LOADS if full else (0.75, 1.2)
    cells = [Cell(w, load, 0) for w in workloads for load in loads]
    with multiprocessing.Pool(options.processes) as pool:
        table = list(published_table(pool, seeds))
        at_twelve = list(goal_at_twelve(pool, seeds))
        tuned = tune(pool, cells, options.data)
        rows = compare(pool, cells, seeds, tuned, options.data)
    verdicts = list(judge(rows))
    limits = [
        {"workload": name, "columns": "unlimited cache, Belady", "bounds": pair}
        for name in workloads
        for pair in [[_short(share) for share in bounds(name, 0, options.data)]]
    ]
    averaged = [_averaged(row) for row in rows]
    path = record(
        "serving_table",
        [*figures_of_table(table), *figures_at_twelve(at_twelve), *figures_of(verdicts)],
        rows=[*table, *at_twelve, *limits, *averaged, *verdicts],
        seeds=list(seeds),
        directory=RESULTS if full else SHORT,
        notes=f"{len(cells)} cells of {N_WORKERS} simulated workers; ± is the standard error "
        "over seeds; peers tuned per cell on another seed; a load of 1 is what the fleet could do "
        "with one shared LRU cache and perfect balance; goodput counts a time to first token "
        "within 2 s",
    )
    plot(averaged, path.with_suffix(".png"))


def show(table: Sequence[dict[str, Any]]) -> None:
    """Print the published table beside the one made again."""
    header = ("router", "eviction", "hit rate", "req/s", "latency P50", "P95", "TTFT P50", "P95")
    view = Table(title="GSP, 4 × L40: simulated (published), times in seconds")
    for name in header:
        view.add_column(name, no_wrap=True)
    for row in table:
        pairs = zip(row["measured"], row["published"], strict=True)
        cells = [f"{measured:.3g}\n({published:.3g})" for measured, published in pairs]
        view.add_row(row["router"], row["eviction"], *cells)
    Console().print(view)


def published_table(pool: Any, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield a row per published row: figures made again, and the published ones."""
    tasks = [(*policy, seed) for policy in PUBLISHED for seed in seeds]
    results = pool.map(_published, tasks)
    for policy, published in PUBLISHED.items():
        values = [r for task, r in zip(tasks, results, strict=True) if task[:2] == policy]
        pairs = [mean_and_error(column) for column in zip(*values, strict=True)]
        yield {
            "part": "published",
            "router": policy[0],
            "eviction": policy[1],
            "columns": "hit rate, req/s, latency P50 P95, TTFT P50 P95 (s)",
            "measured": [_short(mean) for mean, _ in pairs],
            "error": [_short(error) for _, error in pairs],
            "published": published,
        }


def _published(task: tuple[str, str, int]) -> tuple[float, ...]:
    name, eviction, seed = task
    workload = SharedPrefix(seed=seed)
    router: Router
    if name == "LBGR":
        router = PublishedLBGR(page_size=workload.page_size)
    else:
        router = published_cache_aware(np.random.default_rng(seed), workload.page_size)
    costs = [COSTS["llama-8b-l40-all-in"]] * 4
    s = simulate(
        workload, router, Fleet(costs=costs, eviction=workers_evict(eviction, seed))
    ).summary()
    return s.hit_rate, s.throughput, s.latency_p50, s.latency_p95, s.ttft_p50, s.ttft_p95


def goal_at_twelve(pool: Any, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield rows of GSP at 0.5 and 12 requests per second: ours, and ours with dearer copies."""
    for copies in (Pricing().copies, 6.0):
        for eviction in EVICTED:
            tasks = [(copies, eviction, seed) for seed in seeds]
            pairs = [mean_and_error(c) for c in zip(*pool.map(_at_twelve, tasks), strict=True)]
            yield {
                "part": "gsp 0.5 at 12/s",
                "copies": copies,
                "eviction": eviction,
                "columns": "hit rate, req/s, latency P50 P95, TTFT P50 P95 (s)",
                "measured": [_short(mean) for mean, _ in pairs],
                "error": [_short(error) for _, error in pairs],
            }


def _at_twelve(task: tuple[float, str, int]) -> tuple[float, ...]:
    copies, eviction, seed = task
    workload = SharedPrefix(seed=seed)
    policy = Policy("LBGR", eviction, (("pricing", Pricing(copies=copies)),))
    router = router_of(policy, workload.page_size, seed)
    costs = [COSTS["llama-8b-l40-all-in"]] * 4
    s = simulate(
        workload, router, Fleet(costs=costs, eviction=workers_evict(eviction, seed))
    ).summary()
    return s.hit_rate, s.throughput, s.latency_p50, s.latency_p95, s.ttft_p50, s.ttft_p95


def tune(pool: Any, cells: Sequence[Cell], data: Path) -> dict[tuple[str, float, str], Policy]:
    """Return the best settings of each peer for each cell, by the seed that is not scored."""
    tasks = [
        (Cell(cell.workload, cell.load, TUNING_SEED), Policy(name, "lru", settings))
        for cell in cells
        for name, grid in GRIDS.items()
        for settings in grid
    ]
    best: dict[tuple[str, float, str], tuple[float, Policy]] = {}
    for (cell, policy), metrics in _run_all(pool, tasks, data, "tuning peers"):
        key = cell.workload, cell.load, policy.router
        score = float(np.log(metrics[:4]).mean())
        if key not in best or score < best[key][0]:
            best[key] = score, policy
    return {key: policy for key, (_, policy) in best.items()}


def compare(
    pool: Any,
    cells: Sequence[Cell],
    seeds: Sequence[int],
    tuned: dict[tuple[str, float, str], Policy],
    data: Path,
) -> list[dict[str, Any]]:
    """Return a row per cell and policy, with the figures of every seed."""
    tasks = []
    for cell in cells:
        best = {name: tuned[cell.workload, cell.load, name] for name in GRIDS}
        policies = [*PLAIN, *PEERS, *best.values(), *OWN]
        policies += [Policy(p.router, "rlt", p.settings) for p in (*best.values(), *OWN)]
        policies += [
            Policy(p.router, "gittins", p.settings)
            for p in (Policy("least loaded"), *PEERS, *best.values(), *OWN)
        ]
        tasks += [
            (Cell(cell.workload, cell.load, seed), policy)
            for policy in dict.fromkeys(policies)
            for seed in seeds
        ]
    rows: dict[tuple[str, float, Policy], dict[str, Any]] = {}
    for (cell, policy), metrics in _run_all(pool, tasks, data, "comparing"):
        row = rows.setdefault(
            (cell.workload, cell.load, policy),
            {
                "workload": cell.workload,
                "load": cell.load,
                **asdict(policy),
                "settings": " ".join(f"{name}={value:g}" for name, value in policy.settings),
                "values": [],
            },
        )
        row["values"].append(metrics)
    return list(rows.values())


def judge(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield how ours stands to the best of all others, per cell and metric, seeds paired.

    Once among all policies with LRU on the workers, once among all whatever the eviction.
    """
    for workload, load in dict.fromkeys((row["workload"], row["load"]) for row in rows):
        here = [row for row in rows if (row["workload"], row["load"]) == (workload, load)]
        for scope, eviction in (("lru", "lru"), ("any", "gittins")):
            ours = next(r for r in here if r["router"] == "LBGR" and r["eviction"] == eviction)
            others = [r for r in here if r["router"] != "LBGR" and scope in ("any", r["eviction"])]
            for i, metric in enumerate(METRICS):
                sign = -1.0 if metric == "goodput" else 1.0
                mine = np.array([values[i] for values in ours["values"]])
                rival = min(others, key=lambda r: sign * np.mean([v[i] for v in r["values"]]))
                best = np.array([values[i] for values in rival["values"]])
                gain, error = mean_and_error(list(sign * (best - mine)))
                # A difference counts if it is more than noise and more than half a percent.
                noise = max(2 * error, 0.005 * float(best.mean()))
                yield {
                    "part": "verdict",
                    "workload": workload,
                    "load": load,
                    "scope": scope,
                    "metric": metric,
                    "ours": _short(mine.mean()),
                    "best": _short(best.mean()),
                    "by": f"{rival['router']} {rival['settings']} {rival['eviction']}",
                    "verdict": "better" if gain > noise else "worse" if gain < -noise else "equal",
                }


def figures_of_table(table: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield the figures of the published table with their gates."""
    gates = {
        ("cache-aware", "lru"): ((0.22, 0.29), (10.2, 10.8)),
        ("LBGR", "rlt"): ((0.36, 0.38), (11.5, 12.0)),
    }
    for row in table:
        policy = row["router"], row["eviction"]
        for i, (name, unit, scale) in enumerate((("hit rate", " %", 100.0), ("rate", "/s", 1.0))):
            gate = gates.get(policy, (None, None))[i]
            value = row["measured"][i]
            yield Figure(
                name=f"published {policy[0]} + {policy[1]}, {name}",
                value=scale * value,
                spread=scale * row["error"][i],
                unit=unit,
                goal=None if gate is None else f"{scale * gate[0]:g} to {scale * gate[1]:g}",
                holds=None if gate is None else gate[0] <= value <= gate[1],
            )


def figures_at_twelve(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield hit rate and throughput at the published rate."""
    for row in rows:
        if row["eviction"] != "gittins":
            continue
        default = row["copies"] == Pricing().copies
        name = "GSP 0.5 at 12/s, ours" + ("" if default else f" with copies={row['copies']:g}")
        value, error = row["measured"][0], row["error"][0]
        yield Figure(
            name=f"{name}, hit rate",
            value=100 * value,
            spread=100 * error,
            unit=" %",
            goal="≥ 47" if default else None,
            holds=value >= 0.47 if default else None,
        )
        if default:
            yield Figure(name=f"{name}, rate", value=row["measured"][1], unit="/s")


def figures_of(verdicts: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield how many cells ours wins, and by how much it loses at worst."""
    for scope, words in (("lru", "LRU everywhere"), ("any", "any eviction, ours with Gittins")):
        chosen = [v for v in verdicts if v["scope"] == scope]
        lost = [v for v in chosen if v["verdict"] == "worse"]
        better = sum(v["verdict"] == "better" for v in chosen) / len(chosen)
        best = 1 - len(lost) / len(chosen)
        yield Figure(
            name=f"best or within noise of best, {words}",
            value=100 * best,
            unit=" %",
            goal="100",
            holds=not lost,
        )
        yield Figure(
            name=f"strictly best, {words}",
            value=100 * better,
            unit=" %",
            goal="> 50",
            holds=better > 0.5,
        )
        ratios = [_loss(v) for v in chosen]
        worst = max(map(_loss, lost), default=1.0)
        yield Figure(name=f"worst ratio where ours is worse, {words}", value=worst)
        yield Figure(
            name=f"geometric mean of the ratios, {words}",
            value=float(np.exp(np.mean(np.log(ratios)))),
        )


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw P95 time to first token relative to the best policy of each cell."""
    names = ["least loaded", "consistent hash", "cache-aware", "cache-aware, tuned"]
    names += ["dynamo, tuned", "published LBGR", "LBGR"]
    names += ["cache-aware + Gittins", "published LBGR + Gittins", "LBGR + Gittins"]
    cells = list(dict.fromkeys((row["workload"], row["load"]) for row in rows))
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.4), layout="constrained", sharey=True)
        for axis, metric, title in (
            (axes[0], "ttft_p50", "median time to first token"),
            (axes[1], "ttft_p95", "95th percentile of time to first token"),
        ):
            for y, name in enumerate(reversed(names)):
                ratios = _ratios(rows, cells, name, metric)
                color = OURS if name.startswith("LBGR") else SOLID
                spots = y + np.linspace(-0.28, 0.28, len(ratios))
                axis.scatter(ratios, spots, s=9, color=color, alpha=0.55, linewidths=0)
                axis.plot([np.median(ratios)] * 2, [y - 0.36, y + 0.36], color=INK, linewidth=1.6)
            axis.set_yticks(range(len(names)), list(reversed(names)))
            axis.set(xscale="log", xlabel="times the best policy of the cell", xlim=(0.9, 3000))
            axis.set_xticks([1, 2, 5, 10, 100, 1000], ["1", "2", "5", "10", "100", "1000"])
            axis.minorticks_off()
            axis.set_title(f"{title}, {len(cells)} cells", loc="left", fontsize=10)
            tidy(axis, hidden=("top", "right", "left"), axis="x")
        figure.savefig(path, dpi=140)
        pyplot.close(figure)


def _ratios(
    rows: Sequence[dict[str, Any]], cells: Sequence[tuple[str, float]], name: str, metric: str
) -> list[float]:
    ratios = []
    for cell in cells:
        here = [row for row in rows if (row["workload"], row["load"]) == cell]
        means = {_label(row): row[metric][0] for row in here}
        if name in means:
            ratios.append(float(means[name] / min(means.values())))
    return ratios


def _label(row: dict[str, Any]) -> str:
    tuned = ", tuned" if row["settings"] else ""
    eviction = {"lru": "", "rlt": " + RLT", "gittins": " + Gittins"}[row["eviction"]]
    return f"{row['router']}{tuned}{eviction}"


def _run_all(
    pool: Any, tasks: Sequence[tuple[Cell, Policy]], data: Path, words: str
) -> Iterator[tuple[tuple[Cell, Policy], list[float]]]:
    begun = time.perf_counter()
    results = pool.imap(partial(_metrics, data=data), tasks, chunksize=8)
    for n, (task, metrics) in enumerate(zip(tasks, results, strict=True), 1):
        yield task, metrics
        if n % 200 == 0 or n == len(tasks):
            minutes = (time.perf_counter() - begun) / 60
            print(f"{words}: {n} of {len(tasks)} runs, {minutes:.1f} min", flush=True)


def _metrics(task: tuple[Cell, Policy], data: Path) -> list[float]:
    cell, policy = task
    summary = run(cell, policy, data).summary()
    return [float(getattr(summary, name)) for name in REPORTED]


def _averaged(row: dict[str, Any]) -> dict[str, Any]:
    columns = list(zip(*row["values"], strict=True))
    named = {key: value for key, value in row.items() if key != "values"}
    pairs = [mean_and_error(column) for column in columns]
    return named | {
        name: [_short(mean), _short(error, 2)]
        for name, (mean, error) in zip(REPORTED, pairs, strict=True)
    }


def _loss(verdict: dict[str, Any]) -> float:
    ours, best = max(verdict["ours"], 1e-9), max(verdict["best"], 1e-9)
    return float(best / ours if verdict["metric"] == "goodput" else ours / best)


def _short(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


if __name__ == "__main__":
    main()
