"""Files of questions with somebody's labels: MMLU, MMLU-Pro, MATH and what looks like them.

Expected are tables, or JSON files of one question each, with

- the text: ``question``, ``problem``, ``prompt`` or ``query``;
- options, where it is multiple choice: ``options`` or ``choices``, a list;
- a label: ``category``, ``subject``, ``type`` or ``level``, whichever comes first;
- an id: ``question_id``, ``unique_id`` or ``id``.

All but the text may be missing; a question without an id is named by its file and row. MMLU's own
CSV files have no header: question, four options and the answer, one subject per file, named so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.tables import Table, columns_of, table_files

TEXTS = ("question", "problem", "prompt", "query")
OPTIONS = ("options", "choices")
LABELS = ("category", "subject", "type", "level")
IDS = ("question_id", "unique_id", "id")
MMLU_HEADER = ("question", "A", "B", "C", "D", "answer")
MMLU_PARTS = ("_test", "_val", "_dev")


@dataclass(frozen=True, slots=True)
class Question:
    """One question as it is asked."""

    id: str
    text: str
    category: str


def read_questions(path: Path, *, category: str | None = None) -> Dataset:
    """Read questions, which have neither models nor scores.

    Parameters
    ----------
    path
        A file, or a folder of files that are put one after the other.
    category
        The column of labels, where it is not to be the first of the usual ones: ``level`` for
        MATH's levels.

    Raises
    ------
    ValueError
        If a file has no column of texts, or not the column of labels that is asked for.
    """
    questions = [
        question for file in table_files(path) for question in _questions_of(file, path, category)
    ]
    labels = tuple(question.category for question in questions)
    return Dataset(
        ids=tuple(question.id for question in questions),
        texts=tuple(question.text for question in questions),
        categories=labels if any(labels) else None,
    )


def with_options(text: str, options: object) -> str:
    """Return a question followed by its lettered options, if it has any."""
    if not isinstance(options, Sequence) or isinstance(options, str) or not options:
        return text
    lettered = zip(ascii_uppercase, options, strict=False)
    return "\n".join([text, *(f"({letter}) {option}" for letter, option in lettered)])


def is_headless(path: Path) -> bool:
    """Return whether a CSV file begins with a question of MMLU instead of names of columns."""
    if path.suffix != ".csv" or not path.stem.endswith(MMLU_PARTS):
        return False
    names = columns_of(path)
    return len(names) == len(MMLU_HEADER) and not set(TEXTS) & set(names)


def _questions_of(file: Path, root: Path, category: str | None) -> list[Question]:
    if is_headless(file):
        table = Table.read(file, header=MMLU_HEADER)
        subject, _, _ = file.stem.rpartition("_")
        columns = [table.texts(name) for name in MMLU_HEADER[1:-1]]
        options: Sequence[object] = list(zip(*columns, strict=True))
        labels: Sequence[str] = (subject.replace("_", " "),) * len(table)
    else:
        table = Table.read(file)
        many, label = table.first_of(OPTIONS), category or table.first_of(LABELS)
        options = [()] * len(table) if many is None else table.values(many)
        labels = ("",) * len(table) if label is None else table.texts(label)
    text = table.first_of(TEXTS)
    if text is None:
        raise ValueError(f"{file}: expected one of the columns {', '.join(TEXTS)}, got none")
    return [
        Question(id=name, text=with_options(question, several), category=subject)
        for name, question, several, subject in zip(
            _ids_of(table, file, root), table.texts(text), options, labels, strict=True
        )
    ]


def _ids_of(table: Table, file: Path, root: Path) -> Sequence[str]:
    name = table.first_of(IDS)
    if name is not None:
        return table.texts(name)
    stem = file.stem if file == root else str(file.relative_to(root).with_suffix(""))
    if len(table) == 1:
        return (stem,)
    return tuple(f"{stem}/{row}" for row in range(len(table)))
