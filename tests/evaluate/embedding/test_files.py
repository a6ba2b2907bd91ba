from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triskele.evaluate.embedding.files import read_embeddings

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_an_array_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", ROWS.astype(np.float16))
    rows = read_embeddings(tmp_path / "e.npy", n_rows=4)
    assert isinstance(rows, np.memmap)
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, ROWS)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 3)])
def test_a_column_of_lists_is_a_matrix(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array(ROWS.tolist(), kind)
    pq.write_table(pa.table({"id": list("abcd"), "embedding": column}), tmp_path / "e.parquet")
    rows = read_embeddings(tmp_path / "e.parquet")
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, ROWS)


def test_columns_of_numbers_are_features(tmp_path: Path) -> None:
    columns = {str(place): column for place, column in enumerate(ROWS.T)}
    pq.write_table(pa.table({"id": list("abcd"), **columns}), tmp_path / "e.parquet")
    np.testing.assert_array_equal(read_embeddings(tmp_path / "e.parquet"), ROWS)


def test_no_rows_are_no_rows(tmp_path: Path) -> None:
    empty = pa.array([], pa.list_(pa.float32()))
    pq.write_table(pa.table({"embedding": empty}), tmp_path / "e.parquet")
    assert len(read_embeddings(tmp_path / "e.parquet")) == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(3), r"array of floats, \(n, n_features\), got int64 \(3,\)"),
        (ROWS[0], r"got float32 \(3,\)"),
        (np.where(ROWS == 7, np.nan, ROWS), r"e\.npy, row 3: expected finite numbers"),
        (np.array(["a", None], object), "cannot be read"),
        (ROWS[:2], r"e\.npy: expected 4 rows, one per query, got 2"),
    ],
)
def test_other_arrays_are_named(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "e.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_embeddings(tmp_path / "e.npy", n_rows=4)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"embedding": [[1.0, 2.0], [1.0]]}, r"row 2: expected 2 numbers as in row 1, got 1"),
        ({"embedding": [[1.0, 2.0], None]}, r"row 2: expected 2 numbers as in row 1, got 0"),
        ({"embedding": [[1.0, None]]}, "row 1: expected finite numbers"),
        ({"id": ["a"]}, "expected a column 'embedding', or columns of floats"),
    ],
)
def test_other_tables_are_named(tmp_path: Path, table: dict[str, list], message: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "e.parquet")
    with pytest.raises(ValueError, match=message):
        read_embeddings(tmp_path / "e.parquet")


@pytest.mark.parametrize("name", ["e.npy", "e.parquet"])
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="there is none at"):
        read_embeddings(tmp_path / name)
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        read_embeddings(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        read_embeddings(tmp_path / name)


def test_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", a=ROWS)
    (tmp_path / "e.npz").rename(tmp_path / "e.npy")
    with pytest.raises(ValueError, match="got an archive"):
        read_embeddings(tmp_path / "e.npy")
