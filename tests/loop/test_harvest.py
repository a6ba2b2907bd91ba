from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loop.worlds import write_journal
from tests.serve.journal.records import record

from triskele.loop.evidence import PAR
from triskele.loop.harvest import MAX_NAMED, harvest, model_of
from triskele.serve.journal import Feedback


def said(id: str, **changes: Any) -> Feedback:
    fields: dict[str, Any] = {"id": id, "time": 5000.0, "source": "ann", "score": 1.0}
    return Feedback(**(fields | changes))


def answered(number: int, model: str, prompt: str | None = "why?", **changes: Any) -> Any:
    return record(number, model=model, prompt=prompt, **changes)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    evidence = harvest(folder).evidence
    known = evidence.comparisons
    return [
        (
            evidence.texts[known.query[row]],
            known.models[known.model_a[row]],
            known.models[known.model_b[row]],
            known.outcome[row],
            evidence.sources[evidence.source[row]],
        )
        for row in range(len(evidence))
    ]


def test_a_score_is_a_comparison_with_par(tmp_path: Path) -> None:
    write_journal(tmp_path, [answered(1, "m")], [said("1", score=0.75)])
    assert rows(tmp_path) == [("why?", PAR, "m", 0.75, "ann")]
    evidence = harvest(tmp_path).evidence
    assert evidence.models == ("m",)
    assert evidence.is_score.all()
    assert evidence.answered.tolist() == [1001.0]
    assert evidence.arrived.tolist() == [5000.0]


def test_better_than_compares_two_models_on_one_prompt(tmp_path: Path) -> None:
    write_journal(
        tmp_path,
        [answered(1, "a"), answered(2, "b")],
        [said("2", score=None, better_than="1"), said("1", score=0.0)],
    )
    assert rows(tmp_path) == [("why?", "a", "b", 1.0, "ann"), ("why?", PAR, "a", 0.0, "ann")]


def test_two_scored_answers_to_one_prompt_are_one_query(tmp_path: Path) -> None:
    write_journal(tmp_path, [answered(1, "a"), answered(2, "b")], [said("1"), said("2", score=0.0)])
    evidence = harvest(tmp_path).evidence
    assert evidence.texts == ("why?",)
    assert len(evidence) == 2


def test_the_query_is_what_the_router_embeds(tmp_path: Path) -> None:
    whole = "user: who?\nassistant: he\nuser: why?"
    write_journal(tmp_path, [answered(1, "m", whole, query="why?")], [said("1")])
    assert harvest(tmp_path).evidence.texts == ("why?",)


def test_the_model_that_was_decided_for_is_the_one_that_answered() -> None:
    assert model_of(answered(1, "auto", decision={"model": "large"})) == "large"
    assert model_of(answered(1, "small", decision={"w1": 0.5})) == "small"
    assert model_of(answered(1, "small")) == "small"


def test_the_last_word_of_a_source_counts(tmp_path: Path) -> None:
    write_journal(
        tmp_path,
        [answered(1, "m")],
        [said("1", score=1.0), said("1", score=0.0), said("1", source="bob")],
    )
    assert sorted(row[3:] for row in rows(tmp_path)) == [(0.0, "ann"), (1.0, "bob")]


@pytest.mark.parametrize(
    ("records", "feedback", "problem"),
    [
        ([], said("9"), "no finished request"),
        ([answered(1, "m", outcome="failed")], said("1"), "no finished request"),
        ([answered(1, "m", None)], said("1"), "--keep-text"),
        ([answered(1, PAR)], said("1"), "a name of its own"),
        ([answered(1, "m")], said("1", better_than="9", score=None), "same prompt"),
        (
            [answered(1, "m"), answered(2, "n", "other")],
            said("1", better_than="2", score=None),
            "same prompt",
        ),
        (
            [answered(1, "m"), answered(2, "m")],
            said("1", better_than="2", score=None),
            "another model",
        ),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, records: list[Any], feedback: Feedback, problem: str
) -> None:
    write_journal(tmp_path, records, [feedback])
    found = harvest(tmp_path)
    assert len(found.evidence) == 0
    assert found.n_problems == 1
    assert problem in found.problems[0]


def test_scores_come_from_a_file_and_bad_lines_are_named(tmp_path: Path) -> None:
    write_journal(tmp_path / "journal", [answered(1, "m"), answered(2, "n")], [])
    scores = tmp_path / "scores.jsonl"
    scores.write_text(
        '{"id":"1","score":0.5}\n{"id":"2","score":7}\nnot\n'
        '{"id":"2","score":1,"source":"judge","time":9000}\n'
    )
    found = harvest(tmp_path / "journal", scores=scores)
    assert found.evidence.sources == ("tests", "judge")
    assert found.evidence.arrived.tolist() == [1001.0, 9000.0]
    assert [problem.split(":")[0][-6:] for problem in found.problems] == ["line 2", "line 3"]
    with pytest.raises(ValueError, match="file of scores"):
        harvest(tmp_path / "journal", scores=tmp_path / "none.jsonl")


def test_a_callable_that_returns_no_share_is_a_problem(tmp_path: Path) -> None:
    write_journal(tmp_path, [answered(1, "m"), answered(2, "n")], [])
    found = harvest(tmp_path, score=lambda each: 2.0 if each.id == "1" else None)
    assert len(found.evidence) == 0
    assert "request 1" in found.problems[0]


def test_tokens_are_counted_by_model(tmp_path: Path) -> None:
    counts = [answered(n, "m", n_prompt=10, n_output=10 * n) for n in (1, 2)]
    write_journal(tmp_path, [*counts, answered(3, "n")], [])
    assert harvest(tmp_path).tokens == {"m": 25.0}


def test_many_problems_are_counted_and_some_are_named(tmp_path: Path) -> None:
    write_journal(tmp_path, [], [said(str(number)) for number in range(2 * MAX_NAMED)])
    found = harvest(tmp_path)
    assert found.n_problems == 2 * MAX_NAMED
    assert len(found.problems) == MAX_NAMED


def test_what_is_older_is_left_out(tmp_path: Path) -> None:
    write_journal(
        tmp_path, [answered(1, "m"), answered(900, "n")], [said("1", time=1001.0), said("900")]
    )
    assert harvest(tmp_path, since=1500.0).evidence.models == ("n",)


names = st.sampled_from(["1", "2", "3", "4"])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(names, st.sampled_from("ab"), st.sampled_from(["p", "q"]), st.booleans())),
    st.lists(st.tuples(names, st.none() | names, st.floats(0, 1), st.sampled_from(["x", "y"]))),
)
def test_whatever_the_journal_holds_evidence_is_whole(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, str, str, bool]],
    feedback: list[tuple[str, str | None, float, str]],
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write_journal(
        folder,
        [
            record(
                0, id=id, model=model, prompt=prompt, outcome="finished" if is_done else "failed"
            )
            for id, model, prompt, is_done in records
        ],
        [
            said(id, better_than=other, score=score, source=source)
            for id, other, score, source in feedback
            if other != id
        ],
    )
    found = harvest(folder)
    evidence = found.evidence
    assert len(evidence) + found.n_problems >= len(
        {(id, other, source) for id, other, _, source in feedback if other != id}
    )
    assert set(evidence.models) <= {"a", "b"}
    assert len(evidence) <= 2 * len(feedback)
    known = evidence.comparisons
    assert ((known.model_b != evidence.par) | (known.model_a != evidence.par)).all()
