"""SPROUT: prompts answered by a dozen hosted models and graded by a judge.

The layout of Somerstep et al., "CARROT: A Cost Aware Rate Optimal Router" (arXiv 2502.03261): a row
per prompt with ``key``, ``dataset``, ``dataset_level``, ``dataset_idx``, ``prompt`` and
``golden_answer``, and a column per model that holds a record of its ``response``, ``score`` (from 0
to 1), ``num_input_tokens`` and ``num_output_tokens``. Whatever column has records with a ``score``
is taken for a model; any of the others but ``prompt`` may be missing. The parts train, validation
and test are files of one folder and are put one after the other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.tables import Table, table_files

SCORE = "score"
TOKENS = ("num_input_tokens", "num_output_tokens")
PER_MILLION = 1e-6


def read_sprout(path: Path, *, prices: Mapping[str, tuple[float, float]] | None = None) -> Dataset:
    """Read SPROUT from a file or a folder of files.

    Parameters
    ----------
    path
        A Parquet or JSON file, or a folder of them.
    prices
        Price per million tokens read and written, by model. Gives the mean price of an answer,
        from the tokens that each model read and wrote.

    Raises
    ------
    ValueError
        If a file has no prompts or no model's scores, or the files' models differ.
    """
    tables = [Table.read(file) for file in table_files(path)]
    models = models_of(tables[0])
    for table in tables:
        if not models:
            raise ValueError(
                f"{table.path}: expected columns of records with a {SCORE!r}, got none"
            )
        if set(models_of(table)) != set(models):
            raise ValueError(f"{table.path}: expected the models of {tables[0].path}, got others")
    columns = [_stacked(tables, model, SCORE) for model in models]
    return Dataset(
        ids=_ids(tables),
        texts=tuple(text for table in tables for text in table.texts("prompt")),
        models=models,
        categories=_labels(tables),
        tasks=_labels(tables),
        scores=np.stack(columns, axis=1),
        prices=None if prices is None else _prices_per_answer(tables, models, prices),
    )


def models_of(table: Table) -> tuple[str, ...]:
    """Return the columns that hold a model's answers: records with a score."""
    return tuple(name for name in table.names if SCORE in table.fields(name))


def _stacked(tables: Sequence[Table], name: str, field: str) -> NDArray[np.float64]:
    return np.concatenate([table.numbers(name, field=field) for table in tables])


def _ids(tables: Sequence[Table]) -> tuple[str, ...]:
    """Return the keys where they tell all prompts apart, else file and row."""
    keys = [key for table in tables if "key" in table.names for key in table.texts("key")]
    if len(set(keys)) == sum(map(len, tables)):
        return tuple(keys)
    return tuple(f"{table.path.stem}/{row}" for table in tables for row in range(len(table)))


def _labels(tables: Sequence[Table]) -> tuple[str, ...] | None:
    if not all("dataset" in table.names for table in tables):
        return None
    return tuple(label for table in tables for label in table.texts("dataset"))


def _prices_per_answer(
    tables: Sequence[Table], models: Sequence[str], prices: Mapping[str, tuple[float, float]]
) -> NDArray[np.float64]:
    means = np.full(len(models), np.nan)
    for place, model in enumerate(models):
        if model in prices:
            tokens = [_stacked(tables, model, name) for name in TOKENS]
            costs = sum(n * price for n, price in zip(tokens, prices[model], strict=True))
            means[place] = np.nanmean(costs) * PER_MILLION
    return means
