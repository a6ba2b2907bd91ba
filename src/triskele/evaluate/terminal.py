"""What a person sees of ``triskele evaluate``: what is being done, tables, and lines of text."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from triskele.evaluate.embedding.encoders import OnProgress

WIDEST = 1000
"""Characters of a line that is wider than any table."""
REPLACED = "\N{REPLACEMENT CHARACTER}"


class Terminal:
    """One live line per step; where output is no terminal, a plain one."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, what: str) -> Iterator[OnProgress]:
        """Say what is being done, while it is done."""
        if not self.console.is_terminal:
            self.say(f"{what} …")
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        task = progress.add_task(escape(printable(what)), total=None)

        def on_progress(n_done: int, n_all: int) -> None:
            progress.update(task, completed=n_done, total=n_all)

        with progress:
            yield on_progress

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Write text as it is, however wide; nothing in it is taken for markup."""
        self.console.print(
            escape(printable(text)), highlight=False, soft_wrap=True, style=style or ""
        )

    def show(self, table: Table) -> None:
        """Write a table, of which no figure is cut, however narrow the terminal."""
        wide = self.console.options.update(width=WIDEST)
        needed = Measurement.get(self.console, wide, table).maximum
        self.console.width = max(self.console.width, needed)
        self.console.print(table)


def printable(text: str) -> str:
    """Return a text whose control characters cannot steer a terminal; lines stay lines."""
    return "".join(
        character if character.isprintable() or character == "\n" else REPLACED
        for character in text
    )


def cell(text: str) -> str:
    """Return a text for a table's cell: one line, and nothing in it is markup."""
    return escape(printable(" ".join(text.split())))


def clipped(text: str, length: int) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
