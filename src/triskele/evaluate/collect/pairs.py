"""Which answers to compare: so many pairs of models per prompt, drawn, or the pairs of a file."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from triskele.evaluate.collect.prompts import IDENTIFIERS, Prompt
from triskele.evaluate.collect.tables import rows_of

COLUMNS = ("model_a", "model_b")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models, by their labels, whose answers to a prompt are compared."""

    prompt: Prompt
    model_a: str
    model_b: str


def sample_pairs(
    prompts: Sequence[Prompt], labels: Sequence[str], *, per_prompt: int, rng: random.Random
) -> list[Comparison]:
    """Draw pairs of models for each prompt, uniformly and without replacement.

    Which pairs a prompt gets depends on the generator's state, the labels and the prompt's
    identifier: prompts that are added or moved leave the pairs of the others as they were.

    Parameters
    ----------
    prompts
        What was or will be asked.
    labels
        The models.
    per_prompt
        Pairs for each prompt; all of them if there are no more.
    rng
        Gives one number.

    Raises
    ------
    ValueError
        If there are fewer than two models, or ``per_prompt`` is below 1.
    """
    if len(labels) < 2:
        raise ValueError(f"expected at least 2 models to compare, got {len(labels)}")
    if per_prompt < 1:
        raise ValueError(f"expected at least 1 pair per prompt, got {per_prompt}")
    pairs = list(combinations(labels, 2))
    n_drawn = min(per_prompt, len(pairs))
    salt = rng.getrandbits(64)
    comparisons = []
    for prompt in prompts:
        drawn = random.Random(f"{salt}:{prompt.id}").sample(range(len(pairs)), n_drawn)
        comparisons += [Comparison(prompt, *pairs[number]) for number in sorted(drawn)]
    return comparisons


def read_pairs(path: Path, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[Comparison]:
    """Read pairs of models from a table with the columns ``model_a`` and ``model_b``.

    A row with an identifier, in one of the columns that prompts have it in, stands for that
    prompt; a row without stands for every prompt. A pair that is there twice, in whatever order,
    counts once.

    Raises
    ------
    ValueError
        If a row names a model or a prompt that is not there, or a model twice.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    found: dict[tuple[str, frozenset[str]], Comparison] = {}
    for place, row in rows_of(path, (*COLUMNS, *IDENTIFIERS)):
        pair = [_model(row, column, labels, place) for column in COLUMNS]
        if pair[0] == pair[1]:
            raise ValueError(f"{place}: model_a and model_b are both {pair[0]!r}")
        identifier = next((row[name] for name in IDENTIFIERS if name in row), None)
        if identifier is not None and identifier not in by_id:
            raise ValueError(f"{place}: no prompt is named {identifier!r}")
        for prompt in prompts if identifier is None else (by_id[identifier],):
            found.setdefault((prompt.id, frozenset(pair)), Comparison(prompt, *pair))
    if not found:
        raise ValueError(f"expected at least one pair, {path} has none")
    return list(found.values())


def _model(row: Mapping[str, str], column: str, labels: Sequence[str], place: str) -> str:
    if column not in row:
        raise ValueError(f"{place}: expected a model in the column {column}")
    if row[column] not in labels:
        raise ValueError(f"{place}: no model {row[column]!r}; there are: {', '.join(labels)}")
    return row[column]
