from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.vote_samples import Rows, vote, write_rows

from triskele.evaluate.votes.batches import VoteBatch, first_places, vote_batches
from triskele.evaluate.votes.files import VoteFile


def only_batch(
    tmp_path: Path, rows: Rows, *, drops_bad: bool = False, differences: tuple[str, ...] = ()
) -> VoteBatch:
    file = VoteFile(write_rows(tmp_path / "v.jsonl", rows))
    (batch,) = vote_batches(file, drops_bad=drops_bad, differences=differences)
    return batch


def test_winners_are_outcomes(tmp_path: Path) -> None:
    winners = ["model_a", "model_b", "tie", "tie (bothbad)", "both_bad", "bothbad"]
    rows = [vote(winner) for winner in winners]
    assert only_batch(tmp_path, rows).outcome.tolist() == [0, 1, 0.5, 0.5, 0.5, 0.5]
    assert only_batch(tmp_path, rows, drops_bad=True).outcome.tolist() == [0, 1, 0.5]


def test_outcomes_come_before_winners(tmp_path: Path) -> None:
    assert only_batch(tmp_path, [vote("model_a", outcome=0.8)]).outcome.tolist() == [0.8]


def test_winners_may_be_three_columns(tmp_path: Path) -> None:
    rows = [
        {
            "id": number,
            "model_a": "x",
            "model_b": "y",
            "winner_model_a": int(number == 0),
            "winner_model_b": int(number == 1),
            "winner_tie": int(number == 2),
            "prompt": '["first", "second"]',
        }
        for number in range(3)
    ]
    batch = only_batch(tmp_path, rows)
    assert batch.outcome.tolist() == [0, 1, 0.5]
    assert batch.ids.to_pylist() == ["0", "1", "2"]
    assert batch.texts.to_pylist() == ["first"] * 3
    rows[1]["winner_tie"] = 1
    with pytest.raises(
        ValueError, match=r"v.jsonl, line 2: expected one of winner_model_a.*0, 1 and"
    ):
        only_batch(tmp_path, rows)


def test_weights_are_one_unless_given(tmp_path: Path) -> None:
    assert only_batch(tmp_path, [vote()]).weight.tolist() == [1]
    rows = [vote(weight=2), vote(weight=0.5)]
    assert only_batch(tmp_path, rows).weight.tolist() == [2, 0.5]


def test_models_are_numbered_within_the_batch(tmp_path: Path) -> None:
    batch = only_batch(tmp_path, [vote(), vote(model_a="z"), vote(model_a="y", model_b="z")])
    named = [(batch.models[a], batch.models[b]) for a, b in zip(batch.model_a, batch.model_b)]  # noqa: B905
    assert named == [("x", "y"), ("z", "y"), ("y", "z")]


@pytest.mark.parametrize("name", ["question_id", "query_id", "id"])
def test_votes_of_one_id_share_a_query_and_its_first_text(name: str, tmp_path: Path) -> None:
    rows = [
        {name: query, "model_a": "x", "model_b": "y", "winner": "tie", "prompt": prompt}
        for query, prompt in (("q", "one"), ("p", "two"), ("q", "three"))
    ]
    batch = only_batch(tmp_path, rows)
    assert batch.query.tolist() == [0, 1, 0]
    assert batch.ids.to_pylist() == ["q", "p"]
    assert batch.texts.to_pylist() == ["one", "two"]


def test_without_ids_votes_of_one_text_share_a_query(tmp_path: Path) -> None:
    rows = [
        {"model_a": "x", "model_b": "y", "outcome": 1, "query": text}
        for text in ("one", "two", "one")
    ]
    batch = only_batch(tmp_path, rows)
    assert batch.query.tolist() == [0, 1, 0]
    assert batch.ids.to_pylist() == batch.texts.to_pylist() == ["one", "two"]


def test_without_ids_and_texts_each_vote_has_a_query(tmp_path: Path) -> None:
    batch = only_batch(tmp_path, [{"model_a": "x", "model_b": "y", "outcome": 1}] * 2)
    assert batch.query.tolist() == [0, 1]
    assert batch.ids.to_pylist() == ["v.jsonl:1", "v.jsonl:2"]
    assert batch.texts.to_pylist() == ["", ""]


def test_the_text_may_be_in_the_conversation(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    assert only_batch(tmp_path, [vote(conversation_a=talk)]).texts.to_pylist() == ["hello"]


def test_differences_are_of_b_less_a(tmp_path: Path) -> None:
    rows = [vote("both_bad", n_a=1, n_b=5, m_a=0, m_b=0), vote(n_a=2, n_b=1, m_a=0.5, m_b=1)]
    batch = only_batch(tmp_path, rows, differences=("n", "m"))
    assert batch.differences.tolist() == [[4, -1], [0, 0.5]]
    kept = only_batch(tmp_path, rows, differences=("n", "m"), drops_bad=True)
    assert kept.differences.tolist() == [[-1], [0.5]]
    with pytest.raises(ValueError, match="expected a column q_b"):
        only_batch(tmp_path, rows, differences=("q",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (vote("gpt"), "line 2: expected winner to be one of model_a.*got 'gpt'"),
        (vote(None), "line 2: expected winner to be one of model_a.*got ''"),
        (vote(model_a=None), "line 2: expected model_a, got nothing"),
        (vote(model_b=""), "line 2: expected model_b, got nothing"),
        (vote(model_b="x"), "line 2: model_a and model_b are both 'x'"),
        (vote(question_id=None), "line 2: expected question_id, got nothing"),
        (vote(weight=-1), "line 2: expected a weight of at least 0, got -1"),
    ],
)
def test_a_row_that_is_no_vote_is_named(
    row: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"v.jsonl, {message}"):
        only_batch(tmp_path, [vote(weight=1), {"weight": 1} | row, vote(weight=1)])


def test_an_outcome_is_from_0_to_1(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 2: expected an outcome from 0 to 1, got 1.5"):
        only_batch(tmp_path, [vote(outcome=1), vote(outcome=1.5)])


def test_columns_are_those_that_the_first_rows_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triskele.evaluate.votes.files.BLOCK", 256)

    def read(rows: Rows) -> list[VoteBatch]:
        file = VoteFile(write_rows(tmp_path / "v.jsonl", rows))
        return list(vote_batches(file, drops_bad=False, differences=()))

    assert len(read([vote(weight=2)] * 20)) > 1
    with pytest.raises(ValueError, match=r"line 15: expected no weight, for no row before has one"):
        read([*[vote()] * 14, *[vote(weight=1)] * 6])
    with pytest.raises(ValueError, match=r"expected weight to be a finite number, got None"):
        read([*[vote(weight=1)] * 14, *[vote()] * 6])


def test_first_places_are_where_numbers_first_occur() -> None:
    assert first_places(np.array([1, 0, 1, 2, 0]), 3).tolist() == [1, 0, 3]
