"""Details of the Open LLM Leaderboard: one file of samples per model and task.

Expected is a folder with a folder per model, named ``ORGANISATION__MODEL`` with or without
``details`` around it, and in that or below, per task,

- ``samples_TASK_DATE.jsonl`` or ``.json``, as lm-evaluation-harness writes them: ``doc_id``,
  ``doc`` (the record of the question), ``filter``, and the metrics by name; or
- ``details_TASK_DATE.parquet``, as the first leaderboard has them: ``example`` (the text), maybe
  ``doc_id``, and the metrics by name, or as fields of ``metrics``.

Of several dates the last counts. Of several metrics the first of ``METRICS`` counts, which must be
the same for all models of a task.

The order of a file says nothing: the harness put the ranks of a data-parallel run one after the
other, so that runs of different width list different questions in the same row. Rows are therefore
joined by what they are about: by the number *and* the text of the document, so that one that was
changed between versions of a task is two queries, and by the text alone where there is no number.
Rows of one model on the same document are averaged.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.questions import OPTIONS, with_options
from triskele.evaluate.datasets.tables import Table, entries_of

METRICS = ("acc_norm", "acc", "exact_match", "prompt_level_strict_acc", "mc2", "em", "f1")
"""Which metric is the score: the first that there is."""
CONTEXTS = ("narrative", "context", "passage")
TEXTS = ("question", "input", "problem", "query", "prompt", "ctx", "text", "goal")
"""Fields of a document that are its text: the first that there is, after its context."""
LABELS = ("category", "subject", "type")
STRICT = "strict-match"
NAME = re.compile(r"(?:samples|details)_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.:-]+)")
SUFFIXES = (".json", ".jsonl", ".parquet")
Number = float | bool | None


class Sample(msgspec.Struct):
    """What is read of an entry of a file of samples."""

    doc_id: int | None = None
    doc: dict[str, object] | str | None = None
    filter: str | None = None
    acc_norm: Number = None
    acc: Number = None
    exact_match: Number = None
    prompt_level_strict_acc: Number = None
    mc2: Number = None
    em: Number = None
    f1: Number = None


@dataclass(frozen=True, slots=True)
class Document:
    """What a row is about; equal for all models."""

    task: str
    number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A model's score on a document."""

    document: Document
    shown: str
    """The text with its options, whose order may differ from model to model."""
    category: str
    filter: str | None
    metric: str
    score: float


def read_leaderboard(path: Path, *, answer_filter: str = STRICT) -> Dataset:
    """Read a folder of details.

    Parameters
    ----------
    path
        A folder of models' folders, or one model's.
    answer_filter
        Which rows count where a file has several per document, one for each way to find the answer
        in a model's words.

    Raises
    ------
    ValueError
        If there are no such files, a row is about nothing or has no metric, or the models of a
        task were scored by different metrics.
    """
    rows: dict[str, list[Row]] = {}
    metric_of: dict[str, tuple[str, Path]] = {}
    for model, task, file in latest_files(path):
        of_file = _filtered(file, list(_rows_of(file, task)), answer_filter)
        for metric in {row.metric for row in of_file}:
            first, where = metric_of.setdefault(task, (metric, file))
            if metric != first:
                raise ValueError(
                    f"{file}: expected the metric {first!r} of {where}, got {metric!r}"
                )
        rows.setdefault(model, []).extend(of_file)
    shown = {row.document: row for several in rows.values() for row in reversed(several)}
    documents = sorted(shown, key=lambda document: (document.task, _place(document)))
    matrix = np.zeros((len(documents), len(rows)))
    counts = np.zeros_like(matrix)
    index = {document: place for place, document in enumerate(documents)}
    for column, several in enumerate(rows.values()):
        places = [index[row.document] for row in several]
        np.add.at(matrix[:, column], places, [row.score for row in several])
        np.add.at(counts[:, column], places, 1)
    return Dataset(
        ids=_names(documents),
        texts=tuple(shown[document].shown for document in documents),
        models=tuple(rows),
        categories=tuple(shown[document].category for document in documents),
        tasks=tuple(document.task for document in documents),
        scores=np.divide(matrix, counts, out=np.full_like(matrix, np.nan), where=counts > 0),
    )


def latest_files(path: Path) -> list[tuple[str, str, Path]]:
    """Return model, task and file of all details in a folder, the last of each.

    Raises
    ------
    ValueError
        If there are none.
    """
    latest: dict[tuple[str, str], tuple[str, Path]] = {}
    for file in sorted(path.rglob("*")):
        name = NAME.fullmatch(file.stem)
        if name is None or file.suffix not in SUFFIXES:
            continue
        key = (_model_of(file, path), name["task"])
        latest[key] = max(latest.get(key, ("", file)), (name["date"], file))
    if not latest:
        raise ValueError(
            f"{path}: expected files samples_TASK_DATE.jsonl or details_TASK_DATE.parquet, got none"
        )
    return [(model, task, file) for (model, task), (_, file) in sorted(latest.items())]


def _model_of(file: Path, root: Path) -> str:
    parts = file.relative_to(root).parts
    name = parts[0] if len(parts) > 1 else root.resolve().name
    return name.removeprefix("details_").removesuffix("-details").replace("__", "/", 1)


def _rows_of(file: Path, task: str) -> Iterator[Row]:
    if file.suffix == ".parquet":
        yield from _rows_of_table(Table.read(file), task)
        return
    for place, sample in entries_of(file, Sample):
        metric = next((name for name in METRICS if getattr(sample, name) is not None), None)
        if metric is None:
            raise ValueError(f"{place}: expected one of the metrics {', '.join(METRICS)}, got none")
        document = {} if sample.doc is None else sample.doc
        if isinstance(document, str):
            document = {TEXTS[0]: document}
        text = _text_of(document)
        yield Row(
            document=_document(place, task, sample.doc_id, text),
            shown=with_options(text, _first(document, OPTIONS)),
            category=str(_first(document, LABELS) or task),
            filter=sample.filter,
            metric=metric,
            score=float(getattr(sample, metric)),
        )


def _rows_of_table(table: Table, task: str) -> Iterator[Row]:
    record = "metrics" if "metrics" in table.names else None
    names = table.names if record is None else table.fields(record)
    metric = next((name for name in METRICS if name in names), None)
    if metric is None:
        raise ValueError(
            f"{table.path}: expected one of the metrics {', '.join(METRICS)}, got none"
        )
    scores = table.numbers(metric) if record is None else table.numbers(record, field=metric)
    text = table.first_of(("example", "full_prompt"))
    texts = ("",) * len(table) if text is None else table.texts(text)
    numbers = table.values("doc_id") if "doc_id" in table.names else [None] * len(table)
    for row, (number, words, score) in enumerate(zip(numbers, texts, scores, strict=True)):
        doc_id = number if isinstance(number, int) else None
        document = _document(table.place(row), task, doc_id, words)
        yield Row(document, words, task, None, metric, float(score))


def _document(place: str, task: str, number: int | None, text: str) -> Document:
    if number is None and not text:
        raise ValueError(f"{place}: expected a doc_id or the text of a document, got neither")
    return Document(task, number, text)


def _text_of(document: dict[str, object]) -> str:
    """Return a document's text; all of the document where no field is known to be it."""
    parts = [_first(document, CONTEXTS), _first(document, TEXTS)]
    texts = [part for part in parts if isinstance(part, str)]
    if texts:
        return "\n".join(texts)
    return msgspec.json.encode(document, order="sorted").decode() if document else ""


def _first(document: dict[str, object], names: tuple[str, ...]) -> object:
    return next((document[name] for name in names if document.get(name)), None)


def _filtered(file: Path, rows: list[Row], answer_filter: str) -> list[Row]:
    filters = {row.filter for row in rows}
    if len(filters) <= 1:
        return rows
    if answer_filter not in filters:
        names = ", ".join(sorted(map(str, filters)))
        raise ValueError(f"{file}: expected rows of the filter {answer_filter!r}, got {names}")
    return [row for row in rows if row.filter == answer_filter]


def _place(document: Document) -> tuple[int, str]:
    return (0 if document.number is None else document.number, document.text)


def _names(documents: list[Document]) -> tuple[str, ...]:
    """Name documents by task and number, or a hash where there is none or the number is taken."""
    names: dict[str, None] = {}
    for document in documents:
        digest = blake2b(document.text.encode(), digest_size=8).hexdigest()
        name = f"{document.task}/{digest if document.number is None else document.number}"
        names[f"{name}-{digest}" if name in names else name] = None
    return tuple(names)
