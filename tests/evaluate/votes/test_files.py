from pathlib import Path

import pyarrow as pa
import pytest
from tests.evaluate.vote_samples import FORMS, Rows, vote, write_rows

from triskele.evaluate.votes.files import VoteFile, kind_of

ROWS = [vote(prompt="one\ntwo", weight=2), vote(prompt='"', weight=0.5), vote(prompt="", weight=1)]


def read(path: Path) -> list[dict[str, object]]:
    file = VoteFile(path)
    batches = file.batches(
        texts=("model_a", "prompt", "question_id"), numbers=("weight",), talks=("conversation_a",)
    )
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("form", FORMS)
def test_the_wanted_columns_are_read_from_every_form(form: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / f"votes{form}", ROWS)
    found = read(path)
    assert [row["prompt"] for row in found] == ["one\ntwo", '"', ""]
    assert [float(str(row["weight"])) for row in found] == [2.0, 0.5, 1.0]
    assert "winner" not in found[0]


@pytest.mark.parametrize("form", [".jsonl", ".json", ".parquet"])
def test_conversations_are_read_as_they_are(form: str, tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "hello", "n_tokens": 1}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    for number, of_one in enumerate((talk, parts, "hello")):
        rows: Rows = [vote(), vote(conversation_a=of_one)]
        found = read(write_rows(tmp_path / f"{number}{form}", rows))
        value = found[1]["conversation_a"]
        if isinstance(of_one, str):
            assert value == "hello"
        else:
            assert isinstance(value, list)
            assert value[0]["content"] == of_one[0]["content"]


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "v.jsonl", [vote(question_id=7), vote(question_id=8)])
    assert [row["question_id"] for row in read(path)] == [7, 8]


def test_a_file_of_no_votes_has_none(tmp_path: Path) -> None:
    empty = tmp_path / "v.parquet"
    pa.parquet.write_table(pa.table({"model_a": pa.array([], pa.string())}), empty)
    assert read(empty) == []
    header = tmp_path / "v.csv"
    header.write_text("model_a,model_b\n")
    assert read(header) == []


def test_there_is_a_file_of_a_known_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a file of votes, there is none at .*none.csv"):
        VoteFile(tmp_path / "none.csv")
    pickled = tmp_path / "votes.pkl"
    pickled.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ValueError, match=r"votes.pkl: expected a file of .parquet, .csv"):
        VoteFile(pickled)
    assert kind_of(Path("v.csv.gz")) == kind_of(Path("v.CSV")) == ".csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_a": "x"}\n\n{"model_a": \n', r"v.jsonl, line 3: .*truncated"),
        ('{"model_a": "x"}\n[1]\n', "v.jsonl, line 2: expected an object"),
        (
            '{"model_a": "x"}\n\n{"model_a": 3}\n',
            "line 3: expected model_a to be a text as in line",
        ),
        ('{"weight": null}\n{"weight": 1}\n{"weight": true}', "weight to be a number as in line 2"),
        ('{"conversation_a": "x"}\n{"conversation_a": []}', "line 2: .* a text .* got a list"),
        ('{"conversation_a": [1]}\n', "v.jsonl: "),
        ("", "v.jsonl: Empty JSON"),
    ],
)
def test_a_line_that_is_damaged_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.csv", b"model_a,prompt\nx,1\nx\n", "v.csv: .*2 columns"),
        ("v.csv", b"", "v.csv: Empty CSV"),
        ("v.csv", b"model_a\n\xff\xfe\n", "v.csv: .*UTF"),
        ("v.parquet", b"PAR1 and nothing", "v.parquet: "),
        ("v.json", b'[{"model_a": 1]', "v.json: "),
        ("v.json", b"[1]", "v.json: "),
        ("v.jsonl.gz", b"no gzip", "v.jsonl.gz: "),
    ],
)
def test_a_file_that_is_damaged_is_named(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_rows_are_placed_by_line_where_there_are_lines(tmp_path: Path) -> None:
    lines = tmp_path / "v.jsonl"
    lines.write_text('\n{"a": 1}\n\n{"a": 2}\n')
    assert VoteFile(lines).place(1) == f"{lines}, line 4"
    table = tmp_path / "v.csv"
    table.write_text('a,b\n"one\ntwo",1\n\nthree,2\nfour,3\n')
    assert VoteFile(table).place(0) == f"{table}, line 2"
    assert VoteFile(table).place(2) == f"{table}, line 6"
    parquet = write_rows(tmp_path / "v.parquet", ROWS)
    assert VoteFile(parquet).place(1) == f"{parquet}, row 2"
    one_list = write_rows(tmp_path / "v.json", ROWS)
    assert VoteFile(one_list).place(1) == f"{one_list}, row 2"
