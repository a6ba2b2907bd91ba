import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from triskele.evaluate.datasets.answers import read_answers


def entry(number: int, pred: object, key: str = "A", **more: object) -> dict[str, object]:
    return {
        "question_id": number,
        "question": f"Question {number}?",
        "options": ["this", "that"],
        "answer": key,
        "answer_index": 0,
        "category": "law" if number % 2 else "history",
        "pred": pred,
        "model_outputs": "The answer is (A).",
        **more,
    }


def write(path: Path, entries: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    return path


def test_models_are_joined_by_question_whatever_the_order(tmp_path: Path) -> None:
    entries = [entry(1, "A"), entry(2, "B"), entry(3, None)]
    write(tmp_path / "model_outputs_Llama-3-8B_5shots.json", entries)
    write(tmp_path / "model_outputs_Yi_5shots.json", [entry(4, "A"), entry(2, "A"), entry(1, "C")])
    dataset = read_answers(tmp_path)
    assert dataset.models == ("Llama-3-8B", "Yi")
    assert dataset.ids == ("1", "2", "3", "4")
    assert dataset.texts[0] == "Question 1?\n(A) this\n(B) that"
    assert dataset.categories == ("law", "history", "law", "history")
    expected = [[1, 0], [0, 1], [0, np.nan], [np.nan, 1]]
    np.testing.assert_array_equal(dataset.scores, expected)


def test_archives_and_folders_of_subjects_are_models_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model_outputs_Phi-3_5shots.zip", "w") as archive:
        archive.writestr("model_outputs_Phi-3_5shots.json", json.dumps([entry(1, "A")]))
        archive.writestr("__MACOSX/._x.json", "none of this")
    write(tmp_path / "gpt4o" / "law_result.json", [entry(1, "B")])
    write(tmp_path / "gpt4o" / "history_result.json", [entry(2, "A")])
    write(tmp_path / "gpt4o" / "law_summary.json", [])
    dataset = read_answers(tmp_path)
    assert dataset.models == ("gpt4o", "Phi-3")
    scores = dict(zip(dataset.ids, dataset.scores.tolist(), strict=True))  # type: ignore[union-attr]
    assert scores["1"] == [0, 1]


def test_entries_that_were_scored_are_taken_at_their_word(tmp_path: Path) -> None:
    lines = [
        {"question_id": "a", "score": 0.25},
        {"question_id": "b", "correct": True},
        {"question_id": "c", "acc": 0.0},
    ]
    path = tmp_path / "model.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    dataset = read_answers(tmp_path)
    assert dataset.models == ("model",)
    np.testing.assert_array_equal(dataset.scores, [[0.25], [1], [0]])
    assert dataset.categories is None


def test_questions_say_which_there_are_and_what_they_ask(tmp_path: Path) -> None:
    questions = tmp_path / "test.csv"
    questions.write_text("question_id,question,category\n9,Nine?,maths\n1,One?,law\n")
    write(tmp_path / "answers" / "m.json", [entry(1, "A")])
    dataset = read_answers(tmp_path / "answers", questions=questions)
    assert dataset.ids == ("9", "1")
    assert dataset.texts == ("Nine?", "One?")
    assert dataset.categories == ("maths", "law")
    np.testing.assert_array_equal(dataset.scores, [[np.nan], [1]])
    write(tmp_path / "answers" / "m.json", [entry(3, "A")])
    with pytest.raises(ValueError, match="'m' answers '3', which is no known question"):
        read_answers(tmp_path / "answers", questions=questions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"question_id": 1, "answer": "A"}]', r"m\.json, entry 1: expected a 'pred', a 'score'"),
        ('[{"pred": "A"}]', r"m\.json, entry 1: .*missing required field `question_id`"),
        (
            '[{"question_id": 1, "pred": "A"}, {"question_id": 1, "pred": "A"}]',
            r"m\.json, entry 2: the question '1' was answered before",
        ),
        ('[{"question_id": 1, "score": "high"}]', r"m\.json, entry 1: Expected"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_answers(tmp_path)


def test_no_answers_and_damaged_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"files that end in \.json, \.jsonl, \.zip, got none"):
        read_answers(tmp_path)
    (tmp_path / "model_outputs_m_5shots.zip").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"shots\.zip cannot be read"):
        read_answers(tmp_path)
