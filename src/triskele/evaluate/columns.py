"""Columns as callers hand them over: checked, of one type, and read-only from then on.

Raising is done here, in one wording: the row that is wrong, what was expected, what arrived.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Real = NDArray[np.floating]
"""Embeddings: single precision stays single."""
Column = NDArray[np.generic]
Dtype = TypeVar("Dtype", bound=np.generic)

MAX_NAMED = 5
"""Names that a message lists at most."""


def integers(values: ArrayLike, name: str) -> Integers:
    """Return a read-only column of whole numbers; a copy unless nobody else can write to it."""
    column = column_of(values, name)
    if column.dtype.kind not in "iu" and column.size:
        raise ValueError(f"expected {name} to be whole numbers, got {column.dtype}")
    return frozen(_own(np.ascontiguousarray(column, np.int64), values))


def floats(values: ArrayLike, name: str) -> Floats:
    """Return a read-only column of numbers; a copy unless nobody else can write to it."""
    column = column_of(values, name)
    if column.dtype.kind not in "iufb" and column.size:
        raise ValueError(f"expected {name} to be numbers, got {column.dtype}")
    return frozen(_own(np.ascontiguousarray(column, np.float64), values))


def column_of(values: ArrayLike, name: str) -> Column:
    """Return an array of one dimension, of whatever type it is."""
    column: Column = np.asarray(values)
    if column.ndim != 1:
        raise ValueError(f"expected {name} to be one column, got shape {column.shape}")
    return column


def frozen(column: NDArray[Dtype]) -> NDArray[Dtype]:
    """Make an array read-only and return it."""
    column.flags.writeable = False
    return column


def chosen(rows: ArrayLike, n: int, what: str) -> Integers:
    """Return which of n are meant by a mask, (n,) bool, or by their indices."""
    given = np.asarray(rows)
    if given.dtype == bool:
        if given.shape != (n,):
            raise ValueError(f"expected a mask of {n} {what}, got shape {given.shape}")
        return np.flatnonzero(given)
    indices = integers(given, what)
    wrong = (indices < 0) | (indices >= n)
    if wrong.any():
        raise ValueError(f"expected {what} from 0 to {n - 1}, got {indices[np.argmax(wrong)]}")
    return indices


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of models, of which none occurs twice."""
    if isinstance(names, str):
        raise ValueError(f"expected several names of models, got {names!r}")
    strange = [name for name in names if not isinstance(name, str)]
    if strange:
        raise ValueError(f"expected names of models, got {strange[0]!r}")
    unique = tuple(dict.fromkeys(map(str, names)))
    if len(unique) < len(names):
        several = tuple(names)
        twice = [name for name in unique if several.count(name) > 1]
        raise ValueError(f"expected each model once, got {listed(twice)} more than once")
    return unique


def require(is_right: Flags, complaint: Callable[[int], str]) -> None:
    """Raise for the first row that is not right, with what there is to say about it."""
    if not is_right.all():
        row = int(np.argmin(is_right))
        raise ValueError(f"row {row}: {complaint(row)}")


def listed(names: Sequence[str]) -> str:
    """Return names for a message, not more than a reader wants."""
    shown = ", ".join(map(repr, names[:MAX_NAMED]))
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"


def _own(column: NDArray[Dtype], values: object) -> NDArray[Dtype]:
    is_shared = not isinstance(values, list | tuple) and np.may_share_memory(
        column, np.asarray(values)
    )
    return column.copy() if is_shared and column.flags.writeable else column
