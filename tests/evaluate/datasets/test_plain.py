from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triskele.evaluate.datasets.plain import find_table, read_plain

QUERIES = """\
query_id,query,category,dataset
q1,What is 2 + 2?,maths,gsm
q2,"Name a river,
please.",places,quiz
q3,,,quiz
"""
SCORES = """\
query_id,small,large
q3,0.5,
q1,0,1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queries.csv").write_text(QUERIES)
    (tmp_path / "scores.csv").write_text(SCORES)
    return tmp_path


def test_scores_are_joined_by_the_names_of_the_queries(folder: Path) -> None:
    dataset = read_plain(folder)
    assert dataset.ids == ("q1", "q2", "q3")
    assert dataset.texts == ("What is 2 + 2?", "Name a river,\nplease.", "")
    assert dataset.categories == ("maths", "places", "")
    assert dataset.tasks == ("gsm", "quiz", "quiz")
    assert dataset.models == ("small", "large")
    expected = [[0, 1], [np.nan, np.nan], [0.5, np.nan]]
    np.testing.assert_array_equal(dataset.scores, expected)
    assert dataset.prices is None
    assert dataset.embeddings is None


def test_embeddings_and_prices_are_read_where_they_are(folder: Path) -> None:
    np.save(folder / "embeddings_minilm.npy", np.eye(3, dtype=np.float16))
    (folder / "models.csv").write_text("model,price\nlarge,2.5\nother,9\n")
    dataset = read_plain(folder)
    assert dataset.embeddings is not None
    assert dataset.embeddings.dtype == np.float32
    np.testing.assert_array_equal(dataset.embeddings, np.eye(3))
    np.testing.assert_array_equal(dataset.prices, [np.nan, 2.5])


def test_models_without_prices_have_none(folder: Path) -> None:
    (folder / "models.csv").write_text("model,coverage\nlarge,1\n")
    assert read_plain(folder).prices is None


def test_parquet_comes_before_other_kinds(folder: Path) -> None:
    table = pa.table({"query_id": ["a"], "query": pa.array([None], pa.string())})
    pq.write_table(table, folder / "queries.parquet")
    scores = pa.table({"query_id": ["a"], "m": pa.array([1], pa.float32())})
    pq.write_table(scores, folder / "scores.parquet")
    dataset = read_plain(folder)
    assert dataset.ids == ("a",)
    assert dataset.texts == ("",)
    assert dataset.categories is None
    assert find_table(folder, "queries") == folder / "queries.parquet"


def test_ids_with_a_slash_name_the_task(tmp_path: Path) -> None:
    (tmp_path / "queries.csv").write_text("query_id,dataset\nbbh/logic/1,bbh\nmmlu/7,mmlu\n")
    (tmp_path / "scores.csv").write_text("query_id,m\nmmlu/7,1\n")
    assert read_plain(tmp_path).tasks == ("bbh/logic", "mmlu")


def test_one_of_several_tables_and_embeddings_can_be_chosen(folder: Path) -> None:
    (folder / "scores_judge.csv").write_text("query_id,small\nq2,7\n")
    np.save(folder / "embeddings_a.npy", np.zeros((3, 1)))
    np.save(folder / "embeddings_b.npy", np.ones((3, 2)))
    dataset = read_plain(folder, scores="scores_judge", embeddings="embeddings_b.npy")
    assert dataset.models == ("small",)
    assert dataset.embeddings is not None
    assert dataset.embeddings.shape == (3, 2)
    with pytest.raises(ValueError, match=r"got embeddings_a\.npy, embeddings_b\.npy: choose"):
        read_plain(folder)


def test_a_folder_may_hold_votes_instead(folder: Path) -> None:
    (folder / "scores.csv").unlink()
    (folder / "votes.csv").write_text(
        "query_id,model_a,model_b,winner\nq3,x,y,model_a\nq1,y,x,tie\nq3,x,y,model_b\n"
    )
    dataset = read_plain(folder)
    assert dataset.scores is None
    assert dataset.models == ("x", "y")
    assert dataset.comparisons is not None
    assert dataset.comparisons.query.tolist() == [2, 0, 2]
    assert dataset.comparisons.outcome.tolist() == [0, 0.5, 1]
    assert dataset.comparisons.n_queries == 3
    (folder / "votes.csv").write_text("query_id,model_a,model_b,winner\nq9,x,y,model_a\n")
    with pytest.raises(ValueError, match=r"votes\.csv: expected votes on known queries, got 'q9'"):
        read_plain(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("queries.csv", None, "expected a table 'queries', there is no queries.parquet"),
        ("scores.csv", None, "expected a table 'scores'"),
        ("queries.csv", "id,query\n1,a\n", r"queries\.csv: expected a column 'query_id', got id"),
        ("queries.csv", "query_id\nq1\nq1\n", r"queries\.csv, row 2: the query_id 'q1' was there"),
        ("queries.csv", "query_id,n\nq1,1\n,2\n", r"queries\.csv, row 2: expected a query_id"),
        (
            "queries.csv",
            "query_id\nq1\n",
            r"scores\.csv: expected scores of known queries, got 'q3'",
        ),
        ("scores.csv", "query_id,m\nq1,1\nq1,0\n", r"scores\.csv, row 2: the query_id 'q1' was"),
        ("scores.csv", "query_id,m\nq1,1\nq2,good\n", r"scores\.csv, row 2: .* 'm', got 'good'"),
        ("scores.csv", "query_id,m\nq1,inf\n", "finite scores or NaN, got inf: query 'q1'"),
        ("models.csv", "price\n3\n", r"models\.csv: expected a column 'model'"),
        ("embeddings.npy", "none", r"embeddings\.npy cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, name: str, text: str | None, message: str) -> None:
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        read_plain(folder)
    assert "\n" not in str(raised.value)


def test_embeddings_of_other_queries_are_named(folder: Path) -> None:
    np.save(folder / "embeddings.npy", np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"embeddings\.npy: expected 3 rows, one per query, got 2"):
        read_plain(folder)
