from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.evaluate.vote_samples import vote, write_rows

from triskele.evaluate.votes.files import VoteFile
from triskele.evaluate.votes.rows import VoteRows


def rows_of(tmp_path: Path, **columns: pa.Array) -> VoteRows:
    """Rows 11, 12, … of a file."""
    path = write_rows(tmp_path / "v.parquet", [vote()])
    return VoteRows(VoteFile(path), pa.RecordBatch.from_pydict(columns), 10)


def test_numbers_are_read_from_any_type(tmp_path: Path) -> None:
    for column in (
        pa.array([1, 0]),
        pa.array([True, False]),
        pa.array(["1.0", "0e5"]),
        pa.array([1.0, 0.0], pa.float32()),
        pa.array(["1", "0"]).dictionary_encode(),
    ):
        assert rows_of(tmp_path, weight=column).numbers("weight").tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (pa.array(["1", "one"]), "'one'"),
        (pa.array(["1", ""]), "''"),
        (pa.array([1, None]), "None"),
        (pa.array([1.0, np.inf]), "inf"),
        (pa.array([[], [1]]), r"\[\]"),
    ],
)
def test_a_row_without_a_number_is_named(column: pa.Array, shown: str, tmp_path: Path) -> None:
    message = rf"v.parquet, row 1[12]: expected weight to be a finite number, got {shown}"
    with pytest.raises(ValueError, match=message):
        rows_of(tmp_path, weight=column).numbers("weight")


def test_texts_are_read_from_any_type(tmp_path: Path) -> None:
    for column in (
        pa.array(["1", "2"]),
        pa.array([1, 2]),
        pa.array(["1", "2"]).dictionary_encode(),
        pa.array(["1", "2"], pa.large_string()),
    ):
        texts = rows_of(tmp_path, prompt=column).texts("prompt", may_be_empty=False)
        assert texts.to_pylist() == ["1", "2"]
        assert texts.type == pa.large_string()


def test_nothing_is_empty_where_that_is_allowed(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, prompt=pa.array(["x", None]))
    assert rows.texts("prompt", may_be_empty=True).to_pylist() == ["x", ""]
    with pytest.raises(ValueError, match=r"v.parquet, row 12: expected prompt, got nothing"):
        rows.texts("prompt", may_be_empty=False)


def test_a_column_is_there_and_is_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"v.parquet: expected a column winner, got prompt"):
        rows_of(tmp_path, prompt=pa.array(["x"])).texts("winner", may_be_empty=True)
    with pytest.raises(ValueError, match=r"v.parquet: expected text in prompt, got list"):
        rows_of(tmp_path, prompt=pa.array([["x"]])).texts("prompt", may_be_empty=True)
    broken = pa.array([b"\xff"]).view(pa.string())
    with pytest.raises(ValueError, match=r"v.parquet: prompt is not UTF-8"):
        rows_of(tmp_path, prompt=broken).texts("prompt", may_be_empty=True)


def test_the_first_of_some_columns_is_found(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, prompt=pa.nulls(2), query=pa.array([None, "x"]))
    assert rows.first_of(["id", "query", "prompt"]) == "query"
    assert rows.first_of(["id"]) is None
    assert rows.filled() == {"query": 1}


def test_rows_are_numbered_through_the_file(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, prompt=pa.array(["x", "y"]))
    assert rows.numbered().to_pylist() == ["v.parquet:11", "v.parquet:12"]
