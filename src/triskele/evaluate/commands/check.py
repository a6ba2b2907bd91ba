"""The command line: ``triskele evaluate check``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from triskele.evaluate.alignment.check import check_alignment
from triskele.evaluate.alignment.findings import AlignmentReport
from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets import load, read_plain
from triskele.evaluate.terminal import Terminal, cell

ALIGNED, PERMUTED = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """Look for scores that do not belong to the queries in their rows.

    Matrices that are put together column by column may hold columns in different orders, above all
    because a data-parallel evaluation writes its results rank after rank. Nothing fails then, but
    comparisons pit answers to different questions. Ends with status 1 where that seems so.

      triskele evaluate check mmlu-pro/
    """

    source: tyro.conf.Positional[Path]
    """A data set with scores of each model."""
    scores: str = "scores"
    """Name of the table of scores, where a folder in our own layout holds several."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele evaluate check``; the exit status is 1 if columns look permuted.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    """
    config = tyro.cli(
        CheckConfig,
        args=arguments,
        prog="triskele evaluate check",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    terminal = Terminal(Console())
    with terminal.step(f"reading {config.source}"):
        dataset = _read(config)
    if dataset.scores is None:
        raise ValueError(
            f"{config.source} holds no scores of models: there is nothing to check in "
            f"{'votes' if dataset.comparisons is not None else 'questions alone'}"
        )
    with terminal.step("comparing the columns"):
        report = check_alignment(
            dataset.scores,
            models=dataset.models,
            categories=dataset.categories,
            embeddings=dataset.embeddings,
            blocks=dataset.tasks,
        )
    terminal.say(f"\n{dataset.n_models:,} models on {dataset.n_queries:,} queries\n", style="bold")
    terminal.show(alignment_table(report))
    terminal.say(
        f"\nTwo models correlate by {report.mean_correlation:.3f} on average"
        + (
            ""
            if report.is_aligned
            else f", {report.repaired_mean_correlation:.3f} once put in order"
        )
        + "."
    )
    warning = report.warning
    if warning is None:
        terminal.say("The columns seem to speak of the same queries in the same rows.")
        return ALIGNED
    terminal.say(f"{warning[:1].upper()}{warning[1:]}.", style="bold red")
    return PERMUTED


def alignment_table(report: AlignmentReport) -> Table:
    """Return what was found of each model, for the terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    names = ["model", "with the others"]
    if not report.is_aligned:
        names.append("put in order")
    if report.association is not None:
        names.append("with the prompts")
    for name in (*names, "order"):
        side = "left" if name in ("model", "order") else "right"
        table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for place, model in enumerate(report.models):
        row = [cell(model), f"{report.correlations[place]:.3f}"]
        if not report.is_aligned:
            row.append(f"{report.repaired_correlations[place]:.3f}")
        if report.association is not None:
            row.append(_deviations(float(report.association[place])))
        table.add_row(*row, _order(report, place))
    return table


def _read(config: CheckConfig) -> Dataset:
    if config.scores != "scores":
        return read_plain(config.source, scores=config.scores)
    if not config.source.exists():
        raise ValueError(f"expected a data set, there is nothing at {config.source}")
    return load(config.source)


def _deviations(z: float) -> str:
    return "" if np.isnan(z) else f"{z:+.1f} σ"


def _order(report: AlignmentReport, place: int) -> str:
    if report.is_stray[place]:
        return "[red]unknown[/]"
    n_ranks = int(report.n_ranks[place])
    return "as the rows" if n_ranks == 1 else f"[red]rank after rank of {n_ranks}[/]"
