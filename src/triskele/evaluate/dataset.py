"""What is known of some models on some queries: one record, whatever file it was read from.

A data set has scores, (queries, models), or votes; texts may be unknown and then are empty. It
knows nothing of files: see ``datasets``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triskele.evaluate.columns import chosen, listed, unique_names
from triskele.evaluate.comparisons import Comparisons


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Queries in rows, models in columns; the arrays are read-only views of what was given.

    Raises
    ------
    ValueError
        If the parts do not fit each other, a query or a model is named twice, or a score is
        infinite.
    """

    ids: tuple[str, ...]
    """Names of the queries, each once: (n_queries,)."""
    texts: tuple[str, ...]
    """What was asked, ``""`` where it is unknown: (n_queries,)."""
    models: tuple[str, ...] = ()
    """Names of the models, each once; none where there are only questions."""
    categories: tuple[str, ...] | None = None
    """Somebody's label of each query, such as its subject: (n_queries,)."""
    tasks: tuple[str, ...] | None = None
    """The benchmark that each query was evaluated with: (n_queries,). What puts scores into a
    wrong order does so within a task."""
    scores: NDArray[np.float64] | None = None
    """How good each answer was, more is better: (n_queries, n_models), NaN where there is none."""
    comparisons: Comparisons | None = None
    """Votes, where there are some, of the same models in the same order."""
    prices: NDArray[np.float64] | None = None
    """What an answer costs, per query or per token as the layout says: (n_models,), NaN where it
    is unknown."""
    embeddings: NDArray[np.float32] | None = None
    """Representations of the texts: (n_queries, n_features)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", unique_names(self.models))
        n_queries, n_models = len(self.ids), len(self.models)
        _check_unique(self.ids)
        for name in ("texts", "categories", "tasks"):
            labels = getattr(self, name)
            if labels is not None and len(labels) != n_queries:
                raise ValueError(f"expected {n_queries} {name}, one per query, got {len(labels)}")
        self._freeze("scores", np.float64, (n_queries, n_models))
        self._freeze("prices", np.float64, (n_models,))
        self._freeze("embeddings", np.float32, (n_queries, None))
        if self.scores is not None and np.isinf(self.scores).any():
            row, column = np.argwhere(np.isinf(self.scores))[0]
            where = f"query {self.ids[row]!r} and model {self.models[column]!r}"
            raise ValueError(
                f"expected finite scores or NaN, got {self.scores[row, column]}: {where}"
            )
        if self.comparisons is not None:
            _check_votes(self.comparisons, self.models, n_queries)

    @property
    def n_queries(self) -> int:
        """How many queries there are."""
        return len(self.ids)

    @property
    def n_models(self) -> int:
        """How many models there are."""
        return len(self.models)

    def of_queries(self, queries: ArrayLike) -> "Dataset":
        """Return what is known of some of the queries, in the order that is asked for.

        Parameters
        ----------
        queries
            Rows, each at most once, or a mask, (n_queries,) bool.
        """
        rows = chosen(queries, self.n_queries, "queries")
        votes = self.comparisons
        return replace(
            self,
            ids=_taken(self.ids, rows),
            texts=_taken(self.texts, rows),
            categories=None if self.categories is None else _taken(self.categories, rows),
            tasks=None if self.tasks is None else _taken(self.tasks, rows),
            scores=None if self.scores is None else self.scores[rows],
            comparisons=None if votes is None else votes.of_queries(rows),
            embeddings=None if self.embeddings is None else self.embeddings[rows],
        )

    def _freeze(self, name: str, dtype: type, shape: tuple[int | None, ...]) -> None:
        given = getattr(self, name)
        if given is None:
            return
        array: NDArray[Any] = np.asarray(given, dtype).view()
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, actual) for wanted, actual in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise ValueError(f"expected {name} of shape ({wanted}), got {array.shape}")
        array.flags.writeable = False
        object.__setattr__(self, name, array)


def _check_unique(ids: Sequence[str]) -> None:
    if len(set(ids)) < len(ids):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise ValueError(f"expected each query once, got {listed(twice)} more than once")


def _check_votes(votes: Comparisons, models: tuple[str, ...], n_queries: int) -> None:
    if votes.models != models:
        raise ValueError(
            f"expected votes on the models {listed(models)}, got votes on {listed(votes.models)}"
        )
    if votes.n_queries != n_queries:
        raise ValueError(f"expected votes on {n_queries} queries, got {votes.n_queries}")


def _taken(labels: Sequence[str], rows: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(labels[row] for row in rows.tolist())
