"""The command line of the room: ``triskele loop``.

Everything that belongs to a process and not to a turn is here: arguments, clocks, signals, lines.
"""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import tyro

from triskele.loop.cycle import CycleConfig, release, rollback, turn
from triskele.loop.duration import seconds_of
from triskele.loop.embedding import embedder_of
from triskele.loop.judgement import JudgementConfig
from triskele.loop.repetition import PipeStop, Stop, repeated
from triskele.loop.status import line_of, status_of
from triskele.loop.verdict import Verdict, history_of, read_verdicts
from triskele.serve.routing.capability_table import Shelf

DONE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Turn what was said of answers into a better choice of models, or change nothing.

    Reads the gateway's journal and its feedback, fits how good each model is for which query, and
    publishes that for the gateway only if it predicts held-out evidence better beyond noise.

    Once, and then every ten minutes:

      triskele loop --journal journal --capability capability

      triskele loop --journal journal --capability capability --every 10m

    What is served now and why, and back to the version before:

      triskele loop --capability capability --status

      triskele loop --capability capability --rollback

    The gateway writes the journal with triskele serve --journal journal --keep-text.
    """

    capability: Path
    """Folder of the capability table, its versions, and verdicts.jsonl."""
    journal: Path | None = None
    """Folder of the gateway's journal, with feedback.jsonl."""
    prices: Path | None = None
    """File of prices, TOML or JSON: model = price. A model that is new in it becomes known to the
    gateway at once. Without a file a model costs the mean tokens of its requests."""
    scores: Path | None = None
    """File of lines {"id": REQUEST, "score": 0 to 1}, and perhaps "time" and "source"."""
    every: str | None = None
    """Turn again and again, as 10m or 1h, until SIGTERM; once if not given."""
    half_life: str = "7d"
    """After this time evidence counts half."""
    embedder: str = "hashed-words:512"
    """hashed-words:N (features of the words), or the folder of a sentence-transformers model; the
    gateway reads it from the table."""
    z: float = 2.0
    """Standard errors by which a new table's loss on held-out evidence has to be lower."""
    fewest_new: int = 50
    """Pieces of new evidence below which a turn waits for more."""
    seed: int | None = None
    """Of all that is drawn; another one each time if not given."""
    status: bool = False
    """Say what is served now and what the latest turns came to, and do nothing."""
    rollback: tuple[int, ...] | None = None
    """Go back to a version; to the one before the current one if none is named."""
    release: bool = False
    """Let batches that were refused count after all."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.rollback is not None and len(self.rollback) > 1:
            raise ValueError(f"expected --rollback to one version, got {self.rollback}")
        seconds_of(self.half_life)
        if self.every is not None:
            seconds_of(self.every)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele loop`` and return its exit status.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    """
    config = tyro.cli(
        LoopConfig,
        args=arguments,
        prog="triskele loop",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    if config.rollback is not None:
        version = config.rollback[0] if config.rollback else None
        _say(line_of(rollback(config.capability, version=version, now=time.time())))
    elif config.release:
        _say(line_of(release(config.capability, now=time.time())))
    elif config.status:
        _say(*_status(config.capability))
    else:
        _turn(config)
    return DONE


def _turn(config: LoopConfig) -> None:
    """Turn once, or until a signal comes."""
    if config.journal is None:
        raise ValueError("expected --journal, the folder of the gateway's journal")
    cycle = CycleConfig(
        journal=config.journal,
        capability=config.capability,
        prices=config.prices,
        scores=config.scores,
        half_life=seconds_of(config.half_life),
        embedder=config.embedder,
        judgement=JudgementConfig(z=config.z, fewest_new=config.fewest_new),
    )
    rng, embed = np.random.default_rng(config.seed), embedder_of(config.embedder)

    def step() -> Verdict:
        verdict = turn(cycle, now=time.time(), rng=rng, embed=embed)
        _say(line_of(verdict))
        return verdict

    if config.every is None:
        step()
        return
    with _stopped_by_signals() as stop:
        repeated(
            step,
            every=seconds_of(config.every),
            stop=stop,
            clock=time.monotonic,
            on_error=lambda error: _say(f"a turn failed, the next one comes: {error}"),
        )


def _status(capability: Path) -> list[str]:
    shelf = Shelf(capability)
    verdicts = list(read_verdicts(capability))
    return status_of(shelf.current(), shelf.versions(), verdicts, history_of(capability))


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


@contextmanager
def _stopped_by_signals() -> Iterator[Stop]:
    """Let the first SIGTERM or Ctrl-C end the work after this turn, and a second one at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with PipeStop() as stop:

        def end(number: int, frame: FrameType | None) -> None:
            stop.set()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

        for number in before:
            signal.signal(number, end)
        try:
            yield stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
