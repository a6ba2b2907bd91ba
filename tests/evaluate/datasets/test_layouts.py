import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triskele.evaluate.datasets.layouts import LAYOUTS, layout_of, load

SAMPLE = {"doc_id": 0, "doc": {"question": "?"}, "acc": 1.0}
ANSWER = {"question_id": 1, "question": "?", "answer": "A", "pred": "A"}
VOTE = {"question_id": 1, "model_a": "x", "model_b": "y", "winner": "tie"}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


EXAMPLES = [
    ("answers", "model_outputs_m_5shots.json", [ANSWER], ""),
    ("answers", "gpt4o/law_result.json", [ANSWER], ""),
    ("answers", "m.json", [ANSWER], "m.json"),
    ("arena", "votes.json", [VOTE], "votes.json"),
    ("arena", "votes.parquet", [VOTE], "votes.parquet"),
    ("leaderboard", "m/samples_arc_2024-06-16T16-57-41.37.json", [SAMPLE], ""),
    ("questions", "anatomy_test.csv", "Where?,a,b,c,d,A\n", ""),
    ("questions", "questions.csv", "question,category\nWhy?,law\n", "questions.csv"),
    ("questions", "algebra/1.json", {"problem": "x", "level": "5"}, ""),
    ("routerbench", "r.csv", "sample_id,prompt,eval_name,m,m|total_cost\na,b,c,1,2\n", "r.csv"),
    ("sprout", "train.parquet", [{"prompt": "x", "m": {"score": 1.0}}], ""),
    ("sprout", "train.json", [{"prompt": "x", "m": {"score": 1.0}}], "train.json"),
]


@pytest.mark.parametrize(("layout", "name", "content", "path"), EXAMPLES)
def test_a_layout_is_told_by_names_and_columns(
    tmp_path: Path, layout: str, name: str, content: object, path: str
) -> None:
    write(tmp_path / name, content)
    assert layout_of(tmp_path / path) == layout
    assert load(tmp_path / path).n_queries == 1
    assert load(str(tmp_path / path), layout).n_queries == 1


def test_our_own_layout_is_told_by_its_queries(tmp_path: Path) -> None:
    write(tmp_path / "queries.csv", "query_id,query\n1,Hi\n")
    write(tmp_path / "scores.csv", "query_id,m\n1,1\n")
    assert layout_of(tmp_path) == "plain"
    assert load(tmp_path).models == ("m",)


def test_every_layout_has_an_example() -> None:
    assert {layout for layout, *_ in EXAMPLES} | {"plain"} == set(LAYOUTS)


def test_what_is_none_of_them_is_named(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"t\.csv: expected a layout of .*, got the columns a, b"):
        load(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"expected a layout of answers, arena, .*, got 'other'"):
        load(tmp_path / "t.csv", "other")
    with pytest.raises(ValueError, match=r"there is none at .*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "r.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="is a pickle"):
        load(tmp_path / "r.pkl")
