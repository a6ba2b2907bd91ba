"""Whether scores have to do with the prompts they are said to belong to.

A model is better at some subjects than at others, and does about as well on prompts that resemble
each other. Both vanish when its scores stand in another order than the prompts. Each is measured in
standard deviations under a random permutation within tasks: the variance between labels (a χ² of
the analysis of variance), and the products of scores of neighbours in the space of the embeddings
(Moran's I, 1950).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.embedding.embedder import unit_rows

N_NEIGHBOURS = 10
N_SEEKERS = 4000
"""Prompts whose neighbours are sought, drawn at random."""
CHUNK = 500


class PromptAssociation:
    """Measures of columns of scores against one set of prompts.

    Parameters
    ----------
    blocks
        Number of each row's task, (n,): differences between tasks do not count.
    categories
        Label of each prompt, (n,).
    neighbours
        Which prompts resemble each other, (n, n), as :func:`nearest_neighbours` tells.
    """

    def __init__(
        self,
        blocks: Integers,
        *,
        categories: Sequence[str] | None = None,
        neighbours: sparse.csr_array | None = None,
    ) -> None:
        self._labels = None if categories is None else _Labels.of(blocks, categories)
        self._graph = None if neighbours is None else _Graph.of(blocks, neighbours)

    @property
    def knows_something(self) -> bool:
        """Whether anything is known of the prompts."""
        return self._labels is not None or self._graph is not None

    def measure(self, columns: Floats) -> Floats:
        """Return how much each column has to do with the prompts.

        Parameters
        ----------
        columns
            Standardized columns, (n, M), 0 where a score is missing.

        Returns
        -------
        Array
            (M,), about standard normal for columns that have nothing to do with the prompts, NaN
            for those of which nothing can be said.
        """
        nothing = np.full(columns.shape[1], np.nan)
        parts = [part.measure(columns) for part in (self._labels, self._graph) if part is not None]
        measured = np.stack([nothing, *parts])
        n_parts = np.count_nonzero(~np.isnan(measured), axis=0)
        return _divided(np.nansum(measured, axis=0), np.sqrt(n_parts))


def nearest_neighbours(
    embeddings: NDArray[np.floating[Any]], *, rng: np.random.Generator
) -> sparse.csr_array:
    """Return which prompts are among the nearest of which, by the cosine of their embeddings.

    Parameters
    ----------
    embeddings
        (n, d), of any length.
    rng
        Draws the prompts whose neighbours are sought where there are very many.

    Returns
    -------
    Sparse array
        (n, n), 1 from a prompt to each of its nearest.
    """
    n = len(embeddings)
    n_neighbours = min(N_NEIGHBOURS, n - 1)
    if n_neighbours < 1:
        return sparse.csr_array((n, n))
    units = unit_rows(np.asarray(embeddings, np.float32))
    seekers = np.sort(rng.permutation(n)[:N_SEEKERS])
    nearest = np.empty((len(seekers), n_neighbours), np.int64)
    for begin in range(0, len(seekers), CHUNK):
        some = seekers[begin : begin + CHUNK]
        similarity = units[some] @ units.T
        similarity[np.arange(len(some)), some] = -np.inf
        order = np.argpartition(-similarity, n_neighbours - 1, axis=1)
        nearest[begin : begin + CHUNK] = order[:, :n_neighbours]
    rows = np.repeat(seekers, n_neighbours)
    return sparse.csr_array((np.ones(len(rows)), (rows, nearest.ravel())), shape=(n, n))


@dataclass(frozen=True, slots=True, eq=False)
class _Labels:
    blocks: Integers
    cells: Integers
    """Number of each row's label within its task, (n,)."""
    block_of_cell: Integers

    @classmethod
    def of(cls, blocks: Integers, categories: Sequence[str]) -> "_Labels":
        _, labels = np.unique(np.asarray(categories, dtype=str), return_inverse=True)
        pairs, cells = np.unique(np.stack([blocks, labels]), axis=1, return_inverse=True)
        return cls(blocks, cells.ravel(), pairs[0])

    def measure(self, columns: Floats) -> Floats:
        """Compare the squares between labels with what chance would make of them."""
        is_known = (columns != 0).astype(np.float64)
        counts = _sums(is_known, self.cells)
        freedom = _sums((counts > 0).astype(np.float64), self.block_of_cell) - 1
        freedom = freedom.clip(min=0)
        variances = _sums(columns**2, self.blocks)
        variances /= np.maximum(_sums(is_known, self.blocks) - 1, 1)
        squares = (_sums(columns, self.cells) ** 2 / np.maximum(counts, 1)).sum(axis=0)
        expected = (freedom * variances).sum(axis=0)
        deviations = np.sqrt((2 * freedom * variances**2).sum(axis=0))
        return _divided(squares - expected, deviations)


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    blocks: Integers
    edges: sparse.csr_array
    within: Floats
    """Edges within each task, (blocks,)."""
    between: Floats
    """Sums of squared weights, both ways taken together, between tasks: (blocks, blocks)."""

    @classmethod
    def of(cls, blocks: Integers, edges: sparse.csr_array) -> "_Graph":
        n_blocks = int(blocks.max(initial=0)) + 1
        rows, columns = edges.nonzero()
        begins, ends = blocks[rows], blocks[columns]
        within = np.bincount(begins[begins == ends], minlength=n_blocks).astype(np.float64)
        both = (edges + edges.T).tocoo()
        cells = blocks[both.row] * n_blocks + blocks[both.col]
        between = np.bincount(cells, both.data**2, n_blocks**2).astype(np.float64)
        return cls(blocks, edges, within, between.reshape(n_blocks, n_blocks))

    def measure(self, columns: Floats) -> Floats:
        """Compare products of neighbours with what chance would make of them."""
        sizes = np.bincount(self.blocks)
        variances = _sums(columns**2, self.blocks) / sizes[:, None]
        products = (columns * (self.edges @ columns)).sum(axis=0)
        expected = -(self.within / np.maximum(sizes - 1, 1)) @ variances
        deviations = np.sqrt((variances * (self.between @ variances)).sum(axis=0) / 2)
        return _divided(products - expected, deviations)


def _sums(values: Floats, numbers: Integers) -> Floats:
    """Return the sums of columns over rows of the same number."""
    return np.stack([np.bincount(numbers, column) for column in values.T], axis=1)


def _divided(values: Floats, deviations: Floats) -> Floats:
    """Return values in deviations; NaN where there is no deviation to speak of."""
    return np.divide(values, deviations, out=np.full_like(values, np.nan), where=deviations > 0)
