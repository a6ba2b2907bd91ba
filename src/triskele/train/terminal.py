"""A run on the terminal: one live line of progress, and a sentence for each event.

Where output is not a terminal (a file, a CI log) the live line becomes one plain line per
validation. The terminal only shows records; it decides nothing.
"""

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from triskele.train import records
from triskele.train.config import LABELS
from triskele.train.records import Record

SMOOTHING = 0.95
"""Weight of the past in the shown running loss and speed."""


class Terminal:
    """A sink that shows what it is told; a context manager, because the live line must end.

    Parameters
    ----------
    console
        Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task: TaskID | None = None
        self._stage: str | None = None
        self._running_loss: float | None = None
        self._running_rate = 0.0
        self._total_steps = 0
        self._validation: records.ValidationRecord | None = None

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

    def __call__(self, record: Record) -> None:
        """Show one record."""
        match record:
            case records.Progress():
                self._show_stage(record)
            case records.Notice():
                self.say(record.text)
            case records.RunStarted():
                self._show_start(record)
            case records.StepRecord():
                self._show_step(record)
            case records.ValidationRecord():
                self._show_validation(record)
            case records.RunFinished():
                self._show_end(record)

    def say(self, text: str) -> None:
        """Write one line above the live one."""
        self._progress.console.print(escape(text), highlight=False, soft_wrap=True)

    def _show_stage(self, record: records.Progress) -> None:
        if record.stage != self._stage:
            self._begin(record.stage, record.total)
        assert self._task is not None
        figures = f"{record.done / 1e6:.1f} of {record.total / 1e6:.1f} MB"
        self._progress.update(self._task, completed=record.done, figures=figures)

    def _show_start(self, record: records.RunStarted) -> None:
        model = f"{record.n_parameters / 1e6:.2f}M parameters"
        self.say(
            f"{model}, vocabulary {record.vocab_size:,}; "
            f"{record.n_train_tokens:,} training and {record.n_validation_tokens:,} "
            "validation tokens; "
            f"{record.total_steps:,} steps of {record.tokens_per_step:,} tokens; "
            f"{record.optimizer}, {record.precision} on {record.device}"
        )
        self._total_steps = record.total_steps
        self._running_loss, self._validation = None, None
        self._begin(LABELS[record.optimizer], record.total_steps)
        assert self._task is not None
        self._progress.update(self._task, completed=record.first_step)
        self._stage = None

    def _show_step(self, record: records.StepRecord) -> None:
        if self._running_loss is None:
            self._running_loss, self._running_rate = record.loss, record.tokens_per_second
        keep, new = SMOOTHING, 1.0 - SMOOTHING
        self._running_loss = keep * self._running_loss + new * record.loss
        self._running_rate = keep * self._running_rate + new * record.tokens_per_second
        assert self._task is not None
        self._progress.update(self._task, completed=record.step, figures=self._figures(record))

    def _figures(self, record: records.StepRecord) -> str:
        parts = [f"{record.step}/{self._total_steps}", f"loss {self._running_loss:.3f}"]
        if self._validation is not None:
            parts.append(f"[cyan]val {self._validation.loss:.3f}[/]")
        parts.append(f"{self._running_rate / 1e3:.1f}k tok/s")
        if record.mfu is not None:
            parts.append(f"MFU {record.mfu:.0%}")
        return "  ".join(parts)

    def _show_validation(self, record: records.ValidationRecord) -> None:
        self._validation = record
        if not self._console.is_terminal:
            self.say(f"step {record.step}/{self._total_steps}: {_validation_text(record)}")

    def _show_end(self, record: records.RunFinished) -> None:
        if record.interrupted or record.validation is None:
            return
        self.say(
            f"{record.total_steps:,} steps in {duration(record.seconds)}: "
            f"{_validation_text(record.validation)}"
        )
        if record.artifacts is not None:
            found = record.artifacts
            for name, path in (
                ("checkpoint", found.checkpoint),
                ("loss curve", found.plot),
                ("sample", found.sample),
            ):
                if path is not None:
                    self.say(f"  {name:<11} {path}")

    def _begin(self, description: str, total: int) -> None:
        """Start a line; a finished stage makes room, a finished run stays to be seen."""
        if self._task is not None and self._stage is not None:
            self._progress.remove_task(self._task)
        self._stage = description
        self._task = self._progress.add_task(description, total=total, figures="")


def _validation_text(record: records.ValidationRecord) -> str:
    text = f"validation loss {record.loss:.4f}, perplexity {record.perplexity:.2f}"
    if record.bits_per_byte is not None:
        text += f", {record.bits_per_byte:.4f} bits per byte"
    return text


def duration(seconds: float) -> str:
    """Return a time span as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
