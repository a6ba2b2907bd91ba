import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triskele.evaluate.datasets.tables import Table, columns_of, entries_of, table_files

ROWS = [
    {"id": "a", "n": 1.5, "flag": True, "answer": {"score": 1, "words": "x"}},
    {"id": "b", "n": None, "flag": False, "answer": {"score": None, "words": 'y,\n"z"'}},
]


def write(path: Path, rows: list[dict] = ROWS) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.json", "t.jsonl", "t.ndjson"])
def test_kinds_of_files_hold_the_same_table(tmp_path: Path, name: str) -> None:
    table = Table.read(write(tmp_path / name))
    assert len(table) == 2
    assert table.names == ("id", "n", "flag", "answer")
    assert table.texts("id") == ("a", "b")
    assert table.fields("answer") == ("score", "words")
    assert table.fields("id") == ()
    np.testing.assert_array_equal(table.numbers("n"), [1.5, np.nan])
    np.testing.assert_array_equal(table.numbers("flag"), [1, 0])
    np.testing.assert_array_equal(table.numbers("answer", field="score"), [1, np.nan])
    assert table.first_of(["no", "flag", "id"]) == "flag"
    assert table.first_of(["no"]) is None
    assert columns_of(tmp_path / name) == {
        "id": (),
        "n": (),
        "flag": (),
        "answer": ("score", "words"),
    }


def test_a_csv_file_may_have_lines_in_its_texts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,n,flag\n"a, ""b""\nc",1,True\nd,,False\n')
    table = Table.read(path)
    assert table.texts("id") == ('a, "b"\nc', "d")
    np.testing.assert_array_equal(table.numbers("n"), [1, np.nan])
    np.testing.assert_array_equal(table.numbers("flag"), [1, 0])
    assert columns_of(path) == {"id": (), "n": (), "flag": ()}


def test_a_csv_file_without_names_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,1\nb,2\n")
    assert Table.read(path, header=["letter", "n"]).texts("letter") == ("a", "b")


def test_numbers_that_were_written_as_text_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [{"n": "1.5"}, {"n": " "}, {"n": 2}, {}])
    np.testing.assert_array_equal(Table.read(path).numbers("n"), [1.5, np.nan, 2, np.nan])


def test_columns_that_only_some_entries_have_are_columns(tmp_path: Path) -> None:
    table = Table.read(write(tmp_path / "t.jsonl", [{"a": 1}, {"b": "x"}]))
    assert table.names == ("a", "b")
    assert table.texts("b") == ("", "x")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"n": 1}\n\n{"n": 2}\n', ["line 1", "line 3"]),
        ('\n [{"n": 1},\n {"n": 2}]', ["entry 1", "entry 2"]),
        ('{"n": 1}', ["line 1"]),
        ('{\n "n": 1\n}\n', ["t.json"]),
        ("[]", []),
        ("\n \n", []),
        ('\ufeff{"n": 1}\n', ["line 1"]),
    ],
)
def test_entries_come_with_their_places(tmp_path: Path, text: str, places: list[str]) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    entries = list(entries_of(path, dict[str, int]))
    assert [entry["n"] for _, entry in entries] == list(range(1, len(places) + 1))
    assert all(place.endswith(end) for (place, _), end in zip(entries, places, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"n": 1}\n{"n": }\n', r"t\.json, line 2: JSON is malformed"),
        ('{"n": }\n{"n": 1}\n', r"t\.json, line 1: JSON is malformed"),
        ('{"n": 1}\n{"n": "x"}\n', r"t\.json, line 2: Expected `int`, got `str`"),
        ('[{"n": 1}, {"n": "x"}]', r"t\.json, entry 2: Expected `int`, got `str`"),
        ('[{"n": 1}', r"t\.json: Input data was truncated"),
        ("3\n", r"t\.json, line 1: Expected `object`, got `int`"),
    ],
)
def test_entries_that_cannot_be_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        list(entries_of(path, dict[str, int]))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda table: table.texts("x"), r"t\.parquet: expected a column 'x', got id, n, flag"),
        (lambda table: table.numbers("id"), r"t\.parquet, row 1: expected a number in the column"),
        (lambda table: table.numbers("answer"), "expected numbers in the column 'answer', got str"),
        (lambda table: table.numbers("answer", field="x"), "a field 'x' .* got score, words"),
        (lambda table: table.numbers("n", field="x"), "a field 'x' .* got double"),
        (
            lambda table: table.numbers("answer", field="words"),
            r"row 1: .*'answer\.words', got 'x'",
        ),
    ],
)
def test_columns_that_are_not_as_expected_are_named(tmp_path: Path, ask, message: str) -> None:
    table = Table.read(write(tmp_path / "t.parquet"))
    with pytest.raises(ValueError, match=message):
        ask(table)


def test_the_row_that_is_no_number_is_named(tmp_path: Path) -> None:
    table = Table.read(write(tmp_path / "t.jsonl", [{"n": "1"}, {"n": ""}, {"n": "one"}]))
    with pytest.raises(ValueError, match=r"t\.jsonl, row 3: expected a number .* 'n', got 'one'"):
        table.numbers("n")


@pytest.mark.parametrize("name", ["t.pkl", "t.pickle"])
def test_a_pickle_is_never_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch here'\ntR.")
    for read in (Table.read, columns_of):
        with pytest.raises(ValueError, match="is a pickle, and reading one runs"):
            read(tmp_path / name)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=rf"{name} cannot be read: [^\n]+$"):
        Table.read(tmp_path / name)
    with pytest.raises(ValueError, match="there is none at"):
        Table.read(tmp_path / "no" / name)


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.parquet, .*, got .*t\.xlsx"):
        Table.read(tmp_path / "t.xlsx")


def test_the_files_of_a_folder_are_of_one_kind_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("data/b.parquet", "data/a.parquet", "c.json", "README.md"):
        (tmp_path / name).touch()
    names = [file.name for file in table_files(tmp_path)]
    assert names == ["a.parquet", "b.parquet"]
    assert table_files(tmp_path / "c.json") == [tmp_path / "c.json"]
    with pytest.raises(ValueError, match=r"files that end in \.csv, got none"):
        table_files(tmp_path, suffixes=[".csv"])
    with pytest.raises(ValueError, match=r"file or a folder, there is none at .*nowhere"):
        table_files(tmp_path / "nowhere")
