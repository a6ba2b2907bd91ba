"""How a demonstration is watched: stages that begin and go on, and sentences.

Whoever shows it is handed in; the demonstration itself never prints.
"""

from typing import Protocol

from triskele.train.records import Progress, Record, Sink


class Watcher(Protocol):
    """Shows how far things are."""

    def begin(self, stage: str, total: float) -> None:
        """Hear that a stage begins, which is done when ``total`` of it is; others may go on."""
        ...

    def advance(self, stage: str, done: float, figures: str = "") -> None:
        """Hear how much of a stage is done, and what there is to say of it."""
        ...

    def say(self, text: str) -> None:
        """Hear a sentence."""
        ...


class Unwatched:
    """A watcher that does not look."""

    def begin(self, stage: str, total: float) -> None:
        """Do nothing."""

    def advance(self, stage: str, done: float, figures: str = "") -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


def watched_preparation(watcher: Watcher, what: str) -> Sink:
    """Return a sink that shows the preparation of a training run, each part as a stage.

    Parameters
    ----------
    what
        The model, in a word or two.
    """
    begun: set[str] = set()

    def show(record: Record) -> None:
        if isinstance(record, Progress):
            stage = f"{what}: {record.stage}"
            if stage not in begun:
                begun.add(stage)
                watcher.begin(stage, record.total)
            watcher.advance(stage, record.done)

    return show
