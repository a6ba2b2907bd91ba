"""How a demonstration is watched: stages that begin and go on, and sentences.

Whoever shows it is handed in; the demonstration itself never prints.
"""

from typing import Protocol

from triskele.train.config import LABELS
from triskele.train.records import Progress, Record, RunStarted, Sink, StepRecord, ValidationRecord


class Watcher(Protocol):
    """Shows how far things are."""

    def begin(self, stage: str, total: float) -> None:
        """Hear that a stage begins, which is done when ``total`` of it is."""
        ...

    def advance(self, done: float, figures: str = "") -> None:
        """Hear how much of the stage is done, and what there is to say of it."""
        ...

    def say(self, text: str) -> None:
        """Hear a sentence."""
        ...


class Unwatched:
    """A watcher that does not look."""

    def begin(self, stage: str, total: float) -> None:
        """Do nothing."""

    def advance(self, done: float, figures: str = "") -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


def watched_training(watcher: Watcher, what: str) -> Sink:
    """Return a sink that shows a training run as a stage of its own.

    Parameters
    ----------
    what
        The model, in a word or two.
    """
    validation, total = "", 0

    def show(record: Record) -> None:
        nonlocal validation, total
        match record:
            case Progress():
                watcher.begin(f"{what}: {record.stage}", record.total)
                watcher.advance(record.done)
            case RunStarted():
                total, validation = record.total_steps, ""
                watcher.begin(f"{what}: {LABELS[record.optimizer]}", total)
            case ValidationRecord():
                validation = f"  val {record.loss:.3f}"
            case StepRecord():
                rate = record.tokens_per_second / 1e3
                figures = f"{record.step}/{total}  loss {record.loss:.3f}{validation}"
                watcher.advance(record.step, f"{figures}  {rate:.1f}k tok/s")

    return show
