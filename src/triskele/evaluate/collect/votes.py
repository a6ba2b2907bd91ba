"""Votes from verdicts, in the columns in which LMArena publishes its own.

A vote rests on two verdicts, one per order of the answers. If both name the same model it wins; if
both are ties it is a tie; if they differ in any way, the order has decided and not the answers, and
that is a tie as well, marked as inconsistent. If one of them is missing, because it could not be
read or the judge refused, there is no vote. Answers that are the same are a tie by themselves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from triskele.evaluate.collect.judge import Letter, visible
from triskele.evaluate.collect.plan import Judged
from triskele.evaluate.whole_file import whole_file

Winner = Literal["model_a", "model_b", "tie"]
SHOWN: dict[Letter, Winner] = {"A": "model_a", "B": "model_b", "T": "tie"}
SHOWN_SWAPPED: dict[Letter, Winner] = {"A": "model_b", "B": "model_a", "T": "tie"}
"""Who is meant by a letter, in either order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A row of the file.

    ``winner`` is ``model_a``, ``model_b`` or ``tie``; ``judge`` the label of the judge; ``order``
    says which orders were judged: ``both``, or ``none`` for equal answers. ``verdict_ab`` is what
    the judge chose when it saw ``model_a`` first, ``verdict_ba`` when it saw ``model_b`` first, in
    the words of ``winner``. ``length_a`` and ``length_b`` are characters of the answers, without
    the thoughts before them; ``tstamp`` is the Unix time of the last of the calls.
    """

    question_id: str
    prompt: str
    model_a: str
    model_b: str
    winner: Winner
    judge: str
    order: Literal["both", "none"]
    is_consistent: bool
    verdict_ab: Winner
    verdict_ba: Winner
    length_a: int
    length_b: int
    category: str | None
    tstamp: float


def votes_of(judged: Iterable[Judged], *, judge: str) -> Iterator[Vote]:
    """Yield the vote of each comparison that has one; ``judge`` is the judge's label."""
    for settled in judged:
        verdicts = _verdicts(settled)
        if verdicts is None:
            continue
        comparison, (first, second) = settled.comparison, settled.answers
        yield Vote(
            question_id=comparison.prompt.id,
            prompt=comparison.prompt.text,
            model_a=comparison.model_a,
            model_b=comparison.model_b,
            winner=verdicts[0] if verdicts[0] == verdicts[1] else "tie",
            judge=judge,
            order="none" if settled.verdicts is None else "both",
            is_consistent=verdicts[0] == verdicts[1],
            verdict_ab=verdicts[0],
            verdict_ba=verdicts[1],
            length_a=len(visible(first.text)),
            length_b=len(visible(second.text)),
            category=comparison.prompt.category,
            tstamp=max(entry.at for entry in (*settled.answers, *(settled.verdicts or ()))),
        )


def write_votes(path: Path, votes: Iterable[Vote]) -> int:
    """Write votes as JSON lines, all or none of them, and return how many there are."""
    encoder = msgspec.json.Encoder()
    n_votes = 0
    with whole_file(path) as file:
        for vote in votes:
            file.write(encoder.encode(vote) + b"\n")
            n_votes += 1
    return n_votes


def _verdicts(judged: Judged) -> tuple[Winner, Winner] | None:
    """Return what each order chose, in terms of the comparison; None if one of them is missing."""
    if judged.verdicts is None:
        return "tie", "tie"
    ab, ba = (entry.verdict for entry in judged.verdicts)
    # By place and not by the labels of the entries: models with equal answers share verdicts.
    return None if ab is None or ba is None else (SHOWN[ab], SHOWN_SWAPPED[ba])
