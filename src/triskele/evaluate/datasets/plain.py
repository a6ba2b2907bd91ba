"""Our own layout: a folder of plain tables that are joined by the names of queries and models.

``queries``
    A row per query: ``query_id``, ``query`` (its text) and ``category``; also ``dataset``, the
    benchmark it is from. Only ``query_id`` must be there.
``scores`` or ``votes``
    Scores: ``query_id`` and a column per model, empty or NaN where there is none. Votes: what
    ``triskele.evaluate.votes.reading`` reads, with the ``query_id`` of each.
``models``
    May be left out. ``model`` and ``price``, of an answer or of a token.
``embeddings*.npy`` or ``embeddings*.parquet``
    May be left out. A row per query, in the order of ``queries``.

A table is a ``.parquet``, ``.csv`` or ``.jsonl`` file. Where all ids look like ``task/number`` what
is before the last ``/`` is the query's task; elsewhere ``dataset`` is.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.columns import listed
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.tables import SUFFIXES, Table
from triskele.evaluate.embedding.files import read_embeddings
from triskele.evaluate.votes.reading import read_votes

ID = "query_id"


def read_plain(path: Path, *, scores: str = "scores", embeddings: str | None = None) -> Dataset:
    """Read a folder in our layout.

    Parameters
    ----------
    path
        The folder.
    scores
        Name of the table of scores, without what it ends in; a folder can hold several.
    embeddings
        Name of the file of embeddings, where the folder holds several.

    Raises
    ------
    ValueError
        If a file that must be there is missing, a table lacks a column, or rows do not fit.
    """
    queries = Table.read(_table_file(path, "queries"))
    ids = _ids_of(queries)
    votes_file, scores_file = find_table(path, "votes"), find_table(path, scores)
    if scores_file is None and (votes_file is None or scores != "scores"):
        raise ValueError(
            f"{path}: expected a table {scores!r}, there is no {scores}.parquet or .csv"
        )
    matrix, comparisons = None, None
    if scores_file is not None:
        models, matrix = _read_scores(Table.read(scores_file), ids)
    else:
        assert votes_file is not None
        comparisons = _read_votes(votes_file, ids)
        models = comparisons.models
    text = "query" if "query" in queries.names else None
    array_file = _embeddings_file(path, embeddings)
    return Dataset(
        ids=ids,
        texts=queries.texts(text) if text else ("",) * len(ids),
        models=models,
        categories=_labels(queries, "category"),
        tasks=_tasks(queries, ids),
        scores=matrix,
        comparisons=comparisons,
        prices=_read_prices(path, models),
        embeddings=None
        if array_file is None
        else read_embeddings(array_file, n_rows=len(ids)).astype(np.float32, copy=False),
    )


def find_table(path: Path, name: str) -> Path | None:
    """Return the file of a folder that is the table of that name, if there is one."""
    files = (path / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _table_file(path: Path, name: str) -> Path:
    file = find_table(path, name)
    if file is None:
        raise ValueError(f"{path}: expected a table {name!r}, there is no {name}.parquet or .csv")
    return file


def _ids_of(table: Table) -> tuple[str, ...]:
    ids = table.texts(ID)
    if "" in ids:
        raise ValueError(f"{table.place(ids.index(''))}: expected a {ID}, got none")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        for row, name in enumerate(ids):
            if name in seen:
                raise ValueError(f"{table.place(row)}: the {ID} {name!r} was there before")
            seen.add(name)
    return ids


def _read_scores(table: Table, ids: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the models and their scores in the order of the queries, whatever the file's is."""
    rows = {name: row for row, name in enumerate(ids)}
    scored = _ids_of(table)
    unknown = [name for name in scored if name not in rows]
    if unknown:
        raise ValueError(f"{table.path}: expected scores of known queries, got {listed(unknown)}")
    models = tuple(name for name in table.names if name != ID)
    matrix = np.full((len(ids), len(models)), np.nan)
    places = np.array([rows[name] for name in scored], np.int64)
    for column, model in enumerate(models):
        matrix[places, column] = table.numbers(model)
    return models, matrix


def _read_votes(path: Path, ids: tuple[str, ...]) -> Comparisons:
    votes = read_votes(path)
    rows = {name: row for row, name in enumerate(ids)}
    unknown = [name for name in votes.ids if name not in rows]
    if unknown:
        raise ValueError(f"{path}: expected votes on known queries, got {listed(unknown)}")
    places = np.array([rows[name] for name in votes.ids], np.int64)
    given = votes.comparisons
    return Comparisons(
        query=places[given.query],
        model_a=given.model_a,
        model_b=given.model_b,
        outcome=given.outcome,
        weight=given.weight,
        models=given.models,
        n_queries=len(ids),
    )


def _labels(table: Table, name: str) -> tuple[str, ...] | None:
    """Return a column of labels; none where nothing is labelled."""
    labels = table.texts(name) if name in table.names else ()
    return labels if any(labels) else None


def _tasks(table: Table, ids: tuple[str, ...]) -> tuple[str, ...] | None:
    if ids and all("/" in name for name in ids):
        return tuple(name.rpartition("/")[0] for name in ids)
    return _labels(table, "dataset")


def _read_prices(path: Path, models: tuple[str, ...]) -> NDArray[np.float64] | None:
    file = find_table(path, "models")
    table = None if file is None else Table.read(file)
    if table is None or "price" not in table.names:
        return None
    of_model = dict(zip(table.texts("model"), table.numbers("price").tolist(), strict=True))
    return np.array([of_model.get(model, np.nan) for model in models])


def _embeddings_file(path: Path, name: str | None) -> Path | None:
    if name is not None:
        return path / name
    files = sorted(file for file in path.glob("embeddings*") if file.suffix in (".npy", ".parquet"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(
            f"{path}: expected one file of embeddings, got {names}: choose one of them"
        )
    return files[0] if files else None
