import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triskele.evaluate.datasets.questions import read_questions


def test_mmlu_pro_is_a_table_of_questions_with_options(tmp_path: Path) -> None:
    rows = [
        {"question_id": 70, "question": "Which?", "options": ["this", "that"], "category": "law"},
        {"question_id": 71, "question": "Why?", "options": [], "category": "history"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    dataset = read_questions(tmp_path / "test.parquet")
    assert dataset.ids == ("70", "71")
    assert dataset.texts == ("Which?\n(A) this\n(B) that", "Why?")
    assert dataset.categories == ("law", "history")
    assert dataset.models == ()
    assert dataset.scores is None


def test_mmlu_is_a_folder_of_files_without_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "college_physics_test.csv").write_text('"One, two?",1,2,3,4,B\nMore?,a,b,c,d,A\n')
    (tmp_path / "anatomy_test.csv").write_text("Where?,here,there,up,down,D\n")
    dataset = read_questions(tmp_path)
    assert dataset.ids == ("anatomy_test", "college_physics_test/0", "college_physics_test/1")
    assert dataset.texts[1] == "One, two?\n(A) 1\n(B) 2\n(C) 3\n(D) 4"
    assert dataset.categories == ("anatomy", "college physics", "college physics")


def test_math_is_a_folder_of_single_problems(tmp_path: Path) -> None:
    problem = {"problem": "Find $x$.", "level": "Level 5", "type": "Algebra", "solution": "$3$"}
    (tmp_path / "algebra").mkdir()
    for name in ("1.json", "2.json"):
        (tmp_path / "algebra" / name).write_text(json.dumps(problem, indent=2))
    dataset = read_questions(tmp_path)
    assert dataset.ids == ("algebra/1", "algebra/2")
    assert dataset.texts == ("Find $x$.",) * 2
    assert dataset.categories == ("Algebra",) * 2
    assert read_questions(tmp_path, category="level").categories == ("Level 5",) * 2


def test_lines_of_json_are_questions_too(tmp_path: Path) -> None:
    path = tmp_path / "math500.jsonl"
    path.write_text('{"problem": "a", "subject": "s"}\n{"problem": "b", "subject": "t"}\n')
    dataset = read_questions(path)
    assert dataset.ids == ("math500/0", "math500/1")
    assert dataset.categories == ("s", "t")


def test_questions_without_labels_have_no_categories(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("query\nWho?\n")
    assert read_questions(tmp_path / "q.csv").categories is None


@pytest.mark.parametrize(
    ("text", "category", "message"),
    [
        ("answer\n3\n", None, r"q\.csv: expected one of the columns question, problem"),
        ("question\nWho?\n", "level", r"q\.csv: expected a column 'level', got question"),
        ("question,id\nWho?,1\nWhat?,1\n", None, "each query once, got '1' more than once"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, text: str, category: str | None, message: str
) -> None:
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_questions(tmp_path / "q.csv", category=category)
