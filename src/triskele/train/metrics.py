"""Where a run's numbers are kept: a JSON line per record, and TensorBoard events.

Only steps and validations are kept. When a run continues from a snapshot, what was logged after
it is dropped, so that the log reads as if the run had never stopped. The log does not know how the
numbers came about.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from torch.utils.tensorboard import SummaryWriter

from triskele.train.config import TrainConfig
from triskele.train.ranks import Ranks
from triskele.train.records import Record, Sink, StepRecord, ValidationRecord

METRICS = "metrics.jsonl"
STEP, VALIDATION = "step", "validation"


class Logs:
    """Hands every record on to the sink and keeps the numbers, while it is open.

    Parameters
    ----------
    config
        Where to write, and whether to write TensorBoard events.
    sink
        Who else is told.
    after_step
        Continue the logs after this step; 0 starts anew.
    ranks
        Only the first process writes.
    """

    def __init__(self, config: TrainConfig, sink: Sink, *, after_step: int, ranks: Ranks) -> None:
        self._sink = sink
        self._open: list[MetricsLog | TensorBoardLog] = []
        if ranks.is_first:
            self._open.append(MetricsLog(config.out / METRICS, after_step=after_step))
            if config.watch.tensorboard:
                events = config.out / "tensorboard"
                self._open.append(TensorBoardLog(events, after_step=after_step))

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *exception: object) -> None:
        for log in self._open:
            log.close()

    def __call__(self, record: Record) -> None:
        """Write the record wherever it belongs."""
        for log in self._open:
            log(record)
        self._sink(record)


class MetricsLog:
    """Appends steps and validations to a file of JSON lines.

    Parameters
    ----------
    path
        The file.
    after_step
        Keep what is there up to this step and continue; 0 starts anew.
    """

    def __init__(self, path: Path, *, after_step: int = 0) -> None:
        kept = [x for x in _read_lines(path) if x["step"] <= after_step]
        fresh = path.with_name(f".{path.name}.part")
        fresh.write_text("".join(json.dumps(x) + "\n" for x in kept), encoding="utf-8")
        fresh.replace(path)
        self._stream: TextIO = path.open("a", encoding="utf-8")

    def __call__(self, record: Record) -> None:
        """Write steps and validations, ignore the rest."""
        if isinstance(record, StepRecord | ValidationRecord):
            kind = STEP if isinstance(record, StepRecord) else VALIDATION
            self._stream.write(json.dumps({"kind": kind, **asdict(record)}) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class TensorBoardLog:
    """Writes the same numbers as TensorBoard events.

    Parameters
    ----------
    folder
        Where the event files go.
    after_step
        Events after this step, from an earlier attempt, are hidden by TensorBoard.
    """

    def __init__(self, folder: Path, *, after_step: int = 0) -> None:
        purge = after_step + 1 if after_step else None
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge)

    def __call__(self, record: Record) -> None:
        """Write steps and validations, ignore the rest."""
        if isinstance(record, StepRecord):
            self._scalars("train", record, ("loss", "lr", "power", "grad_norm"))
            self._scalars("speed", record, ("tokens_per_second", "mfu"))
        elif isinstance(record, ValidationRecord):
            self._scalars("validation", record, ("loss", "perplexity", "bits_per_byte"))

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()

    def _scalars(
        self, group: str, record: StepRecord | ValidationRecord, names: tuple[str, ...]
    ) -> None:
        for name in names:
            value = getattr(record, name)
            if value is not None:
                self._writer.add_scalar(f"{group}/{name}", value, record.step)


@dataclass(frozen=True, slots=True)
class Curves:
    """A run's losses: training loss by step, validation loss by step."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    validation_steps: tuple[int, ...]
    validation_losses: tuple[float, ...]


def read_curves(path: Path) -> Curves:
    """Read the losses back from a ``metrics.jsonl``."""
    lines = _read_lines(path)
    train = [(x["step"], x["loss"]) for x in lines if x["kind"] == STEP]
    held_out = [(x["step"], x["loss"]) for x in lines if x["kind"] == VALIDATION]
    return Curves(
        tuple(s for s, _ in train),
        tuple(x for _, x in train),
        tuple(s for s, _ in held_out),
        tuple(x for _, x in held_out),
    )


def perplexity(loss: float) -> float:
    """Return exp(loss), infinite where that overflows."""
    return math.exp(loss) if loss < 700.0 else math.inf


def bits_per_byte(loss: float, bytes_per_token: float | None) -> float | None:
    """Turn nats per token into bits per byte of text."""
    return None if bytes_per_token is None else loss / (math.log(2.0) * bytes_per_token)


def steps_to_reach(
    steps: tuple[int, ...], losses: tuple[float, ...], target: float
) -> float | None:
    """Return when a loss curve first comes down to ``target``, or None if it never does.

    Between two measurements the curve is taken as straight.
    """
    before: tuple[int, float] | None = None
    for step, loss in zip(steps, losses, strict=True):
        if loss <= target:
            if before is None:
                return float(step)
            fraction = (before[1] - target) / (before[1] - loss)
            return before[0] + fraction * (step - before[0])
        before = (step, loss)
    return None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the whole lines; a last one cut short by a crash is left out."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
