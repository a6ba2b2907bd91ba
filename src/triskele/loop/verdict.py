"""What each turn came to, a line each beside the tables; it is also all that the loop remembers.

What has been looked at, which batches were refused, which models have changed, and since when the
current table is: all of it follows from the verdicts so far, so that nothing else has to be kept in
step with them.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Literal

import msgspec

from triskele.serve.journal.lines import PRIVATE, append_line, numbered_lines

FILE, LOCK = "verdicts.jsonl", "lock"
LOOK_SECONDS = 0.05

Kind = Literal["turn", "amendment", "rollback", "release"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a turn came to.

    Attributes
    ----------
    time
        Unix time.
    kind
        ``turn``; ``amendment`` (new models or prices, no evidence); ``rollback`` and ``release``
        (of refused batches) by an operator.
    published
        Whether another version became current.
    version, current
        The version that is current after it and that was before; 0 for none.
    since, until
        What came between was looked at: the batch. Equal if nothing was.
    n, n_new, n_queries
        Rows of evidence, those that are new, and queries.
    n_problems
        Lines and feedback that could not be used.
    candidate_loss, current_loss, gain, gain_error
        On evidence held out, see ``gate``.
    distillation_error
        In quality.
    is_structured
        Whether queries were found to differ in which model suits them.
    drift
        Loss of the current table on the batch above what it expects, in standard errors.
    reasons
        Why it was published or not.
    alarms
        What an operator should look at.
    quarantined
        Sources that were not believed, and why.
    refused
        Whether the batch was refused: nothing of it is ever fitted, unless it is released.
    changed
        Models that were found to have changed, and since when.
    seconds
        What the turn took.
    """

    time: float
    kind: Kind = "turn"
    published: bool = False
    version: int = 0
    current: int = 0
    since: float = 0.0
    until: float = 0.0
    n: int = 0
    n_new: int = 0
    n_queries: int = 0
    n_problems: int = 0
    candidate_loss: float | None = None
    current_loss: float | None = None
    gain: float | None = None
    gain_error: float | None = None
    distillation_error: float | None = None
    is_structured: bool | None = None
    drift: float | None = None
    reasons: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    quarantined: dict[str, str] = {}
    refused: bool = False
    changed: dict[str, float] = {}
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What follows from the verdicts so far.

    Attributes
    ----------
    until
        Unix time up to which evidence was looked at.
    current_since
        Unix time since which the current table is; what came before it has seen, or an operator
        has turned down what was made of it.
    refused
        Batches that are not to be believed: from, exclusively, and to.
    changed
        Unix times at which models became other ones.
    """

    until: float = 0.0
    current_since: float = -inf
    refused: tuple[tuple[float, float], ...] = ()
    changed: dict[str, float] = field(default_factory=dict)

    def after(self, verdict: Verdict) -> "History":
        """Return the history with one more verdict."""
        current_since = self.current_since
        if verdict.kind == "rollback":
            current_since = verdict.time
        elif verdict.kind == "turn" and verdict.published:
            current_since = verdict.until
        refused = () if verdict.kind == "release" else self.refused
        if verdict.refused:
            refused = (*refused, (verdict.since, verdict.until))
        return History(
            until=max(self.until, verdict.until),
            current_since=current_since,
            refused=refused,
            changed={**self.changed, **verdict.changed},
        )


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Verdict)


def append_verdict(folder: Path, verdict: Verdict) -> None:
    """Write a verdict down, for good."""
    append_line(folder / FILE, _ENCODER.encode(verdict))


def read_verdicts(
    folder: Path, *, on_problem: Callable[[str], None] | None = None
) -> Iterator[Verdict]:
    """Yield the verdicts so far; damaged lines are named and passed over."""
    path = folder / FILE
    for number, line in numbered_lines(path):
        try:
            yield _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            if on_problem is not None:
                on_problem(f"{path}, line {number}: {error}")


def history_of(folder: Path) -> History:
    """Return what follows from the verdicts of a folder."""
    history = History()
    for verdict in read_verdicts(folder):
        history = history.after(verdict)
    return history


@contextmanager
def alone(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Let no other loop turn in a folder meanwhile.

    Parameters
    ----------
    folder
        Of the capability table.
    patience
        Seconds to wait for another one to end its turn.

    Raises
    ------
    ValueError
        If it does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ValueError(
                        f"expected to be alone, another loop turns in {folder}"
                    ) from None
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(file)
