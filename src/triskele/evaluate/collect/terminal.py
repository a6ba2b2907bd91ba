"""What a person sees while calls are made: one live line, or now and then a plain one."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from triskele.evaluate.collect.report import describe
from triskele.evaluate.collect.run import Progress


class Terminal:
    """One live line; where output is no terminal, a plain line per tenth of the work.

    Parameters
    ----------
    console
        Where to write.
    has_prices
        Whether to tell costs.
    """

    def __init__(self, console: Console, *, has_prices: bool) -> None:
        self._console, self._has_prices = console, has_prices
        self._tenth: int | None = None
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            expand=True,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, figures="")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the live line meanwhile."""
        with self._bar:
            yield

    def show(self, progress: Progress) -> None:
        """Tell how far the work is."""
        name = f"{progress.n_done:,} of {progress.n_calls:,} calls"
        spent = describe(progress.spent, has_prices=self._has_prices)
        retries = f"  {progress.n_retries:,} retries" if progress.n_retries else ""
        self._bar.update(
            self._task,
            description=name,
            completed=progress.n_done,
            total=progress.n_calls,
            figures=f"{progress.n_under_way} under way  {spent}{retries}",
        )
        tenth = 10 * progress.n_done // max(1, progress.n_calls)
        if tenth != self._tenth and not self._console.is_terminal:
            self.say(f"{name}, {spent}")
        self._tenth = tenth

    def say(self, text: str) -> None:
        """Write a line above the live one."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)
