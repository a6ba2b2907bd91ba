"""The command line: ``triskele evaluate fit``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.fitting import fit_model
from triskele.evaluate.options import FitOptions, ScoreOptions
from triskele.evaluate.sources import Source, read_source
from triskele.evaluate.standings import LEVEL, Leaderboard, global_leaderboard
from triskele.evaluate.storage import save_model
from triskele.evaluate.summaries import ClusterSummary, summarize
from triskele.evaluate.terminal import Terminal, cell
from triskele.evaluate.verdict import gain_sentence

N_TERMS_SHOWN = 5
DONE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Find which models suit which queries, and keep it in a file.

    Prints one leaderboard of all queries, the clusters of queries that were found with the best
    model of each, and what knowing the cluster is worth on queries held out.

      triskele evaluate fit votes.jsonl --out model.npz

      triskele evaluate fit mmlu-pro/ --embedder models/all-MiniLM-L6-v2 --out model.npz
    """

    source: tyro.conf.Positional[Path]
    """Votes (.jsonl, .csv, .parquet, a folder of these; LMArena's columns), or a data set with
    scores of each model (SPROUT, RouterBench, Open LLM Leaderboard, MMLU-Pro, our own layout)."""
    out: Path = Path("model.npz")
    """File that the fit is written to."""
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    fit: FitOptions = field(default_factory=FitOptions)

    def __post_init__(self) -> None:
        """Refuse a file that nothing could read later, before the work."""
        if self.out.suffix != ".npz":
            raise ValueError(f"expected --out to end in .npz, got {self.out}")
        if not self.out.parent.is_dir():
            raise ValueError(f"expected --out in a folder that is there, got {self.out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele evaluate fit`` and return its exit status.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    """
    config = tyro.cli(
        FitConfig,
        args=arguments,
        prog="triskele evaluate fit",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    terminal = Terminal(Console())
    with terminal.step(f"reading {config.source}"):
        source = read_source(config.source, options=config.scores, seed=config.fit.seed)
        leaderboard = global_leaderboard(source.comparisons)
    model, _ = fit_model(source, config.fit, step=terminal.step)
    ecc = model.ecc
    # A line per cluster needs no examples.
    nothing = [ecc.labels_[:0]] * ecc.n_clusters_
    summaries = summarize(
        ecc, ecc.responsibilities_, source.comparisons, terms=model.terms, examples=nothing
    )
    with terminal.step(f"writing {config.out}"):
        save_model(config.out, model)
    _show(terminal, source, leaderboard, ecc, summaries)
    terminal.say(f"\nmodel  {config.out}")
    if model.encoder is None:
        terminal.say("       it knows no embedder: rank asks for --embeddings of new prompts")
    return DONE


def leaderboard_table(leaderboard: Leaderboard) -> Table:
    """Return a leaderboard for the terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("rank", "from–to", "model", "strength", f"{LEVEL:.0%} interval", "wins", "of"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for line in leaderboard.lines:
        table.add_row(
            str(line.rank),
            str(line.best) if line.best == line.worst else f"{line.best}–{line.worst}",
            cell(line.model),
            f"{line.strength:+.2f}",
            f"{line.lower:+.2f} … {line.upper:+.2f}",
            f"{line.wins:,.6g}",
            f"{line.n_comparisons:,.6g}",
        )
    return table


def cluster_table(summaries: Sequence[ClusterSummary]) -> Table:
    """Return a line per cluster for the terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("cluster", "queries", "best model", "lead", "about"):
        side = "left" if name in ("best model", "about") else "right"
        table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for summary in summaries:
        board = summary.leaderboard
        n_tied = len(board.tied)
        table.add_row(
            str(summary.number),
            f"{summary.n_queries:,}",
            cell(board.leader.model) + (f" [dim](or {n_tied} more)[/]" if n_tied else ""),
            f"{board.lead:+.2f}",
            cell(", ".join(summary.terms[:N_TERMS_SHOWN])) or "[dim]nothing in words[/]",
        )
    return table


def _show(
    terminal: Terminal,
    source: Source,
    leaderboard: Leaderboard,
    ecc: EvidenceCalibratedClustering,
    summaries: Sequence[ClusterSummary],
) -> None:
    drawn = ", drawn from scores" if source.is_sampled else ""
    terminal.say(
        f"\n{len(source.comparisons):,} comparisons of {len(ecc.models_):,} models "
        f"on {len(source.ids):,} queries{drawn}\n",
        style="bold",
    )
    terminal.show(leaderboard_table(leaderboard))
    if leaderboard.n_groups > 1:
        terminal.say(
            f"\n{leaderboard.n_groups} groups of models were never compared with each other: "
            "between groups the order says nothing"
        )
    terminal.say()
    if ecc.n_clusters_ > 1:
        terminal.show(cluster_table(summaries))
        terminal.say()
    terminal.say(gain_sentence(ecc))
