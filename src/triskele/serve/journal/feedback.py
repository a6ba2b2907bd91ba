"""What somebody thought of an answer: a line beside the journal, by the id of its request.

Whoever asks says how good an answer was, or that it was better than another one; judges and tests
say it of many. Feedback comes minutes or days after the request and from anywhere, so it is a file
of its own. Who may say something is for the gateway to know: here ``source`` is only written down.
"""

import logging
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path

import msgspec

from triskele.serve.journal.lines import append_line, numbered_lines

FILE = "feedback.jsonl"

_logger = logging.getLogger(__name__)


class Feedback(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is thought of one answer.

    Attributes
    ----------
    id
        Of the request, as the client was told.
    time
        Unix time at which it was said.
    score
        How good the answer is, from 0 to 1.
    better_than
        The id of another request with the same prompt, whose answer is worse.
    source
        Who says so: the name of an API key, or of a judge.
    comment
        Why, in words.

    Raises
    ------
    ValueError
        If it says neither a score nor a comparison, or what it says is out of range.
    """

    id: str
    time: float
    score: float | None = None
    better_than: str | None = None
    source: str
    comment: str | None = None

    def __post_init__(self) -> None:
        """Refuse what says nothing, and what cannot be meant."""
        if not self.id or not self.source:
            raise ValueError("expected the id of a request and a source, got none")
        if not isfinite(self.time):
            raise ValueError(f"expected a time, got {self.time}")
        if self.score is None and self.better_than is None:
            raise ValueError("expected a score or better_than, got neither")
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"expected a score from 0 to 1, got {self.score}")
        if self.better_than is not None and self.better_than in ("", self.id):
            raise ValueError("expected better_than to be the id of another request")


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Feedback)


def append_feedback(directory: Path, feedback: Feedback) -> None:
    """Write feedback down, for good; it takes some milliseconds.

    Parameters
    ----------
    directory
        Of the journal; several processes may write to it.
    feedback
        What was said.

    Raises
    ------
    OSError
        If it could not be written; then nothing of it was.
    """
    append_line(directory / FILE, _ENCODER.encode(feedback))


def read_feedback(
    directory: Path,
    *,
    since: float | None = None,
    on_problem: Callable[[str], None] = _logger.warning,
) -> Iterator[Feedback]:
    """Yield what was said, in the order in which it was.

    Parameters
    ----------
    directory
        Of the journal; without any feedback there is none.
    since
        Unix time; what was said before is left out.
    on_problem
        Hears of each line that is damaged, and passed over.
    """
    path = directory / FILE
    for number, line in numbered_lines(path):
        try:
            feedback = _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            on_problem(f"{path}, line {number}: {error}")
            continue
        if since is None or feedback.time >= since:
            yield feedback
