"""A demonstration on the terminal: one live display of bars, and in the end two tables.

Where output is not a terminal (a file, a CI log) a stage is one plain line when it is done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from triskele.demo.findings import Findings
from triskele.train.terminal import duration

STAGE_WIDTH = 30


@dataclass(slots=True)
class _Shown:
    """A bar: which, how much there is to do, since when, and whether its end has been told."""

    task: TaskID
    total: float
    began: float
    is_done: bool = False


class Terminal:
    """A watcher that shows what it is told; a context manager, because the display must end.

    Parameters
    ----------
    console
        Where to write.
    clock
        Tells seconds.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._console = console
        self._clock = clock
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._shown: dict[str, _Shown] = {}

    def __enter__(self) -> "Terminal":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str, total: float) -> None:
        """Show another bar."""
        task = self._progress.add_task(f"{escape(stage):<{STAGE_WIDTH}}", total=total, figures="")
        self._shown[stage] = _Shown(task, total, self._clock())

    def advance(self, stage: str, done: float, figures: str = "") -> None:
        """Let a bar grow."""
        shown = self._shown[stage]
        self._progress.update(shown.task, completed=done, figures=escape(figures))
        if done >= shown.total and not shown.is_done:
            shown.is_done = True
            if not self._console.is_terminal:
                spent = duration(self._clock() - shown.began)
                self.say(f"{stage:<{STAGE_WIDTH}} {spent:>5}  {figures}".rstrip())

    def say(self, text: str) -> None:
        """Write one line above the bars."""
        self._progress.console.print(escape(text), highlight=False, soft_wrap=True)


def show_findings(console: Console, found: Findings, page: Path) -> None:
    """Write what was found, and where the page is."""
    console.print()
    console.print(_routing_table(found))
    console.print(_results_table(found))
    console.print(
        f"{duration(found.seconds)} in all; the page: {escape(str(page))}", soft_wrap=True
    )


def _routing_table(found: Findings) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("the same requests, routed by")
    for heading in ("TTFT p50", "TTFT p95", "hit rate"):
        table.add_column(heading, justify="right")
    for each in found.rounds:
        table.add_row(
            each.policy,
            milliseconds(each.quantile(0.5)),
            milliseconds(each.quantile(0.95)),
            f"{each.hit_rate:.0%}",
        )
    return table


def _results_table(found: Findings) -> Table:
    race, verdict = found.trained.race, found.verdict
    before, after = found.before, found.after
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("the circle")
    for heading in ("before", "after"):
        table.add_column(heading, justify="right")
    table.add_column("")
    table.add_row(
        f"steps to loss {race.target:.3f}, Muon and DynMuon",
        steps(race.rival_steps),
        steps(race.contender_steps),
        "" if race.saving is None else f"{race.saving:.1%} saved",
    )
    table.add_row(
        "held-out loss, one ranking and by query",
        "" if verdict.current_loss is None else f"{verdict.current_loss:.3f}",
        "" if verdict.candidate_loss is None else f"{verdict.candidate_loss:.3f}",
        f"version {verdict.version} published" if verdict.published else "not published",
    )
    table.add_row(
        "queries sent to the right model",
        f"{before.share_right:.0%}",
        f"[bold]{after.share_right:.0%}[/]",
        f"of {len(after.domains)}",
    )
    table.add_row(
        "bits per byte of their continuation",
        f"{before.bits:.3f}",
        f"{after.bits:.3f}",
        f"{after.best_bits:.3f} at best",
    )
    return table


def milliseconds(seconds: float) -> str:
    """Return a time for people."""
    return f"{1e3 * seconds:.0f} ms"


def steps(count: float | None) -> str:
    """Return a number of steps for people."""
    return "not reached" if count is None else f"{count:.0f}"
