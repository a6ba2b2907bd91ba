"""Whether the columns of a score matrix speak of the same queries in the same rows.

Published matrices have been put together column by column from files in different orders: most of
all because lm-evaluation-harness writes the results of a data-parallel run rank by rank (see
``interleaving``). Nothing fails then, but most comparisons pit answers to different questions.

What gives it away is that models stop agreeing on what is hard. A model is said to be out of order
if another order makes it agree with the others far better, by a margin that chance reaches in one
data set of a thousand. A model that agrees with nobody in any order may just guess; it is called a
stray only if it is too good for that. The prompts, where they are known, tell what the models among
themselves cannot: whether all of them are in the same wrong order, and who is a stray where several
strays agree with each other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from triskele.evaluate.alignment.findings import AlignmentReport
from triskele.evaluate.alignment.interleaving import (
    MAX_RUNS,
    candidate_orders,
    in_order,
    merged_runs,
    ordered,
    relation,
    settled,
    standardized,
)
from triskele.evaluate.alignment.prompt_association import PromptAssociation, nearest_neighbours
from triskele.evaluate.columns import Flags, Floats, Integers

UNRELATED = 3.1
"""Standard deviations below which a model has nothing in common with what it is compared to."""
CLEAR = 3 * UNRELATED
"""Standard deviations that are expected of a model in the right order, where less is found out."""
WEAKEST = 0.1
"""Correlation with the others that a model in the right order is expected to have at least."""
MIN_RUN = 20
"""Rows that runs of a label must have on average to be taken for tasks."""
WEAK = 0.1
"""The quantile of the models in the right order that counts as their weakest."""
N_PROMPTS = 20_000
"""Rows that are compared with the prompts, drawn at random."""
N_JUDGES = 32
"""Models that tell which order is that of the prompts."""
MIN_WITNESSES = 2
"""Models that must be in order before another is said not to be."""
TINY = 1e-12


def check_alignment(
    scores: ArrayLike,
    *,
    models: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    embeddings: NDArray[np.floating[Any]] | None = None,
    blocks: Sequence[object] | None = None,
    max_ranks: int = 32,
    level: float = 1e-3,
    random_state: int = 0,
) -> AlignmentReport:
    """Look for columns of scores that are in another order than the others or the prompts.

    Parameters
    ----------
    scores
        (n_queries, M), NaN where there is none; a missing score moves with its row.
    models
        Names of the columns; their numbers if not given.
    categories
        Label of each query, (n_queries,).
    embeddings
        Representation of each query, (n_queries, n_features).
    blocks
        The task of each query, (n_queries,): a harness orders the documents of each task on its
        own. If not given, all are taken to be one task; if that explains nothing, the runs of equal
        ``categories`` are, and neighbouring runs are merged where that explains more.
    max_ranks
        Most ranks of a data-parallel run that are considered.
    level
        Probability of finding any model out of order where none is.
    random_state
        Seed for the rows that are looked at where there are very many.

    Raises
    ------
    ValueError
        If ``scores`` is no matrix, or what is said of the queries is not one for each.
    """
    matrix: Floats = np.asarray(scores, np.float64)
    _check_shapes(matrix, models=models, categories=categories, blocks=blocks)
    if embeddings is not None and len(embeddings) != len(matrix):
        raise ValueError(f"expected {len(matrix)} embeddings, got {len(embeddings)}")
    if max_ranks < 1 or not 0 < level < 1:
        raise ValueError(f"expected max_ranks ≥ 1 and 0 < level < 1, got {max_ranks}, {level}")
    names = tuple(map(str, range(matrix.shape[1]))) if models is None else tuple(models)
    if not matrix.size:
        return AlignmentReport.of_nothing(matrix, names)
    search = _Search(matrix, categories, embeddings, max_ranks, level, random_state)
    tasks = np.zeros(len(matrix), np.int64) if blocks is None else _numbered(blocks)
    n_ranks = search.n_ranks(tasks)
    if blocks is None and categories is not None and (n_ranks == 1).all():
        runs = _runs(categories)
        is_sorted = len(runs) > MIN_RUN * runs[-1]
        by_run = search.n_ranks(runs) if is_sorted else n_ranks
        if (by_run > 1).any():
            columns = standardized(matrix, runs)
            tasks = merged_runs(columns, runs, by_run) if runs[-1] < MAX_RUNS else runs
            n_ranks = search.n_ranks(tasks)
    return search.report(tasks, n_ranks, names)


class _Search:
    """One matrix, and what is known of its rows."""

    def __init__(
        self,
        matrix: Floats,
        categories: Sequence[str] | None,
        embeddings: NDArray[np.floating[Any]] | None,
        max_ranks: int,
        level: float,
        random_state: int,
    ) -> None:
        self.matrix = matrix
        self.max_ranks = max_ranks
        # Any two columns in any two orders could agree by chance.
        n_tried = (matrix.shape[1] * max_ranks) ** 2
        self.critical = -float(special.ndtri(level / n_tried))
        self.rng = np.random.default_rng(random_state)
        self.rows = np.sort(self.rng.permutation(len(matrix))[:N_PROMPTS])
        self.categories = None if categories is None else [categories[row] for row in self.rows]
        self.neighbours = (
            None if embeddings is None else nearest_neighbours(embeddings[self.rows], rng=self.rng)
        )

    def n_ranks(self, blocks: Integers) -> Integers:
        """Return the number of ranks of each column that explains the matrix best."""
        columns, orders = standardized(self.matrix, blocks), self._orders(blocks)
        if not columns.any():
            return np.ones(self.matrix.shape[1], np.int64)
        choices = candidate_orders(
            columns,
            orders,
            critical=self.critical,
            n_known=np.count_nonzero(~np.isnan(self.matrix), axis=0),
            rng=self.rng,
        )
        best = choices[self._closest_to_prompts(columns, blocks, orders, choices)]
        if len(best) > 1:
            best = settled(columns, blocks, orders, best, critical=self.critical)
        return best + 1

    def report(
        self, blocks: Integers, n_ranks: Integers, models: tuple[str, ...]
    ) -> AlignmentReport:
        """Measure the matrix as it is and as it would be repaired."""
        orders, choice = self._orders(blocks), n_ranks - 1
        columns = standardized(self.matrix, blocks)
        moved = ordered(columns, orders, choice)
        before, after = self._associations(columns, blocks, orders, [choice * 0, choice])
        return AlignmentReport(
            models=models,
            n_ranks=n_ranks,
            is_stray=self._strays(moved, blocks, after),
            repaired=ordered(self.matrix, orders, choice) if choice.any() else self.matrix,
            blocks=blocks,
            correlations=_with_others(columns),
            repaired_correlations=_with_others(moved),
            mean_correlation=_mean_correlation(columns),
            repaired_mean_correlation=_mean_correlation(moved),
            association=before,
            repaired_association=after,
        )

    def _orders(self, blocks: Integers) -> list[Integers]:
        return [in_order(blocks, w) for w in range(1, self.max_ranks + 1)]

    def _associations(
        self,
        columns: Floats,
        blocks: Integers,
        orders: Sequence[Integers],
        choices: Sequence[Integers],
    ) -> list[Floats | None]:
        """Return how much each model has to do with the prompts, for each choice of orders."""
        prompts = PromptAssociation(
            blocks[self.rows], categories=self.categories, neighbours=self.neighbours
        )
        if not prompts.knows_something:
            return [None] * len(choices)
        parts = [order[self.rows] for order in orders]
        return [prompts.measure(ordered(columns, parts, choice)) for choice in choices]

    def _closest_to_prompts(
        self,
        columns: Floats,
        blocks: Integers,
        orders: Sequence[Integers],
        choices: Sequence[Integers],
    ) -> int:
        """Of choices that agree equally well, return the first unless another fits far better."""
        if len(choices) == 1:
            return 0
        # Some models are enough to tell, since all are moved in step.
        some = np.linspace(0, columns.shape[1] - 1, min(columns.shape[1], N_JUDGES)).astype(int)
        measured = self._associations(
            columns[:, some], blocks, orders, [choice[some] for choice in choices]
        )
        # The mean over models: they agree with each other, so a sum would count the same twice.
        fits = np.array([0.0 if part is None else _mean(part) for part in measured])
        return int(fits.argmax()) if fits.max() - fits[0] > self.critical else 0

    def _strays(self, moved: Floats, blocks: Integers, association: Floats | None) -> Flags:
        """Return which columns have nothing in common with the others, though they should have."""
        n_known = np.count_nonzero(~np.isnan(self.matrix), axis=0)
        quality = np.nansum(self.matrix, axis=0) / np.maximum(n_known, 1)
        told = np.full(len(n_known), np.nan) if association is None else association
        everyone = np.ones(len(n_known), bool)
        found = self._agreement_with(everyone, moved, blocks)
        # Whose scores have to do with the prompts is a witness; without prompts, who agrees.
        witnesses = (found if association is None else told) > self.critical
        if np.count_nonzero(witnesses) < MIN_WITNESSES:
            return ~everyone
        agrees = self._agreement_with(witnesses, moved, blocks)
        weakest = np.quantile(agrees[witnesses] / np.sqrt(n_known[witnesses]), WEAK)
        expected = max(WEAKEST, float(weakest)) * np.sqrt(n_known)
        is_unrelated = (agrees < UNRELATED) & (expected > CLEAR)
        # Who guesses agrees with nobody either, but is no better than others.
        guesses = (quality < np.median(quality[witnesses])) & (found < self.critical)
        is_constant = ~moved.any(axis=0)
        is_stray: Flags = is_unrelated & ~(told > UNRELATED) & ~guesses & ~is_constant
        return is_stray

    def _agreement_with(self, some: Flags, columns: Floats, blocks: Integers) -> Floats:
        """Return how well each column agrees with the sum of some, itself left out."""
        references = columns[:, some].sum(axis=1, keepdims=True) - columns * some
        return relation(columns, references, blocks)


def _check_shapes(matrix: Floats, **of_queries: Sequence[object] | None) -> None:
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix of scores, (queries, models), got {matrix.shape}")
    for name, values in of_queries.items():
        wanted = matrix.shape[name == "models"]
        if values is not None and len(values) != wanted:
            raise ValueError(f"expected {wanted} {name}, got {len(values)}")


def _numbered(labels: Sequence[object]) -> Integers:
    """Return a number for each label, in the order in which they first appear."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.int64)


def _runs(labels: Sequence[object]) -> Integers:
    """Return a number for each run of equal labels."""
    numbers = _numbered(labels)
    return np.cumsum(np.diff(numbers, prepend=numbers[:1]) != 0)


def _with_others(columns: Floats) -> Floats:
    """Return the correlation of each standardized column with the mean of the others."""
    others = columns.sum(axis=1, keepdims=True) - columns
    products: Floats = (columns * others).sum(axis=0)
    lengths: Floats = np.maximum(np.linalg.norm(others, axis=0), TINY)
    return products / lengths


def _mean(measured: Floats) -> float:
    """Return the mean of what is known; 0 if nothing is."""
    known = measured[~np.isnan(measured)]
    return float(known.mean()) if len(known) else 0.0


def _mean_correlation(columns: Floats) -> float:
    """Return the mean correlation of two standardized columns."""
    n = int(np.count_nonzero(columns.any(axis=0)))
    total = columns.sum(axis=1)
    return float((total @ total - n) / (n * (n - 1))) if n > 1 else 0.0
