"""The command line: ``triskele evaluate report``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console

from triskele.evaluate.fitting import embed_with, fit_model
from triskele.evaluate.options import FitOptions, ScoreOptions
from triskele.evaluate.report.findings import findings_of
from triskele.evaluate.report.page import page
from triskele.evaluate.sources import read_source
from triskele.evaluate.storage import load_model
from triskele.evaluate.terminal import Terminal
from triskele.evaluate.verdict import gain_sentence
from triskele.evaluate.whole_file import whole_file

DONE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Write one page with leaderboards, clusters and how sure they are.

    The page is a single file that loads nothing: it can be mailed, and opened anywhere.

      triskele evaluate report votes.jsonl --out report.html

      triskele evaluate report votes.jsonl --model model.npz --out report.html
    """

    source: tyro.conf.Positional[Path]
    """Votes (.jsonl, .csv, .parquet, a folder of these; LMArena's columns), or a data set with
    scores of each model (SPROUT, RouterBench, Open LLM Leaderboard, MMLU-Pro, our own layout)."""
    out: Path = Path("report.html")
    """File that the page is written to."""
    model: Path | None = None
    """What triskele evaluate fit has written, to report on these votes; a new fit if not given."""
    title: str = "Which model for which query"
    """Heading of the page."""
    map_queries: int = 2_000
    """Queries on the map at most, drawn at random."""
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    fit: FitOptions = field(default_factory=FitOptions)

    def __post_init__(self) -> None:
        """Refuse what could not be written or drawn, before the work."""
        if not self.out.parent.is_dir():
            raise ValueError(f"expected --out in a folder that is there, got {self.out}")
        if self.map_queries < 1:
            raise ValueError(f"expected --map-queries of at least 1, got {self.map_queries}")
        if self.model is not None and (self.fit.embedder or self.fit.clusters):
            raise ValueError("expected --model or options of a new fit, got both")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele evaluate report`` and return its exit status.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    """
    config = tyro.cli(
        ReportConfig,
        args=arguments,
        prog="triskele evaluate report",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    terminal = Terminal(Console())
    with terminal.step(f"reading {config.source}"):
        source = read_source(config.source, options=config.scores, seed=config.fit.seed)
    if config.model is None:
        model, embeddings = fit_model(source, config.fit, step=terminal.step)
    else:
        model = load_model(config.model)
        embeddings = embed_with(model, source, config.fit, step=terminal.step)
    found = findings_of(
        source,
        model,
        embeddings,
        verdict=gain_sentence(model.ecc),
        map_queries=config.map_queries,
        seed=config.fit.seed,
        step=terminal.step,
    )
    write_text(config.out, page(found, title=config.title))
    terminal.say(f"\n{found.verdict}\n\nreport  {config.out}")
    return DONE


def write_text(path: Path, text: str) -> None:
    """Write a file, all of it or nothing."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "replace"))
