"""RouterBench: prompts answered by eleven models, with what each answer cost.

The layout of Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System" (arXiv 2403.12031).
It is published as a pickle, which is never read here; export it to Parquet or CSV. A row per prompt
has ``sample_id``, ``prompt`` (a Python list of turns, written out), ``eval_name``, and for each
model a column of its name with the score (0 to 1) and one ``NAME|total_cost`` with the price of
that answer in dollars. Other columns, such as ``NAME|model_response``, are passed over.
"""

import ast
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.tables import Table

COST = "|total_cost"


def read_routerbench(path: Path) -> Dataset:
    """Read RouterBench from a Parquet, CSV or JSON file; the prices are means per answer.

    Raises
    ------
    ValueError
        If the file is a pickle, or lacks a column.
    """
    table = Table.read(path)
    models = models_of(table.names)
    if not models:
        raise ValueError(f"{path}: expected columns NAME and NAME{COST} for each model, got none")
    labels = table.texts("eval_name")
    return Dataset(
        ids=table.texts("sample_id"),
        texts=tuple(map(_text_of, table.texts("prompt"))),
        models=models,
        categories=labels,
        tasks=labels,
        scores=np.stack([table.numbers(model) for model in models], axis=1),
        prices=np.array([_mean(table.numbers(f"{model}{COST}")) for model in models]),
    )


def models_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that have a column of costs next to them."""
    return tuple(name for name in names if f"{name}{COST}" in names)


def _text_of(prompt: str) -> str:
    """Return the turns of a prompt under each other; as it is if it is no list of turns."""
    if not prompt.lstrip().startswith("["):
        return prompt
    try:
        turns = ast.literal_eval(prompt.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return prompt
    return "\n".join(map(str, turns)) if isinstance(turns, list) else prompt


def _mean(costs: NDArray[np.float64]) -> float:
    return float(np.nanmean(costs)) if np.isfinite(costs).any() else float("nan")
