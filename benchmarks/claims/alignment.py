"""Claim: score matrices whose columns are out of order are found out, and no others.

A score file that is widely used lists its items in another order for some models than for others.
The check must say so, name the orders, and repair it; and must say nothing of clean matrices, nor
of clean matrices of which some models' scores are missing or thinned out.

    python -m benchmarks.claims.alignment --data PATH            5 data sets, 3 thinned copies each
    python -m benchmarks.claims.alignment --data PATH --full     20 thinned copies each; 3 minutes

PATH holds a folder per data set.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot

from benchmarks.evaluating import DATASETS, dataset_of
from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.style import MUTED, STYLE, tidy
from triskele.evaluate.alignment.check import check_alignment
from triskele.evaluate.alignment.findings import AlignmentReport
from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets import read_plain

MISALIGNED, ITS_SET = "scores_asreleased_misaligned", "openllm_lb2"
KEPT = 0.5
"""Share of queries and of models of a thinned copy."""
Row = dict[str, Any]


def main() -> None:
    """Check every matrix, print one line per figure, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--full", action="store_true", help="20 thinned copies of each")
    args = parser.parse_args()
    if not (args.data / ITS_SET / f"{MISALIGNED}.parquet").is_file():
        parser.error(f"{args.data} holds no {ITS_SET}/{MISALIGNED}.parquet")
    seeds = range(20 if args.full else 3)
    rows: list[Row] = []
    released = read_plain(args.data / ITS_SET, scores=MISALIGNED)
    began = time.perf_counter()
    report = check(released)
    seconds = time.perf_counter() - began
    rows.extend(rows_of("as released", report, 0))
    repaired = dataset_of(ITS_SET, args.data)
    assert repaired.scores is not None
    is_same = np.isclose(report.repaired, repaired.scores, equal_nan=True).mean(0)
    for name in DATASETS:
        clean = dataset_of(name, args.data)
        rows.extend(rows_of(name, check(clean), 0))
        for seed in seeds:
            rows.extend(rows_of(f"{name}, half", check(half(clean, seed)), seed))
        print(f"{name}: checked, and {len(seeds)} halves", flush=True)
    written = record(
        "alignment",
        list(figures_of(rows, is_same, seconds)),
        rows=rows,
        seeds=list(seeds),
        directory=RESULTS if args.full else SHORT,
        notes="a half has half of the models and half of the queries, in their order",
    )
    plot(report, released.models, written.with_suffix(".png"))


def check(dataset: Dataset) -> AlignmentReport:
    """Return what the check says of a data set, knowing all that the data set does."""
    assert dataset.scores is not None
    return check_alignment(
        dataset.scores,
        models=dataset.models,
        categories=dataset.categories,
        embeddings=dataset.embeddings,
        blocks=dataset.tasks,
    )


def half(dataset: Dataset, seed: int) -> Dataset:
    """Return half of the models on half of the queries, both in their order."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(dataset.n_models)[: max(6, int(KEPT * dataset.n_models))])
    kept = dataset.of_queries(np.flatnonzero(rng.random(dataset.n_queries) < KEPT))
    assert kept.scores is not None
    return Dataset(
        ids=kept.ids,
        texts=kept.texts,
        models=tuple(dataset.models[model] for model in chosen),
        categories=kept.categories,
        tasks=kept.tasks,
        scores=kept.scores[:, chosen],
        embeddings=kept.embeddings,
    )


def rows_of(name: str, report: AlignmentReport, seed: int) -> Iterator[Row]:
    """Yield a row per model."""
    for place, model in enumerate(report.models):
        yield {
            "matrix": name,
            "seed": seed,
            "model": model,
            "ranks": int(report.n_ranks[place]),
            "stray": bool(report.is_stray[place]),
            "correlation": round(float(report.correlations[place]), 4),
            "repaired": round(float(report.repaired_correlations[place]), 4),
        }


def figures_of(rows: list[Row], is_same: Any, seconds: float) -> Iterator[Figure]:
    """Yield the figures of the claim."""
    released = [row for row in rows if row["matrix"] == "as released"]
    moved = sum(row["ranks"] > 1 for row in released)
    yield Figure(
        name="as released: models reported as out of order",
        value=moved,
        unit=f" of {len(released)}",
        goal="15, as repaired by hand",
        holds=moved == 15,
    )
    yield Figure(
        name="as released: least share of a column that is repaired as by hand",
        value=100 * float(is_same.min()),
        unit=" %",
        goal="≥ 99 %",
        holds=float(is_same.min()) >= 0.99,
    )
    clean = [row for row in rows if row["matrix"] in DATASETS]
    alarms = sum(row["ranks"] > 1 or row["stray"] for row in clean)
    yield Figure(
        name="clean: models reported as out of order",
        value=alarms,
        unit=f" of {len(clean)}",
        goal="0",
        holds=alarms == 0,
    )
    halves = [row for row in rows if row["matrix"].endswith(", half")]
    false = sum(row["ranks"] > 1 or row["stray"] for row in halves)
    yield Figure(
        name="halves: models reported as out of order",
        value=false,
        unit=f" of {len(halves)}",
        goal="0",
        holds=false == 0,
    )
    yield Figure(name="seconds, 17,793 queries × 19 models", value=seconds, unit=" s")


def plot(report: AlignmentReport, models: tuple[str, ...], path: Path) -> None:
    """Draw each model's correlation with the others, as released and in order."""
    order = np.argsort(report.repaired_correlations)
    height = np.arange(len(order))
    with pyplot.rc_context(STYLE):
        figure, axis = pyplot.subplots(figsize=(7, 4.6))
        before, after = report.correlations[order], report.repaired_correlations[order]
        axis.hlines(height, before, after, color=MUTED, lw=1)
        axis.plot(before, height, "o", color="#b5473c", label="as released")
        axis.plot(after, height, "o", color="#2f6690", label="put in order")
        axis.set_yticks(height, [models[place].split("/")[-1] for place in order])
        axis.set_xlabel("correlation with the mean of the other models, within tasks")
        tidy(axis)
        axis.legend(frameon=False, loc="lower right")
        figure.tight_layout()
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
