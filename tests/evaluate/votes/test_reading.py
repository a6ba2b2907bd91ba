from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.evaluate.tournaments import tournament, tournaments
from tests.evaluate.vote_samples import FORMS, vote, write_rows

from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.votes.reading import Votes, read_votes, write_votes

ROWS = [
    vote("model_b", question_id="b", prompt="Comma, and\nline"),
    vote("tie", question_id="a", prompt="Ünï \N{SNOWMAN}", model_b="w"),
    vote("model_a", question_id="b", prompt="ignored"),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str, tmp_path: Path) -> None:
    votes = read_votes(write_rows(tmp_path / f"votes{form}", ROWS))
    comparisons = votes.comparisons
    assert comparisons.models == ("w", "x", "y")
    assert comparisons.model_a.tolist() == [1, 1, 1]
    assert comparisons.model_b.tolist() == [2, 0, 2]
    assert comparisons.query.tolist() == [0, 1, 0]
    assert comparisons.outcome.tolist() == [1, 0.5, 0]
    assert comparisons.weight.tolist() == [1, 1, 1]
    assert votes.ids == ("b", "a")
    assert votes.texts == ("Comma, and\nline", "Ünï \N{SNOWMAN}")
    assert votes.differences.shape == (3, 0)


def test_a_folder_is_read_as_one(tmp_path: Path) -> None:
    write_rows(tmp_path / "1.parquet", ROWS[:2])
    write_rows(tmp_path / "2.parquet", [vote(question_id="b", model_a="new"), *ROWS[2:]])
    (tmp_path / "README.md").write_text("not of votes")
    votes = read_votes(tmp_path)
    assert votes.ids == ("b", "a")
    assert votes.comparisons.models == ("new", "w", "x", "y")
    assert votes.comparisons.query.tolist() == [0, 1, 0, 0]
    assert votes.comparisons.model_a.tolist() == [2, 2, 0, 2]
    assert votes.texts[0] == "Comma, and\nline"


def test_votes_without_queries_stay_apart_in_a_folder(tmp_path: Path) -> None:
    for name in ("1.csv", "2.csv"):
        write_rows(tmp_path / name, [{"model_a": "x", "model_b": "y", "winner": "tie"}])
    assert read_votes(str(tmp_path)).ids == ("1.csv:1", "2.csv:1")


def test_a_large_file_is_read_batch_by_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triskele.evaluate.votes.files.BLOCK", 4096)
    rows = [
        vote(question_id=f"q{number % 700}", prompt=f"p{number % 700}") for number in range(1000)
    ]
    for form in (".jsonl", ".csv"):
        votes = read_votes(write_rows(tmp_path / f"v{form}", rows))
        assert votes.ids == tuple(f"q{number}" for number in range(700))
        assert votes.texts == tuple(f"p{number}" for number in range(700))
        assert votes.comparisons.query.tolist() == [number % 700 for number in range(1000)]
    rows[900]["winner"] = "nobody"
    for form, line in ((".jsonl", 901), (".csv", 902)):
        with pytest.raises(ValueError, match=f"line {line}: expected winner"):
            read_votes(write_rows(tmp_path / f"v{form}", rows))


def test_bad_answers_on_both_sides_are_a_tie_or_nothing(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "v.csv", [*ROWS, vote("tie (bothbad)")])
    assert read_votes(path).comparisons.outcome.tolist() == [1, 0.5, 0, 0.5]
    assert len(read_votes(path, both_bad="drop").comparisons) == 3
    with pytest.raises(ValueError, match="expected both_bad to be"):
        read_votes(path, both_bad="keep")  # type: ignore[arg-type]


def test_differences_are_read_beside_the_votes(tmp_path: Path) -> None:
    rows = [row | {"length_a": 10 * n, "length_b": n * n} for n, row in enumerate(ROWS)]
    votes = read_votes(write_rows(tmp_path / "v.csv", rows), differences=["length"])
    assert votes.differences.tolist() == [[0.0], [-9.0], [-16.0]]


@pytest.mark.parametrize("form", [".parquet", ".csv", ".jsonl"])
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(comparisons=tournaments(), data=st.data())
def test_what_is_written_is_read_again(
    form: str, comparisons: Comparisons, data: st.DataObject, tmp_path: Path
) -> None:
    texts = data.draw(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\0")),
            min_size=comparisons.n_queries,
            max_size=comparisons.n_queries,
        )
    )
    ids = [f"q{number}" for number in range(comparisons.n_queries)]
    path = tmp_path / f"v{form}"
    write_votes(path, Votes.of(comparisons, ids=ids, texts=texts))
    if not len(comparisons):
        with pytest.raises(ValueError, match=r"expected at least one vote|Empty JSON"):
            read_votes(path)
        return
    found = read_votes(path)
    again = found.comparisons.with_models(
        [*found.comparisons.models, *set(comparisons.models) - set(found.comparisons.models)]
    )
    for column in ("model_a", "model_b"):
        names = [again.models[model] for model in getattr(again, column)]
        assert names == [comparisons.models[model] for model in getattr(comparisons, column)]
    assert again.outcome.tolist() == comparisons.outcome.tolist()
    assert again.weight.tolist() == comparisons.weight.tolist()
    assert [found.ids[query] for query in again.query] == [ids[q] for q in comparisons.query]
    assert [found.texts[query] for query in again.query] == [texts[q] for q in comparisons.query]


def test_winners_are_written_unless_an_outcome_is_a_share(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    comparisons = tournament(np.zeros(3), 5, np.random.default_rng(0), tie_share=0.5)
    write_votes(path, Votes.of(comparisons))
    assert path.read_text().splitlines()[0].replace('"', "") == (
        "question_id,prompt,model_a,model_b,winner,weight"
    )
    share = Comparisons.from_arrays([0], ["x"], ["y"], [0.8])
    write_votes(path, Votes.of(share))
    assert "outcome" in path.read_text()
    assert read_votes(path).comparisons.outcome.tolist() == [0.8]


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text("before")

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        write_votes(path, Votes.of(Comparisons.from_arrays([0], ["x"], ["y"], [1])))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_form_to_write_is_known(tmp_path: Path) -> None:
    votes = Votes.of(Comparisons.from_arrays([0], ["x"], ["y"], [1]))
    with pytest.raises(ValueError, match=r"expected a path that ends in .parquet, .csv or .jsonl"):
        write_votes(tmp_path / "votes.xlsx", votes)


def test_there_is_one_id_and_one_text_for_each_query() -> None:
    comparisons = Comparisons.from_arrays([0, 1], [0, 1], [1, 0], [1, 1])
    assert Votes.of(comparisons).ids == ("0", "1")
    assert Votes.of(comparisons).texts == ("", "")
    with pytest.raises(ValueError, match="expected 2 ids and texts, one per query, got 1 and 2"):
        Votes.of(comparisons, ids=["x"])
    with pytest.raises(ValueError, match="expected each id once"):
        Votes.of(comparisons, ids=["x", "x"])


def test_no_votes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected files of votes in .*, there are none"):
        read_votes(tmp_path)
    (tmp_path / "v.csv").write_text("model_a,model_b,winner\n")
    with pytest.raises(ValueError, match=r"expected at least one vote in .*, got none"):
        read_votes(tmp_path / "v.csv")
