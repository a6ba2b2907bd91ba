"""Answers to a set of questions, a file or a folder per model: MMLU-Pro's ``eval_results``.

The layout of github.com/TIGER-AI-Lab/MMLU-Pro: ``model_outputs_NAME_5shots.json``, or the same in a
``.zip``, or a folder ``NAME`` with a ``SUBJECT_result.json`` per subject. Each is a JSON list, and
an entry has ``question_id``, the key ``answer`` and what was extracted from the model's words,
``pred``; also ``question``, ``options`` and ``category``. An answer is right (1) if ``pred`` is the
key of the same entry and wrong (0) otherwise, also where nothing could be extracted; the project's
own script guesses there, so that its figures for weak models are a little higher. Entries that have
a ``score``, a ``correct`` or an ``acc`` instead of ``pred`` are taken at their word.

Models are joined by ``question_id``; a question that a model was not asked is NaN.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.questions import read_questions, with_options
from triskele.evaluate.datasets.tables import entries_in, entries_of

PREFIX, SUFFIXES = "model_outputs_", (".json", ".jsonl", ".zip")
SUMMARY = "_summary"
Number = float | bool | None


class Answer(msgspec.Struct):
    """What is read of an entry."""

    question_id: int | str
    question: str = ""
    options: list[str | float | None] = []
    category: str | None = None
    answer: str | int | float | None = None
    pred: str | int | float | msgspec.UnsetType | None = msgspec.UNSET
    score: Number = None
    correct: Number = None
    acc: Number = None


def read_answers(path: Path, *, questions: Path | None = None) -> Dataset:
    """Read the answers of several models.

    Parameters
    ----------
    path
        A folder of files or folders, one per model.
    questions
        File or folder that :func:`~triskele.evaluate.datasets.questions.read_questions` reads. If
        given it says which questions there are, in which order, and what they ask.

    Raises
    ------
    ValueError
        If there are no answers, an entry cannot be scored, or a model answers a question twice or
        one that is not among the questions.
    """
    asked: dict[str, Answer] = {}
    scores: dict[str, dict[str, float]] = {}
    for file in _files_of(path):
        of_model = scores.setdefault(_model_of(file, path), {})
        for place, answer in _answers_in(file):
            name = str(answer.question_id)
            if name in of_model:
                raise ValueError(f"{place}: the question {name!r} was answered before")
            of_model[name] = _score_of(place, answer)
            asked.setdefault(name, answer)
    known = None if questions is None else read_questions(questions)
    ids = tuple(asked) if known is None else known.ids
    rows = {name: row for row, name in enumerate(ids)}
    matrix = np.full((len(ids), len(scores)), np.nan)
    for column, (model, of_model) in enumerate(scores.items()):
        for name, score in of_model.items():
            if name not in rows:
                raise ValueError(f"{path}: {model!r} answers {name!r}, which is no known question")
            matrix[rows[name], column] = score
    if known is None:
        labels = tuple(asked[name].category or "" for name in ids)
        texts = tuple(with_options(asked[name].question, asked[name].options) for name in ids)
    else:
        labels, texts = known.categories or (), known.texts
    return Dataset(
        ids=ids,
        texts=texts,
        models=tuple(scores),
        categories=labels if any(labels) else None,
        scores=matrix,
    )


def _files_of(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    answers = [
        file for file in files if file.suffix in SUFFIXES and not file.stem.endswith(SUMMARY)
    ]
    if not answers:
        raise ValueError(f"{path}: expected files that end in {', '.join(SUFFIXES)}, got none")
    return answers


def _model_of(file: Path, root: Path) -> str:
    """Return a model's name: of its file, or of its folder where it has one."""
    if file.stem.startswith(PREFIX):
        name = file.stem.removeprefix(PREFIX)
        shorter, _, shots = name.rpartition("_")
        return shorter if shots.endswith("shots") else name
    if file.parent == root or file == root:
        return file.stem
    return str(file.parent.relative_to(root))


def _answers_in(file: Path) -> Iterator[tuple[str, Answer]]:
    if file.suffix != ".zip":
        yield from entries_of(file, Answer)
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith((".json", ".jsonl")) and not name.startswith("__MACOSX"):
                    with archive.open(name) as lines:
                        yield from entries_in(lines, Answer, name=f"{file}:{name}")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def _score_of(place: str, answer: Answer) -> float:
    for score in (answer.score, answer.correct, answer.acc):
        if score is not None:
            return float(score)
    if answer.pred is msgspec.UNSET:
        raise ValueError(f"{place}: expected a 'pred', a 'score', a 'correct' or an 'acc'")
    return float(answer.pred is not None and answer.pred == answer.answer)
