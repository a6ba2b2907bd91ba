import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triskele.evaluate.alignment.check import check_alignment
from triskele.evaluate.datasets.leaderboard import latest_files, read_leaderboard

DATE = "2024-06-16T16-57-41.377142"


def sample(number: int, score: float, **more: object) -> dict[str, object]:
    return {
        "doc_id": number,
        "doc": {"question": f"Question {number}?", "options": ["this", "that"], "category": "law"},
        "target": "A",
        "arguments": [["…", " A"]],
        "filter": "none",
        "metrics": ["acc"],
        "doc_hash": f"hash {number}",
        "acc": score,
        **more,
    }


def write(
    root: Path,
    model: str,
    samples: list[dict[str, object]],
    *,
    task: str = "leaderboard_mmlu_pro",
    date: str = DATE,
) -> Path:
    path = root / model / f"samples_{task}_{date}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in samples))
    return path


def test_models_are_joined_by_document_and_never_by_row(tmp_path: Path) -> None:
    write(tmp_path, "org__one", [sample(0, 1.0), sample(1, 0.0), sample(2, 1.0)])
    # Two ranks, one after the other.
    write(tmp_path, "org__two-details", [sample(0, 0.0), sample(2, 1.0), sample(1, 1.0)])
    dataset = read_leaderboard(tmp_path)
    assert dataset.models == ("org/one", "org/two")
    assert dataset.ids == tuple(f"leaderboard_mmlu_pro/{number}" for number in range(3))
    assert dataset.texts[1] == "Question 1?\n(A) this\n(B) that"
    assert dataset.categories == ("law",) * 3
    assert dataset.tasks == ("leaderboard_mmlu_pro",) * 3
    np.testing.assert_array_equal(dataset.scores, [[1, 0], [0, 1], [1, 1]])


def test_runs_of_any_width_come_out_aligned(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hard = 2 * rng.standard_normal(400)
    for width in (1, 2, 4, 8):
        right = rng.random(400) < 1 / (1 + np.exp(hard))
        rows = [row for rank in range(width) for row in range(400)[rank::width]]
        write(tmp_path, f"org__{width}", [sample(row, float(right[row])) for row in rows])
    dataset = read_leaderboard(tmp_path)
    assert dataset.scores is not None
    report = check_alignment(dataset.scores, blocks=dataset.tasks)
    assert report.is_aligned
    assert report.mean_correlation > 0.3


def test_a_document_that_was_changed_is_two_queries(tmp_path: Path) -> None:
    write(tmp_path, "a", [sample(0, 1.0), sample(1, 1.0)])
    changed = sample(1, 0.0, doc={"question": "Another question?"})
    write(tmp_path, "b", [sample(0, 0.0), changed])
    dataset = read_leaderboard(tmp_path)
    assert dataset.n_queries == 3
    expected = {"Question 0?": [1, 0], "Question 1?": [1, np.nan], "Another question?": [np.nan, 0]}
    for text, row in zip(dataset.texts, dataset.scores, strict=True):  # type: ignore[arg-type]
        np.testing.assert_array_equal(row, expected[text.partition("\n")[0]])


def test_the_order_of_the_options_makes_no_other_query(tmp_path: Path) -> None:
    write(tmp_path, "a", [sample(0, 1.0)])
    write(tmp_path, "b", [sample(0, 0.0, doc={"question": "Question 0?", "choices": ["that"]})])
    assert read_leaderboard(tmp_path).n_queries == 1


def test_without_numbers_the_texts_join_and_equal_ones_are_averaged(tmp_path: Path) -> None:
    for model, scores in (("a", [1.0, 0.0, 0.0]), ("b", [0.0, 0.0, 1.0])):
        texts = ["x", "x", "y"] if model == "a" else ["y", "x", "x"]
        path = tmp_path / f"details_{model}" / "2023" / f"details_harness|arc|25_{DATE}.parquet"
        path.parent.mkdir(parents=True)
        columns = {"example": texts, "metrics": [{"acc": 0.5, "acc_norm": s} for s in scores]}
        pq.write_table(pa.table(columns), path)
    dataset = read_leaderboard(tmp_path)
    assert dataset.models == ("a", "b")
    assert dataset.texts == ("x", "y")
    np.testing.assert_array_equal(dataset.scores, [[0.5, 0.5], [0, 0]])
    assert all(name.startswith("harness|arc|25/") for name in dataset.ids)


def test_metrics_may_be_columns_and_rows_numbered(tmp_path: Path) -> None:
    path = tmp_path / "m" / f"details_gsm8k_{DATE}.parquet"
    path.parent.mkdir()
    columns = {"doc_id": [7, 3], "full_prompt": ["seven", "three"], "acc": [True, False]}
    pq.write_table(pa.table(columns), path)
    dataset = read_leaderboard(tmp_path)
    assert dataset.ids == ("gsm8k/3", "gsm8k/7")
    np.testing.assert_array_equal(dataset.scores, [[0], [1]])


def test_the_last_run_of_a_task_counts(tmp_path: Path) -> None:
    write(tmp_path, "m", [sample(0, 0.0)], date="2024-06-16T16-57-41.377142")
    last = write(tmp_path, "m", [sample(0, 1.0)], date="2024-11-02T01-00-00.000000")
    assert latest_files(tmp_path) == [("m", "leaderboard_mmlu_pro", last)]
    np.testing.assert_array_equal(read_leaderboard(tmp_path).scores, [[1]])


def test_a_folder_of_one_model_is_that_model(tmp_path: Path) -> None:
    write(tmp_path, "org__m", [sample(0, 1.0)])
    assert read_leaderboard(tmp_path / "org__m").models == ("org/m",)


def test_tasks_have_metrics_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, "m", [sample(0, 1.0)])
    other = {"doc_id": 0, "doc": {"input": "not (true)"}, "acc_norm": 0.0, "acc": 1.0}
    write(tmp_path, "m", [other], task="leaderboard_bbh_boolean")
    dataset = read_leaderboard(tmp_path)
    assert dataset.tasks == ("leaderboard_bbh_boolean", "leaderboard_mmlu_pro")
    assert dataset.texts[0] == "not (true)"
    assert dataset.categories == ("leaderboard_bbh_boolean", "law")
    np.testing.assert_array_equal(dataset.scores, [[0], [1]])


def test_one_filter_counts(tmp_path: Path) -> None:
    def both(number: int, strict: float, flexible: float) -> list[dict[str, object]]:
        return [
            sample(number, strict, filter="strict-match"),
            sample(number, flexible, filter="flexible-extract"),
        ]

    write(tmp_path, "m", [*both(0, 0.0, 1.0), *both(1, 1.0, 1.0)])
    np.testing.assert_array_equal(read_leaderboard(tmp_path).scores, [[0], [1]])
    flexible = read_leaderboard(tmp_path, answer_filter="flexible-extract")
    np.testing.assert_array_equal(flexible.scores, [[1], [1]])
    with pytest.raises(ValueError, match="filter 'loose', got flexible-extract, strict-match"):
        read_leaderboard(tmp_path, answer_filter="loose")


def test_a_story_belongs_to_its_question(tmp_path: Path) -> None:
    doc = {"narrative": "It was dark.", "question": "Who did it?", "choices": ["me", "you"]}
    write(tmp_path, "m", [sample(0, 1.0, doc=doc), sample(1, 0.0, doc={"unknown": 3})])
    texts = read_leaderboard(tmp_path).texts
    assert texts == ("It was dark.\nWho did it?\n(A) me\n(B) you", '{"unknown":3}')


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected files samples_TASK_DATE\.jsonl"):
        read_leaderboard(tmp_path)
    write(tmp_path, "a", [sample(0, 1.0), {"doc_id": 1, "doc": {"question": "x"}}])
    with pytest.raises(ValueError, match="line 2: expected one of the metrics acc_norm, acc"):
        read_leaderboard(tmp_path)
    write(tmp_path, "a", [sample(0, 1.0), {"acc": 1.0}])
    with pytest.raises(ValueError, match="line 2: expected a doc_id or the text of a document"):
        read_leaderboard(tmp_path)
    write(tmp_path, "a", [sample(0, 1.0)])
    file = write(tmp_path, "b", [sample(0, 1.0, acc_norm=1.0)])
    with pytest.raises(ValueError, match=r"expected the metric 'acc' of .*, got 'acc_norm'"):
        read_leaderboard(tmp_path)
    file.write_text('{"doc_id": "one", "acc": 1}\n')
    with pytest.raises(ValueError, match=r"line 1: Expected .int .* got .str."):
        read_leaderboard(tmp_path)
