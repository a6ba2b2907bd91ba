"""What a run amounts to: every request's fate held against the faults, the journal and the workers.

A request may be cut off only for a reason: its worker broke off after the first byte, or the
gateway was killed. Whatever the gateway took on is in its journal once; what it took on in its last
half second before being killed may not be.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.chaos.client import Fate
from benchmarks.chaos.faults import BREAKING, MURDER, TERMINATE, Mark
from triskele.serve.journal import Record, read

# How long a journal may take until a record is on the disk, and clocks may differ.
UNFLUSHED, SLACK = 1.5, 1.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A request with the reason why it has no whole answer; ``None`` if there is none."""

    fate: Fate
    reason: str | None


def judge(fates: Iterable[Fate], marks: Sequence[Mark]) -> list[Judged]:
    """Give every request that was cut off its reason."""
    return [Judged(fate, _reason(fate, marks)) for fate in fates]


def _reason(fate: Fate, marks: Sequence[Mark]) -> str | None:
    if fate.outcome not in ("broken", "dropped"):
        return None
    for mark in marks:
        is_then = mark.began - SLACK <= fate.ended <= mark.ended + SLACK
        if mark.kind == MURDER and is_then:
            return "gateway killed"
        if mark.kind == TERMINATE and is_then and fate.outcome == "dropped":
            return "connection closed at a drain"
        overlaps = mark.began - SLACK <= fate.ended and fate.sent <= mark.ended + SLACK
        is_its_own = mark.kind in BREAKING and mark.worker == fate.worker
        if fate.outcome == "broken" and is_its_own and overlaps:
            return "worker broke off"
    return None


@dataclass(slots=True)
class Books:
    """The journal held against the clients.

    ``missing`` are ids that must be there and are not; ``unflushed`` those of a killed gateway's
    last moments.
    """

    n_records: int
    missing: list[str]
    unflushed: list[str]
    twice: list[str]
    unknown: list[str]
    different: list[str]
    taken_but_dropped: list[str]


def balance(judged: Sequence[Judged], journal: Path, marks: Sequence[Mark]) -> Books:
    """Hold the journal against the clients."""
    records: dict[str, Record] = {}
    counts: Counter[str] = Counter()
    for record in read(journal):
        counts[record.id] += 1
        records[record.id] = record
    kills = [mark.began for mark in marks if mark.kind == MURDER]
    known = {each.fate.id for each in judged}
    books = Books(
        sum(counts.values()),
        [],
        [],
        [name for name, n in counts.items() if n > 1],
        [name for name in counts if name not in known],
        [],
        [],
    )
    for each in judged:
        fate, record = each.fate, records.get(each.fate.id)
        if record is None:
            near = any(fate.sent - SLACK <= kill <= fate.ended + UNFLUSHED for kill in kills)
            # One that left at once, or met a closing gateway, may never have been read.
            if near and fate.sent:
                books.unflushed.append(fate.id)
            elif fate.sent and fate.plan != "leave early" and fate.outcome != "dropped":
                books.missing.append(fate.id)
        elif fate.outcome == "answered" and record.outcome != "finished":
            books.different.append(f"{fate.id} {record.outcome}")
        elif fate.outcome == "refused" and record.status != fate.status:
            books.different.append(f"{fate.id} {record.status} {fate.status}")
        elif fate.outcome == "dropped" and record.outcome == "finished":
            books.taken_but_dropped.append(fate.id)
    return books


def computed_twice(folder: Path) -> int:
    """Return how many requests were answered whole by workers more than once."""
    counts: Counter[str] = Counter()
    for path in folder.glob("worker-*.done"):
        for line in path.read_text("latin-1").splitlines():
            words = line.split()
            # A killed worker's last line may be torn.
            if len(words) == 3 and words[0] == "finished":
                counts[words[2]] += 1
    return sum(n > 1 for n in counts.values())


def growth(points: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """Return the growth per hour of what is in ``points``, and its standard error.

    Points are of life, time and value. One slope for all lives, each with a level of its own. What
    is bounded, such as the mirrors of caches, takes minutes to fill: the first third of a life is
    left out, and lives of less than half the longest. Memory goes up in steps and stays: the error
    is that of means over stretches of up to ten points.
    """
    x_parts: list[np.ndarray] = []
    y_parts: list[np.ndarray] = []
    lives: dict[int, list[tuple[float, float]]] = {}
    for life, at, value in points:
        lives.setdefault(life, []).append((at, value))
    longest = max((own[-1][0] - own[0][0] for own in lives.values()), default=0.0)
    for own in lives.values():
        began, lasted = own[0][0], own[-1][0] - own[0][0]
        if lasted < longest / 2:
            continue
        own = [(at, value) for at, value in own if at >= began + lasted / 3]
        width = min(10, max(1, len(own) // 5))
        n = len(own) // width * width
        if n < 3 * width:
            continue
        at, value = np.array(own[:n]).reshape(-1, width, 2).mean(1).T
        x_parts.append(at - at.mean())
        y_parts.append(value - value.mean())
    if not x_parts:
        return float("nan"), float("nan")
    x, y = np.concatenate(x_parts) / 3600, np.concatenate(y_parts)
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    n_free = max(1, len(x) - len(x_parts) - 1)
    return slope, float(np.sqrt(left @ left / n_free / (x @ x)))
