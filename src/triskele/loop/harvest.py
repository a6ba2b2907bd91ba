"""From a journal to evidence: records, what people and judges said of them, and scores of tests.

Only answers that were finished count, and only where the journal keeps the prompt. Who says
something twice of one answer has changed their mind: the last word counts. What cannot be used is
named and passed over.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from triskele.loop.evidence import PAR, Evidence, Gathering
from triskele.serve.journal import Feedback, Record, read, read_feedback
from triskele.serve.journal.lines import numbered_lines

MAX_NAMED = 100
"""Problems that are named; the others are counted."""
TESTS = "tests"
"""Source of programmatic scores, where none is named."""

Score = Callable[[Record], float | None]
"""How well a record's answer serves its prompt, from 0 to 1; ``None`` if it is not to say."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Harvest:
    """What a journal had to tell.

    Attributes
    ----------
    evidence
        Of the requests.
    tokens
        Mean tokens of prompt and answer of each model's finished requests, where they were counted.
    n_records
        Requests that were looked at.
    problems, n_problems
        What could not be used, the first of them in words.
    """

    evidence: Evidence
    tokens: dict[str, float]
    n_records: int
    problems: tuple[str, ...]
    n_problems: int


class ScoreLine(msgspec.Struct, frozen=True):
    """A line of a file of scores."""

    id: str
    score: float
    time: float | None = None
    source: str = TESTS

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.score <= 1:
            raise ValueError(f"expected a score from 0 to 1, got {self.score}")


def harvest(
    journal: Path,
    *,
    since: float | None = None,
    scores: Path | None = None,
    score: Score | None = None,
) -> Harvest:
    """Read a journal and all that was said of it.

    Parameters
    ----------
    journal
        Directory of the journal, with its feedback.
    since
        Unix time; requests before it are left out.
    scores
        File of lines ``{"id": …, "score": …}``, and perhaps ``time`` and ``source``.
    score
        Scores each finished request that has a prompt.

    Raises
    ------
    FileNotFoundError
        If there is no journal.
    """
    problems = _Problems()
    said = list(read_feedback(journal, since=since, on_problem=problems.add))
    if scores is not None:
        said += _read_scores(scores, problems)
    wanted = {each.id for each in said} | {each.better_than for each in said if each.better_than}
    records: dict[str, Record] = {}
    tokens: dict[str, tuple[float, int]] = {}
    gathering, n_records = Gathering(), 0
    for record in read(journal, since=since):
        n_records += 1
        if record.outcome != "finished":
            continue
        model = model_of(record)
        if record.n_prompt is not None and record.n_output is not None:
            total, n = tokens.get(model, (0.0, 0))
            tokens[model] = total + record.n_prompt + record.n_output, n + 1
        if record.id in wanted:
            records[record.id] = record
        if score is not None and query_of(record):
            _add_score(gathering, record, score, problems)
    for each in _last_words(said):
        _add(gathering, each, records, problems)
    return Harvest(
        evidence=gathering.evidence(),
        tokens={model: total / n for model, (total, n) in tokens.items()},
        n_records=n_records,
        problems=tuple(problems.named),
        n_problems=problems.n,
    )


def query_of(record: Record) -> str | None:
    """Return what was asked, as the router embeds it: the last turn of a conversation."""
    return record.query or record.prompt


def model_of(record: Record) -> str:
    """Return the model that answered: the one decided for, where the choice was left open."""
    decided = (record.decision or {}).get("model")
    return decided if isinstance(decided, str) else record.model


class _Problems:
    def __init__(self) -> None:
        self.named: list[str] = []
        self.n = 0

    def add(self, problem: str) -> None:
        self.n += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(problem)


def _read_scores(path: Path, problems: _Problems) -> list[Feedback]:
    if not path.is_file():
        raise ValueError(f"expected a file of scores, there is none at {path}")
    found = []
    for number, line in numbered_lines(path):
        try:
            said = msgspec.json.decode(line, type=ScoreLine)
            time = 0.0 if said.time is None else said.time
            found.append(Feedback(id=said.id, time=time, score=said.score, source=said.source))
        except (ValueError, UnicodeDecodeError) as error:
            problems.add(f"{path}, line {number}: {error}")
    return found


def _add_score(gathering: Gathering, record: Record, score: Score, problems: _Problems) -> None:
    query = query_of(record)
    assert query
    value = score(record)
    if value is None:
        return
    if not 0 <= value <= 1 or model_of(record) in ("", PAR):
        problems.add(f"request {record.id}: expected a model and a score from 0 to 1, got {value}")
        return
    gathering.score(
        query,
        model_of(record),
        value,
        answered=record.time,
        arrived=record.time,
        source=TESTS,
    )


def _last_words(said: Iterable[Feedback]) -> list[Feedback]:
    """Return what each source said last of each answer, and of each pair."""
    last = {(each.source, each.id, each.better_than): each for each in said}
    return list(last.values())


def _add(
    gathering: Gathering, said: Feedback, records: dict[str, Record], problems: _Problems
) -> None:
    record = records.get(said.id)
    where = f"feedback of {said.source} on request {said.id}"
    if record is None:
        problems.add(f"{where}: the journal has no finished request of that id")
        return
    query = query_of(record)
    if not query:
        problems.add(f"{where}: the journal has no prompt; serve with --keep-text")
        return
    model, arrived = model_of(record), max(said.time, record.time)
    if model in ("", PAR):
        problems.add(f"{where}: no model answered that has a name of its own, got {model!r}")
        return
    if said.score is not None:
        gathering.score(
            query,
            model,
            said.score,
            answered=record.time,
            arrived=arrived,
            source=said.source,
        )
    if said.better_than is None:
        return
    other = records.get(said.better_than)
    if other is None or other.prompt != record.prompt or model_of(other) in (model, "", PAR):
        problems.add(
            f"{where}: expected better_than to be a finished request with the same prompt and "
            f"another model, got {said.better_than}"
        )
        return
    gathering.preference(
        query,
        model_of(other),
        model,
        outcome=1.0,
        answered=min(record.time, other.time),
        arrived=arrived,
        source=said.source,
    )
