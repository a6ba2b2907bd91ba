import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.evaluate.collect.calls import agenda, comparisons, entry_of, work_off

from triskele.evaluate.collect.judge import JUDGE_PROMPT
from triskele.evaluate.collect.plan import Agenda, Call
from triskele.evaluate.collect.votes import Vote, votes_of, write_votes
from triskele.evaluate.votes.reading import read_votes


def settle(verdicts: str, *, texts: str = "xy") -> Agenda:
    """Work off a comparison of a and b with a letter per order, ``?`` for an unreadable one."""
    plan = agenda(comparisons(1, "ab"))
    letters = iter(verdicts)
    said = dict(zip("ab", texts, strict=True))
    work_off(plan, lambda call: next(letters) if call.kind == "verdict" else said[call.model.label])
    return plan


@pytest.mark.parametrize(
    ("verdicts", "winner", "is_consistent"),
    [
        ("AB", "model_a", True),
        ("BA", "model_b", True),
        ("TT", "tie", True),
        ("AA", "tie", False),
        ("BB", "tie", False),
        ("AT", "tie", False),
        ("TA", "tie", False),
    ],
)
def test_a_model_wins_if_both_orders_say_so(
    verdicts: str, winner: str, is_consistent: bool
) -> None:
    [vote] = votes_of(settle(verdicts).judged(), judge="judge")
    assert (vote.winner, vote.is_consistent, vote.order) == (winner, is_consistent, "both")
    by_order = {"A": "model_a", "B": "model_b", "T": "tie"}
    swapped = {"A": "model_b", "B": "model_a", "T": "tie"}
    assert vote.verdict_ab == by_order[verdicts[0]]
    assert vote.verdict_ba == swapped[verdicts[1]]


@pytest.mark.parametrize("verdicts", ["?B", "A?", "??"])
def test_without_both_verdicts_there_is_no_vote(verdicts: str) -> None:
    assert list(votes_of(settle(verdicts).judged(), judge="judge")) == []


def test_a_judge_that_refused_has_not_voted() -> None:
    plan = agenda(comparisons(1, "ab"))
    while (call := plan.take("near")) is not None:
        plan.settle(entry_of(call, f"I am {call.model.label}."))
    for status in ("done", "failed"):
        call = plan.take("far")
        assert call is not None
        plan.settle(entry_of(call, "A" if status == "done" else "", status=status))
    assert list(votes_of(plan.judged(), judge="judge")) == []


def test_equal_answers_are_a_tie_that_nobody_judged() -> None:
    [vote] = votes_of(settle("", texts="xx").judged(), judge="judge")
    assert (vote.winner, vote.order, vote.is_consistent) == ("tie", "none", True)


def test_models_with_equal_answers_share_verdicts_and_each_gets_its_vote() -> None:
    plan = agenda(comparisons(1, "ab ac bd cd"))
    said = {"a": "bad", "b": "good", "c": "good", "d": "bad"}

    def answer(call: Call) -> str:
        if call.kind == "answer":
            return said[call.model.label]
        return "A" if call.request.prompt.index("good") < call.request.prompt.index("bad") else "B"

    assert "good" not in JUDGE_PROMPT
    assert "bad" not in JUDGE_PROMPT
    made = work_off(plan, answer)
    assert sum(call.kind == "verdict" for call in made) == 2
    winners = {(v.model_a, v.model_b): v.winner for v in votes_of(plan.judged(), judge="judge")}
    assert winners == {
        ("a", "b"): "model_b",
        ("a", "c"): "model_b",
        ("b", "d"): "model_a",
        ("c", "d"): "model_a",
    }


def test_a_vote_says_what_it_rests_on() -> None:
    [vote] = votes_of(settle("AB", texts="xy").judged(), judge="the judge")
    assert vote == Vote(
        question_id="q0",
        prompt="What is 0?",
        model_a="a",
        model_b="b",
        winner="model_a",
        judge="the judge",
        order="both",
        is_consistent=True,
        verdict_ab="model_a",
        verdict_ba="model_a",
        length_a=1,
        length_b=1,
        category=None,
        tstamp=1.0,
    )


def test_the_file_has_a_line_of_json_per_vote(tmp_path: Path) -> None:
    votes = list(votes_of(settle("AB").judged(), judge="judge"))
    path = tmp_path / "votes.jsonl"
    assert write_votes(path, votes * 2) == 2
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0] == rows[1]
    first = ["question_id", "prompt", "model_a", "model_b", "winner", "judge", "order"]
    assert list(rows[0])[:7] == first
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text("before")

    def broken() -> Iterator[Vote]:
        yield from votes_of(settle("AB").judged(), judge="judge")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_votes(path, broken())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_what_votes_are_read_from(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    write_votes(path, votes_of(settle("AB").judged(), judge="judge"))
    votes = read_votes(path, differences=("length",))
    assert (votes.ids, votes.texts) == (("q0",), ("What is 0?",))
    assert votes.comparisons.models == ("a", "b")
    assert votes.comparisons.outcome.tolist() == [0.0]
    assert votes.differences.tolist() == [[0.0]]
