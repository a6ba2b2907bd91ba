"""What people and programs are left with: a table, a Parquet file per trial, and one JSON file.

The files say everything that a trial depends on and nothing that it does not: the same command
writes the same figures, to the last digit. They appear all together when the last trial is done, or
not at all.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.box import SIMPLE_HEAD
from rich.table import Table

from triskele import __version__
from triskele.serve.simulate.config import SimulateConfig
from triskele.serve.simulate.experiment import Trial
from triskele.serve.simulate.result import Result, Status, Summary

SUMMARY = "summary.json"
SECONDS = frozenset(
    {"arrived", "admitted", "first_token", "finished", "predicted_ttft", "predicted_latency"}
)
"""Columns of times; those of the others that are numbers are counts."""
ABSENT = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The figures of a trial, and how its requests ended."""

    trial: Trial
    n_finished: int
    n_rejected: int
    n_failed: int
    n_abandoned: int
    summary: Summary

    @classmethod
    def of(cls, trial: Trial, result: Result, *, slo: float) -> "Run":
        """Take the figures from a result; ``slo`` in seconds to the first token."""
        n_finished, n_rejected, n_failed, n_abandoned = (
            int((result["status"] == status.value).sum()) for status in Status
        )
        return cls(
            trial=trial,
            n_finished=n_finished,
            n_rejected=n_rejected,
            n_failed=n_failed,
            n_abandoned=n_abandoned,
            summary=result.summary(slo=slo),
        )

    @property
    def file(self) -> str:
        """The name of its Parquet file."""
        return f"{self.trial.policy.label}-seed{self.trial.seed}.parquet"


@dataclass(frozen=True, slots=True)
class _Column:
    """A figure of the table: heading, value, how it is written, and which end is good."""

    heading: str
    value: Callable[[Run], float]
    write: Callable[[float], str]
    best: Callable[[Sequence[float]], float]


def _three_digits(value: float) -> str:
    return f"{value:#.3g}" if value < 100 else f"{value:,.0f}"


COLUMNS = (
    _Column("TTFT\np50 s", lambda run: run.summary.ttft_p50, _three_digits, min),
    _Column("TTFT\np95 s", lambda run: run.summary.ttft_p95, _three_digits, min),
    _Column("latency\np50 s", lambda run: run.summary.latency_p50, _three_digits, min),
    _Column("latency\np95 s", lambda run: run.summary.latency_p95, _three_digits, min),
    _Column("hit\n%", lambda run: 100 * run.summary.hit_rate, "{:.1f}".format, max),
    _Column("done\nper s", lambda run: run.summary.throughput, _three_digits, max),
    _Column("good\nper s", lambda run: run.summary.goodput, _three_digits, max),
    _Column("peak\nload", lambda run: run.summary.imbalance, "{:.2f}".format, min),
    _Column("not\nserved", lambda run: run.summary.n_unanswered, "{:,.0f}".format, min),
)


def describe(config: SimulateConfig, n_requests: int) -> str:
    """Return in a line what was served on what."""
    name = config.workload if config.trace is None else f"{config.workload} ({config.trace.name})"
    for option, value in asdict(config.shape).items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            name += f", {option.replace('_', ' ')} {' '.join(map(_word, values))}"
    fleet = f"{config.fleet.workers:,} × {' and '.join(config.fleet.hardware)}"
    last = config.seed + config.seeds - 1
    seeds = f"seed {config.seed}" if config.seeds == 1 else f"seeds {config.seed} to {last}"
    return f"{name}: {n_requests:,} requests on {fleet}, {seeds}"


def summary_table(runs: Sequence[Run], *, slo: float) -> Table:
    """Return one row per policy: figures, or their means over seeds with standard deviations.

    The best of each column is bold where there is something to choose from.
    """
    by_policy: dict[str, list[Run]] = {}
    for run in runs:
        by_policy.setdefault(run.trial.policy.label, []).append(run)
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        caption=(
            "hit: share of prompt tokens found in a cache; good: answers per second that began "
            f"within {slo:g} s; peak load: prompt tokens computed by the busiest over the mean"
        ),
        caption_justify="left",
    )
    table.add_column("router\n+eviction", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.heading, justify="right", no_wrap=True)
    cells = [_cells(column, list(by_policy.values())) for column in COLUMNS]
    for label, *row in zip(by_policy, *cells, strict=True):
        table.add_row(label.replace("+", "\n+"), *row)
    return table


def write_requests(path: Path, run: Run, result: Result) -> None:
    """Write one row per request of the workload: when it came, who served it, how it ended.

    Times are seconds since the beginning; what has not happened is null. The policy and the seed
    stand in every row, so that files can be read together.
    """
    columns: dict[str, pa.Array] = {}
    for name, values in result.columns.items():
        if name == "status":
            columns[name] = _words(values, [status.name.lower() for status in Status])
        elif name == "worker":
            columns[name] = _words(values, result.workers)
        elif name in SECONDS:
            columns[name] = pa.array(values, mask=np.isnan(values))
        else:
            columns[name] = pa.array(values.astype(np.int64))
    trial, n_rows = run.trial, len(result["id"])
    policy = (("router", trial.policy.router), ("eviction", trial.policy.eviction))
    for name, word in policy:
        columns[name] = _words(np.zeros(n_rows), [word])
    columns["seed"] = pa.array(np.full(n_rows, trial.seed, dtype=np.int64))
    known = {"triskele": __version__, "page_size": result.page_size, **_record(run)}
    table = pa.table(columns).replace_schema_metadata({"triskele": msgspec.json.encode(known)})
    parquet.write_table(table, path)


def write_summary(path: Path, config: SimulateConfig, runs: Sequence[Run]) -> None:
    """Write what was asked for, by which version, and the figures of each trial."""
    known = {
        "triskele": __version__,
        "config": msgspec.to_builtins(asdict(config), enc_hook=str),
        "seeds": sorted({run.trial.seed for run in runs}),
        "runs": [_record(run) for run in runs],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a place to write into; what is there at the end moves to ``folder``, the summary last.

    If the end is an error or an interruption, ``folder`` stays as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        yield Path(unfinished)
        files = sorted(Path(unfinished).iterdir(), key=lambda path: (path.name == SUMMARY, path))
        for path in files:
            path.replace(folder / path.name)


def _word(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,g}"


def _cells(column: _Column, rows: Sequence[Sequence[Run]]) -> list[str]:
    """Return the texts of a column; equal texts are equally good."""
    values = [[column.value(run) for run in row] for row in rows]
    means = [statistics.fmean(row) for row in values]
    texts = [ABSENT if np.isnan(mean) else column.write(mean) for mean in means]
    known = [mean for mean in means if not np.isnan(mean)]
    best = column.write(column.best(known)) if known else ABSENT
    is_choice = len(set(texts) - {ABSENT}) > 1
    cells = []
    for text, row in zip(texts, values, strict=True):
        cell = f"[bold green]{text}[/]" if is_choice and text == best else text
        if len(row) > 1 and text != ABSENT:
            n_decimals = len(text.partition(".")[2])
            cell += f"\n[dim]±{statistics.stdev(row):.{n_decimals}f}[/]"
        cells.append(cell)
    return cells


def _words(values: np.ndarray[Any, Any], words: Sequence[str]) -> pa.Array:
    """Return words by their numbers, null for a number below 0, each stored once."""
    indices = pa.array(values.astype(np.int32), mask=values < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words))


def _record(run: Run) -> dict[str, Any]:
    """Return a run as it stands in JSON, where a figure that does not exist is null."""
    figures = asdict(run.summary)
    n_requests = figures.pop("n_requests")
    figures.pop("n_unanswered")
    return {
        "router": run.trial.policy.router,
        "eviction": run.trial.policy.eviction,
        "seed": run.trial.seed,
        "file": run.file,
        "requests": {
            "n_requests": n_requests,
            "n_finished": run.n_finished,
            "n_rejected": run.n_rejected,
            "n_failed": run.n_failed,
            "n_abandoned": run.n_abandoned,
        },
        "figures": figures,
    }
