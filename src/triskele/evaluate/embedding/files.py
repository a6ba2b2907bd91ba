"""Embeddings that were computed elsewhere: NumPy arrays and Parquet columns, a row per query."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

COLUMNS = ("embedding", "embeddings", "vector")


def read_embeddings(path: Path, *, n_rows: int | None = None) -> NDArray[np.floating[Any]]:
    """Read embeddings; those of a ``.npy`` file stay on disk until they are used.

    Parameters
    ----------
    path
        A ``.npy`` file of an array (n, n_features) of floats, which is memory-mapped, or a
        ``.parquet`` file with a column ``embedding`` of lists, else one whose columns of numbers
        are the features.
    n_rows
        How many rows there must be.

    Returns
    -------
    Array
        (n, n_features), of the file's own floats; of 32 bits where the file is Parquet.

    Raises
    ------
    ValueError
        If there is no such file, it holds something else, or something not finite.
    """
    if not path.is_file():
        raise ValueError(f"expected a file of embeddings, there is none at {path}")
    array = _read_parquet(path) if path.suffix == ".parquet" else _map_array(path)
    if n_rows is not None and len(array) != n_rows:
        raise ValueError(f"{path}: expected {n_rows} rows, one per query, got {len(array)}")
    is_finite = np.isfinite(array.sum(1, dtype=np.float64))
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise ValueError(f"{path}, row {row + 1}: expected finite numbers, got NaN or infinity")
    return array


def _map_array(path: Path) -> NDArray[np.floating[Any]]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{path}: expected an array of floats, (n, n_features), got {what}")
    return array


def _read_parquet(path: Path) -> NDArray[np.floating[Any]]:
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    name = next((name for name in COLUMNS if name in table.column_names), None)
    if name is not None:
        return _read_lists(path, table.column(name).combine_chunks())
    numeric = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    if not numeric:
        raise ValueError(f"{path}: expected a column {COLUMNS[0]!r}, or columns of floats")
    columns = [pc.fill_null(table.column(name), np.nan).to_numpy() for name in numeric]
    return np.stack(columns, axis=1).astype(np.float32)


def _read_lists(path: Path, lists: pa.Array) -> NDArray[np.floating[Any]]:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    n_features = int(lengths[0]) if len(lengths) else 0
    if (lengths != n_features).any():
        row = int(np.argmax(lengths != n_features))
        raise ValueError(
            f"{path}, row {row + 1}: expected {n_features} numbers as in row 1, got {lengths[row]}"
        )
    values = pc.fill_null(pc.list_flatten(lists).cast(pa.float32()), np.nan)
    array: NDArray[np.float32] = values.to_numpy(zero_copy_only=False)
    return array.reshape(len(lengths), n_features)
