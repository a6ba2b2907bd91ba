"""Claim: evidence-calibrated clustering is fitted in seconds, and a million queries in minutes.

On mmlupro (9,600 training queries, 7 comparisons each, 29 models, 30 clusters): CPU seconds of the
published method and of ours, against what its authors' code took per round and what a vectorised
rewriting of it took, on the same kind of machine. Then synthetic queries in growing numbers, each
size in a process of its own, with its peak memory.

    python -m benchmarks.claims.fit_speed --data PATH            up to 30,000 queries; 1 minute
    python -m benchmarks.claims.fit_speed --data PATH --full     up to 1,000,000; 25 minutes

PATH holds a folder per data set.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from scipy.special import expit

from benchmarks.evaluating import dataset_of, split
from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.style import MUTED, STYLE, tidy
from triskele.evaluate import Comparisons, EvidenceCalibratedClustering

# CPU seconds, measured before on a machine of this kind: the authors' code takes 15.4 per round and
# needs 41 of them; a rewriting with counts and Newton's method took 6.3 in all.
THEIRS, REWRITTEN = 15.4 * 41, 6.3
SIZES = (3_000, 10_000, 30_000)
FULL_SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
PER_QUERY, N_MODELS, N_FEATURES, N_KINDS = 7, 100, 384, 50
GOAL_THEIRS, GOAL_REWRITTEN = 100.0, 5.0
GOAL_MINUTES, GOAL_MEMORY, GOAL_GROWTH = 15.0, 12.0, 1.2
METHODS = {
    "published": EvidenceCalibratedClustering.published,
    "ours": EvidenceCalibratedClustering,
}
Row = dict[str, Any]


def main() -> None:
    """Fit, print one line per figure, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--full", action="store_true", help="up to a million queries")
    args = parser.parse_args()
    if not (args.data / "mmlupro").is_dir():
        parser.error(f"{args.data} holds no mmlupro")
    seeds = range(5 if args.full else 1)
    rows = [row for seed in seeds for row in on_real(args.data, seed)]
    for n_queries in FULL_SIZES if args.full else SIZES:
        # A process of its own, for a peak of its own.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(on_synthetic, (n_queries,)))
        print(rows[-1], flush=True)
    written = record(
        "fit_speed",
        list(figures_of(rows)),
        rows=rows,
        seeds=list(seeds),
        directory=RESULTS if args.full else SHORT,
        notes=f"mmlupro: CPU seconds, median of the seeds; synthetic: {PER_QUERY} comparisons per"
        f" query, {N_MODELS} models, {N_FEATURES} dimensions, wall time with all cores, peak memory"
        " of the whole process with its data; growth is the exponent between the two largest sizes",
    )
    plot(rows, written.with_suffix(".png"))


def on_real(data: Path, seed: int) -> Iterator[Row]:
    """Yield the time of each method on mmlupro."""
    dataset = dataset_of("mmlupro", data)
    assert dataset.embeddings is not None
    given = split(dataset, per_query=PER_QUERY, seed=seed)
    X = dataset.embeddings[given.train]
    for name, make in METHODS.items():
        began, cpu = time.perf_counter(), time.process_time()
        fitted = make(random_state=seed).fit(X, comparisons=given.evidence)
        yield {
            "data": "mmlupro",
            "method": name,
            "seed": seed,
            "cpu": round(time.process_time() - cpu, 3),
            "seconds": round(time.perf_counter() - began, 3),
            "rounds": fitted.n_iter_,
        }
        print(f"mmlupro, seed {seed}: {name}", flush=True)


def on_synthetic(n_queries: int) -> Row:
    """Return the time and memory of ours on queries of some kinds."""
    rng = np.random.default_rng(n_queries)
    kind = rng.integers(N_KINDS, size=n_queries)
    centre = rng.standard_normal((N_KINDS, N_FEATURES), np.float32)
    X = rng.standard_normal((n_queries, N_FEATURES), np.float32)
    X += centre[kind]
    profile = rng.standard_normal(N_MODELS) + 0.7 * rng.standard_normal((N_KINDS, N_MODELS))
    query = np.repeat(np.arange(n_queries), PER_QUERY)
    a = rng.integers(N_MODELS, size=len(query))
    b = (a + rng.integers(1, N_MODELS, size=len(query))) % N_MODELS
    lead = profile[kind[query], b] - profile[kind[query], a]
    votes = Comparisons.from_arrays(
        query,
        a,
        b,
        (rng.random(len(query)) < expit(lead)).astype(np.float64),
        models=[f"model {number}" for number in range(N_MODELS)],
        n_queries=n_queries,
    )
    began = time.perf_counter()
    fitted = EvidenceCalibratedClustering(random_state=0).fit(X, comparisons=votes)
    return {
        "data": "synthetic",
        "queries": n_queries,
        "seconds": round(time.perf_counter() - began, 2),
        "gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "rounds": fitted.n_iter_,
        "clusters": fitted.n_clusters_,
        "gain": round(fitted.calibration_.gain, 5),
    }


def figures_of(rows: list[Row]) -> Iterator[Figure]:
    """Yield the figures of the claim."""
    for name in METHODS:
        times = [row["cpu"] for row in rows if row.get("method") == name]
        took, spread = float(np.median(times)), float(np.std(times))
        yield Figure(name=f"mmlupro, {name}", value=took, spread=spread, unit=" CPU s")
        for other, before, goal in (
            ("the authors' code", THEIRS, GOAL_THEIRS),
            ("a vectorised rewriting", REWRITTEN, GOAL_REWRITTEN),
        ):
            yield Figure(
                name=f"mmlupro, {other} over {name}",
                value=before / took,
                unit="×",
                goal=f"≥ {goal:g}",
                holds=before / took >= goal,
            )
    synthetic = [row for row in rows if row["data"] == "synthetic"]
    last, largest = synthetic[-2:]
    growth = np.log(largest["seconds"] / last["seconds"]) / np.log(
        largest["queries"] / last["queries"]
    )
    is_full = largest["queries"] == FULL_SIZES[-1]
    minutes, memory = largest["seconds"] / 60, largest["gigabytes"]
    where = f"{largest['queries']:,} queries"
    yield Figure(
        name=f"minutes, {where}",
        value=minutes,
        goal=f"≤ {GOAL_MINUTES:g}" if is_full else None,
        holds=minutes <= GOAL_MINUTES if is_full else None,
    )
    yield Figure(
        name=f"peak memory, {where}",
        value=memory,
        unit=" GiB",
        goal=f"≤ {GOAL_MEMORY:g}" if is_full else None,
        holds=memory <= GOAL_MEMORY if is_full else None,
    )
    yield Figure(
        name="growth of time with queries, exponent",
        value=float(growth),
        goal=f"≤ {GOAL_GROWTH:g}" if is_full else None,
        holds=bool(growth <= GOAL_GROWTH) if is_full else None,
    )


def plot(rows: list[Row], path: Path) -> None:
    """Draw time and memory by number of queries."""
    synthetic = [row for row in rows if row["data"] == "synthetic"]
    n_queries = [row["queries"] for row in synthetic]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2))
        for axis, key, label in zip(
            axes, ("seconds", "gigabytes"), ("seconds to fit", "peak memory, GiB"), strict=True
        ):
            values = [row[key] for row in synthetic]
            axis.loglog(n_queries, values, "o-", color="#b5473c")
            if key == "seconds":
                linear = values[-1] * np.array(n_queries) / n_queries[-1]
                axis.loglog(n_queries, linear, "--", color=MUTED, lw=1, label="in proportion")
                axis.legend(frameon=False)
            axis.set_xlabel("queries")
            axis.set_ylabel(label)
            tidy(axis)
        figure.tight_layout()
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
