"""Comparisons drawn from a table of scores, and queries and comparisons set aside for testing.

A draw is uniform among the pairs of models that qualify, without replacement, query by query.
"""

from collections.abc import Sequence
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triskele.evaluate.columns import Floats, Integers, frozen
from triskele.evaluate.comparisons import Comparisons

PAIRS_AT_ONCE = 1 << 20
"""Pairs of models whose turn is drawn in one go; bounds the memory."""


def sample_comparisons(
    scores: ArrayLike,
    *,
    per_query: int | None = 7,
    ties: Literal["drop", "half"] = "drop",
    tolerance: float = 0.0,
    models: Sequence[str] | None = None,
    rng: np.random.Generator,
) -> Comparisons:
    """Compare some pairs of models on every query, by their scores.

    Parameters
    ----------
    scores
        (n_queries, n_models), larger is better; NaN where there is no result.
    per_query
        Comparisons of each query, as far as it has so many pairs; ``None`` is all of them.
    ties
        Whether a pair of equal scores is left out or is a comparison of outcome ½.
    tolerance
        Scores that differ by no more are equal.
    models
        Names; the columns' numbers if not given.
    rng
        The source of all draws.

    Returns
    -------
    Comparisons
        Sorted by query, in random order within it; which of a pair is model a is drawn too.

    Raises
    ------
    ValueError
        If the scores are not a table, one is infinite, or an option is out of its range.
    """
    table = _table(scores)
    n_queries, n_models = table.shape
    if per_query is not None and per_query < 1:
        raise ValueError(f"expected at least one comparison per query, got {per_query}")
    if ties not in ("drop", "half"):
        raise ValueError(f'expected ties to be "drop" or "half", got {ties!r}')
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"expected a finite tolerance of at least 0, got {tolerance}")
    names = tuple(map(str, range(n_models))) if models is None else tuple(models)
    if len(names) != n_models:
        raise ValueError(f"expected {n_models} models for as many columns, got {len(names)}")
    parts = [(np.zeros(0, np.int64),) * 3 + (np.zeros(0),)]
    at_once = max(1, PAIRS_AT_ONCE // max(1, n_models * (n_models - 1) // 2))
    for begin in range(0, n_queries, at_once):
        block = table[begin : begin + at_once]
        queries, a, b, outcome = _compare(block, per_query, ties == "half", tolerance, rng)
        parts.append((queries + begin, a, b, outcome))
    query, model_a, model_b, outcomes = (
        frozen(np.concatenate(column)) for column in zip(*parts, strict=True)
    )
    return Comparisons.from_arrays(
        query, model_a, model_b, outcomes, models=names, n_queries=n_queries
    )


def split_queries(
    n_queries: int, *, test_size: float, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Draw the queries of a test set.

    Parameters
    ----------
    n_queries
        How many there are.
    test_size
        The share of them, between 0 and 1, rounded up; or their number, an int.
    rng
        The source of the draw.

    Returns
    -------
    train, test
        Rows of X, ascending.

    Raises
    ------
    ValueError
        If either set would be empty.
    """
    is_number = isinstance(test_size, int | np.integer)
    n_test = int(test_size) if is_number else ceil(test_size * n_queries)
    if not 0 < n_test < n_queries:
        raise ValueError(
            f"expected a test size that leaves some of {n_queries} queries on each side, "
            f"got {test_size}"
        )
    order = rng.permutation(n_queries)
    return frozen(np.sort(order[n_test:])), frozen(np.sort(order[:n_test]))


def split_probes(
    comparisons: Comparisons, *, n_probes: int, disjoint: bool, rng: np.random.Generator
) -> tuple[Comparisons, Comparisons]:
    """Draw of each query the comparisons that are shown, and keep the others to be predicted.

    With scores of right and wrong, "a beats b" says that a is right and b is wrong, and so decides
    every other comparison of either. Only comparisons of other models then show what a probe says
    about the query: these are kept alone if ``disjoint``.

    Parameters
    ----------
    comparisons
        Of any number per query.
    n_probes
        Comparisons of each query that are shown; one with fewer shows all it has.
    disjoint
        Leave out what shares a model with a probe of its query.
    rng
        The source of the draw.

    Returns
    -------
    probes, scored
        Both of the same queries and models, in the order of the comparisons.
    """
    if n_probes < 0:
        raise ValueError(f"expected at least 0 probes, got {n_probes}")
    query = comparisons.query
    is_probe = _turns(query, comparisons.n_queries, rng) < n_probes
    is_scored = ~is_probe
    if disjoint:
        n_models = comparisons.n_models
        a, b = query * n_models + comparisons.model_a, query * n_models + comparisons.model_b
        shown = np.concatenate([a[is_probe], b[is_probe]])
        is_scored &= ~(np.isin(a, shown) | np.isin(b, shown))
    return comparisons.take(is_probe), comparisons.take(is_scored)


def _table(scores: ArrayLike) -> Floats:
    table = np.asarray(scores)
    if table.ndim != 2 or table.dtype.kind not in "iufb":
        raise ValueError(
            "expected a table of numbers with a row per query and a column per model, got "
            f"shape {table.shape} of {table.dtype}"
        )
    infinite = np.isinf(table)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise ValueError(f"row {row}: expected finite scores or NaN, got inf in column {column}")
    return table


def _compare(
    scores: Floats,
    per_query: int | None,
    with_ties: bool,
    tolerance: float,
    rng: np.random.Generator,
) -> tuple[Integers, Integers, Integers, Floats]:
    """Give every pair a random turn, those that do not qualify the last, and take the first."""
    first, second = np.triu_indices(scores.shape[1], 1)
    lead = scores[:, second].astype(np.float64) - scores[:, first]
    is_tie = np.abs(lead) <= tolerance
    qualifies = ~np.isnan(lead) if with_ties else ~np.isnan(lead) & ~is_tie
    turn = np.where(qualifies, rng.random(lead.shape), 2.0)
    n_pairs = len(first)
    n_taken = n_pairs if per_query is None else min(per_query, n_pairs)
    pair = (
        np.argpartition(turn, n_taken - 1, axis=1)[:, :n_taken]
        if n_taken < n_pairs
        else np.broadcast_to(np.arange(n_pairs), turn.shape)
    )
    pair = np.take_along_axis(pair, np.take_along_axis(turn, pair, 1).argsort(1), 1)
    query, rank = np.nonzero(np.take_along_axis(qualifies, pair, 1))
    pair = pair[query, rank]
    outcome = np.where(is_tie[query, pair], 0.5, lead[query, pair] > 0)
    is_swapped = rng.random(len(pair)) < 0.5
    model_a = np.where(is_swapped, second[pair], first[pair])
    model_b = np.where(is_swapped, first[pair], second[pair])
    return query, model_a, model_b, np.where(is_swapped, 1 - outcome, outcome)


def _turns(query: Integers, n_queries: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return each comparison's place in a random order of those of its query."""
    shuffled = rng.permutation(len(query))
    order = shuffled[np.argsort(query[shuffled], kind="stable")]
    n_before = np.cumsum(np.bincount(query, minlength=n_queries)) - np.bincount(
        query, minlength=n_queries
    )
    turns = np.empty(len(query), np.int64)
    turns[order] = np.arange(len(query)) - n_before[query[order]]
    return turns
