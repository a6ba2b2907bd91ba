"""Comparisons of two models on a query, as columns.

A comparison says that for the query in row q of X, model b was better than model a (outcome 1),
worse (0) or neither (½). Anything between is a share: 0.8 is a judge who is 80 % sure of b. The
Bradley–Terry model is P(b beats a) = σ(θ_b − θ_a), so an outcome is its response variable.

The columns know nothing of texts, embeddings or files: see ``votes`` and ``datasets``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from triskele.evaluate.columns import (
    Floats,
    Integers,
    chosen,
    column_of,
    floats,
    frozen,
    integers,
    listed,
    require,
    unique_names,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparisons:
    """Columns of equal length, read-only and checked when they are put together.

    A column that can be written to is copied, so that a later change to it changes nothing here.

    Raises
    ------
    ValueError
        If the columns do not fit each other, naming the first row that is wrong: a query or a model
        that there is none of, a model compared with itself, an outcome outside of [0, 1], a weight
        that is negative or not finite.
    """

    query: Integers
    """Row of X of each comparison: (n,), from 0 to ``n_queries`` − 1."""
    model_a: Integers
    """Index into ``models``: (n,)."""
    model_b: Integers
    """Index into ``models``: (n,)."""
    outcome: Floats
    """1 if b won, 0 if a won, ½ if they tied: (n,)."""
    weight: Floats
    """How much each comparison counts: (n,), ≥ 0."""
    models: tuple[str, ...]
    """Names, each once."""
    n_queries: int
    """Rows of X; those that were never compared count too."""

    def __post_init__(self) -> None:
        for name in ("query", "model_a", "model_b"):
            object.__setattr__(self, name, integers(getattr(self, name), name))
        for name in ("outcome", "weight"):
            object.__setattr__(self, name, floats(getattr(self, name), name))
        object.__setattr__(self, "models", unique_names(self.models))
        lengths = {
            name: len(getattr(self, name))
            for name in ("query", "model_a", "model_b", "outcome", "weight")
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"expected columns of one length, got {lengths}")
        self._check_rows()

    @classmethod
    def from_arrays(
        cls,
        query: ArrayLike,
        model_a: ArrayLike,
        model_b: ArrayLike,
        outcome: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        models: Sequence[str] | None = None,
        n_queries: int | None = None,
    ) -> "Comparisons":
        """Put columns together.

        Parameters
        ----------
        query
            Row of X of each comparison, (n,).
        model_a, model_b
            Who was compared, (n,): names, or indices into ``models``.
        outcome
            1 if b won, 0 if a won, ½ if they tied, (n,).
        weight
            How much each comparison counts, (n,); all the same if not given.
        models
            Names. If not given: those that occur, sorted; for indices, their digits up to the
            largest one.
        n_queries
            Rows of X; as many as the largest row named in ``query`` needs if not given.

        Raises
        ------
        ValueError
            If the columns do not fit each other, or a name is not in ``models``.
        """
        names_a, names_b = _names(model_a, "model_a"), _names(model_b, "model_b")
        if names_a is not None and names_b is not None:
            names = _known_names(names_a, names_b, models)
            a, b = _numbered(names_a, names, "model_a"), _numbered(names_b, names, "model_b")
        else:
            a, b = integers(model_a, "model_a"), integers(model_b, "model_b")
            names = tuple(map(str, range(_n_numbered(a, b)))) if models is None else tuple(models)
        rows, outcomes = integers(query, "query"), floats(outcome, "outcome")
        return cls(
            query=rows,
            model_a=a,
            model_b=b,
            outcome=outcomes,
            weight=frozen(np.ones(len(outcomes))) if weight is None else floats(weight, "weight"),
            models=names,
            n_queries=_n_numbered(rows) if n_queries is None else n_queries,
        )

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def n_models(self) -> int:
        """How many models there are, compared or not."""
        return len(self.models)

    def take(self, rows: ArrayLike) -> "Comparisons":
        """Return the chosen comparisons, of the same models and queries.

        Parameters
        ----------
        rows
            A mask, (n,) bool, or indices in the order that is wanted.
        """
        return self._rows(chosen(rows, len(self), "comparisons"))

    def of_queries(self, queries: ArrayLike) -> "Comparisons":
        """Return the comparisons of some rows of X, renumbered: those of ``X[queries]``.

        Parameters
        ----------
        queries
            Rows, each at most once, or a mask, (n_queries,) bool. The first becomes row 0.

        Raises
        ------
        ValueError
            If there is no such row, or one is named twice.
        """
        wanted = chosen(queries, self.n_queries, "queries")
        new = np.full(self.n_queries, -1, np.int64)
        new[wanted] = np.arange(len(wanted))
        if np.count_nonzero(new >= 0) < len(wanted):
            twice = int(np.argmax(np.bincount(wanted) > 1))
            raise ValueError(f"expected each query once, got {twice} more than once")
        renumbered = new[self.query]
        kept = np.flatnonzero(renumbered >= 0)
        query = frozen(renumbered[kept])
        return self._rows(kept, query=query, n_queries=len(wanted))

    def swapped(self) -> "Comparisons":
        """Return the same comparisons told the other way round: (a, b, y) as (b, a, 1 − y)."""
        outcome = frozen(1 - self.outcome)
        return replace(self, model_a=self.model_b, model_b=self.model_a, outcome=outcome)

    def with_models(self, models: Sequence[str]) -> "Comparisons":
        """Return the same comparisons with indices into another list of models.

        Raises
        ------
        ValueError
            If a model of these comparisons is not in the list.
        """
        names = unique_names(models)
        place = {name: index for index, name in enumerate(names)}
        missing = [name for name in self.models if name not in place]
        if missing:
            raise ValueError(f"expected all models of the comparisons, {listed(missing)} missing")
        new = np.array([place[name] for name in self.models], np.int64)
        model_a, model_b = frozen(new[self.model_a]), frozen(new[self.model_b])
        return replace(self, model_a=model_a, model_b=model_b, models=names)

    @classmethod
    def concat(cls, parts: Iterable["Comparisons"]) -> "Comparisons":
        """Return all comparisons of several parts that speak of the same rows of X.

        The models are those of the first part, then what the others add, in their order.

        Raises
        ------
        ValueError
            If there is no part, or they differ in the number of queries.
        """
        several = list(parts)
        if not several:
            raise ValueError("expected at least one part, got none")
        n_queries = {part.n_queries for part in several}
        if len(n_queries) > 1:
            raise ValueError(f"expected parts of the same queries, got {sorted(n_queries)} of them")
        names = tuple(dict.fromkeys(name for part in several for name in part.models))
        aligned = [part.with_models(names) for part in several]
        return cls(
            query=frozen(np.concatenate([part.query for part in aligned])),
            model_a=frozen(np.concatenate([part.model_a for part in aligned])),
            model_b=frozen(np.concatenate([part.model_b for part in aligned])),
            outcome=frozen(np.concatenate([part.outcome for part in aligned])),
            weight=frozen(np.concatenate([part.weight for part in aligned])),
            models=names,
            n_queries=n_queries.pop(),
        )

    def _rows(
        self, kept: Integers, *, query: Integers | None = None, n_queries: int | None = None
    ) -> "Comparisons":
        return replace(
            self,
            query=frozen(self.query[kept]) if query is None else query,
            model_a=frozen(self.model_a[kept]),
            model_b=frozen(self.model_b[kept]),
            outcome=frozen(self.outcome[kept]),
            weight=frozen(self.weight[kept]),
            n_queries=self.n_queries if n_queries is None else n_queries,
        )

    def _check_rows(self) -> None:
        """Raise for the first row that is wrong, column by column."""
        if self.n_queries < 0:
            raise ValueError(f"expected n_queries of at least 0, got {self.n_queries}")
        query, outcome, weight = self.query, self.outcome, self.weight
        require(
            (query >= 0) & (query < self.n_queries),
            lambda row: f"expected one of {self.n_queries} queries, got query {query[row]}",
        )
        self._check_models("model_a", self.model_a)
        self._check_models("model_b", self.model_b)
        require(
            self.model_a != self.model_b,
            lambda row: f"model_a and model_b are both {self.models[self.model_a[row]]!r}",
        )
        require(
            (outcome >= 0) & (outcome <= 1),
            lambda row: f"expected an outcome from 0 to 1, got {outcome[row]}",
        )
        require(
            (weight >= 0) & (weight < np.inf),
            lambda row: f"expected a finite weight of at least 0, got {weight[row]}",
        )

    def _check_models(self, name: str, model: Integers) -> None:
        require(
            (model >= 0) & (model < self.n_models),
            lambda row: f"expected {name} to be one of {self.n_models} models, got {model[row]}",
        )


def _n_numbered(*columns: Integers) -> int:
    return max((int(column.max()) + 1 for column in columns if column.size), default=0)


def _names(values: ArrayLike, name: str) -> list[str] | None:
    """Return a column as names, or None if it is not made of them."""
    if isinstance(values, list | tuple) and values and isinstance(values[0], str):
        return list(values)
    column = column_of(values, name)
    return column.tolist() if column.dtype.kind in "UO" or not column.size else None


def _known_names(
    names_a: list[str], names_b: list[str], models: Sequence[str] | None
) -> tuple[str, ...]:
    occurring = unique_names(list(dict.fromkeys(names_a) | dict.fromkeys(names_b)))
    return unique_names(sorted(occurring) if models is None else models)


def _numbered(names: list[str], known: tuple[str, ...], column: str) -> Integers:
    place = {name: index for index, name in enumerate(known)}
    of_name = {name: place.get(name, -1) for name in dict.fromkeys(names)}
    indices = np.fromiter(map(of_name.__getitem__, names), np.int64, len(names))
    require(indices >= 0, lambda row: f"{column} {names[row]!r} is not one of the models")
    return frozen(indices)
