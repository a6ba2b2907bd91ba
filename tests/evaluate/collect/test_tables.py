from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from triskele.evaluate.collect.tables import rows_of


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_same_table_is_read_from_each_format(tmp_path: Path) -> None:
    parquet.write_table(
        pa.table({"id": [1, 2], "text": ["one, two", "α\nβ"], "x": [0.5, 1.5]}),
        tmp_path / "t.parquet",
    )
    write(tmp_path / "t.csv", 'id,text,x\n1,"one, two",0.5\n2,"α\nβ",1.5\n')
    write(
        tmp_path / "t.jsonl",
        '{"id": 1, "text": "one, two"}\n\n{"id": 2, "text": "α\\nβ", "y": [1]}\n',
    )
    expected = [{"id": "1", "text": "one, two"}, {"id": "2", "text": "α\nβ"}]
    for suffix in ("parquet", "csv", "jsonl"):
        read = rows_of(tmp_path / f"t.{suffix}", ("id", "text", "absent"))
        assert [row for _, row in read] == expected


def test_identifiers_keep_their_zeros(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text\n007,a\n")
    assert [row["id"] for _, row in rows_of(path, ("id",))] == ["007"]


def test_what_is_null_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"id": null, "text": "a"}\n')
    assert [row for _, row in rows_of(path, ("id", "text"))] == [{"text": "a"}]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.jsonl", '{"id": 1}\n{"id": \n', "t.jsonl, line 2"),
        ("t.jsonl", '{"id": [1]}\n', "line 1, id: expected text or a number, got a list"),
        ("t.jsonl", "[1]\n", "line 1"),
        ("t.csv", "id,text\n1,2,3\n", "t.csv: "),
        ("t.parquet", "no", "t.parquet: "),
        ("t.xlsx", "no", "ends in .jsonl, .csv, .parquet"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        list(rows_of(write(tmp_path / name, text), ("id",)))
    assert "\n" not in str(raised.value)


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,text\n1,\xff\n")
    with pytest.raises(ValueError, match=r"t\.csv"):
        list(rows_of(tmp_path / "t.csv", ("text",)))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is none at"):
        list(rows_of(tmp_path / "t.csv", ("id",)))
