"""What an estimator is handed, in the form that the algebra takes: directions, and known models."""

from collections.abc import Sequence

import numpy as np

from triskele.evaluate.columns import Floats, Real, listed
from triskele.evaluate.comparisons import Comparisons


def center_of(table_QD: Real) -> Floats:
    """Return the mean row, (D,), of those that are not zero; zeros if there are not two."""
    n_told = np.count_nonzero(table_QD.any(1))
    if n_told < 2:
        return np.zeros(table_QD.shape[1])
    return np.asarray(table_QD.sum(0, dtype=np.float64) / n_told)


def directions(table_QD: Real, center_D: Floats) -> Real:
    """Return rows of length one, of embeddings less their center; rows of zeros stay zeros."""
    moved = table_QD - center_D.astype(table_QD.dtype)
    if center_D.any():
        moved[~table_QD.any(1)] = 0
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    np.divide(moved, length, out=moved, where=length > 0)
    return moved


def of_queries(comparisons: Comparisons | None, n_queries: int) -> Comparisons:
    """Return comparisons of this many queries; none, of no models, if none are given.

    Raises
    ------
    ValueError
        If they are of another number of queries.
    """
    if comparisons is None:
        return _none_of((), n_queries)
    if comparisons.n_queries != n_queries:
        n_given = comparisons.n_queries
        raise ValueError(
            f"expected comparisons of the {n_queries} rows of X, got {n_given} queries"
        )
    return comparisons


def of_models(comparisons: Comparisons, models: Sequence[str]) -> Comparisons:
    """Return comparisons with indices into the models of a fit.

    Raises
    ------
    ValueError
        If one is of a model that was not fitted.
    """
    if len(comparisons) == 0:
        return _none_of(models, comparisons.n_queries)
    unknown = sorted(set(comparisons.models) - set(models))
    if unknown:
        raise ValueError(
            f"expected comparisons of the {len(models)} models that were fitted, "
            f"got {listed(unknown)}"
        )
    return comparisons.with_models(models)


def _none_of(models: Sequence[str], n_queries: int) -> Comparisons:
    nobody: list[int] = []
    return Comparisons.from_arrays(
        nobody, nobody, nobody, nobody, models=models, n_queries=n_queries
    )
