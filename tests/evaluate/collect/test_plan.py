from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.collect.calls import (
    JUDGE,
    agenda,
    comparisons,
    entry_of,
    models,
    prompts,
    work_off,
)

from triskele.evaluate.collect.judge import read_verdict
from triskele.evaluate.collect.ledger import Entry, Settled
from triskele.evaluate.collect.pairs import Comparison
from triskele.evaluate.collect.plan import Agenda, Asking, Call


def by_label(call: Call) -> str:
    return "A" if call.kind == "verdict" else f"I am {call.model.label}."


def test_a_comparison_needs_two_answers_and_then_two_verdicts() -> None:
    plan = agenda(comparisons(1, "ab"))
    assert (plan.n_done, plan.n_calls) == (0, 4)
    assert plan.take("far") is None
    made = work_off(plan, by_label)
    assert [(call.kind, call.first, call.second) for call in made] == [
        ("answer", None, None),
        ("answer", None, None),
        ("verdict", "a", "b"),
        ("verdict", "b", "a"),
    ]
    [judged] = plan.judged()
    assert [answer.model for answer in judged.answers] == ["a", "b"]
    assert judged.verdicts is not None
    assert (plan.n_done, plan.n_calls) == (4, 4)


def test_the_judge_sees_the_answers_in_either_order() -> None:
    made = work_off(agenda(comparisons(1, "ab")), by_label)
    texts = [call.request.prompt for call in made if call.kind == "verdict"]
    assert texts[0].index("I am a.") < texts[0].index("I am b.")
    assert texts[1].index("I am b.") < texts[1].index("I am a.")


def test_comparisons_share_answers() -> None:
    made = work_off(agenda(comparisons(5, "ab ac bc")), by_label)
    kinds = Counter(call.kind for call in made)
    assert kinds == {"answer": 5 * 3, "verdict": 5 * 3 * 2}


def test_verdicts_come_first_and_prompts_in_order() -> None:
    plan = Agenda(
        comparisons(3, "ab"),
        models("ab"),
        replace(JUDGE, endpoint="near"),
        asking=Asking(),
        known=lambda key: None,
    )
    order = []
    while (call := plan.take("near")) is not None:
        order.append(f"{call.question_id}{call.kind[0]}")
        plan.settle(entry_of(call, by_label(call)))
    assert order == [f"q{number}{kind}" for number in range(3) for kind in "aavv"]


def test_equal_answers_are_not_judged() -> None:
    plan = agenda(comparisons(1, "ab"))
    texts = {"a": "42", "b": "<think>hm</think>\n42 "}
    made = work_off(plan, lambda call: texts[call.model.label])
    assert {call.kind for call in made} == {"answer"}
    [judged] = plan.judged()
    assert judged.verdicts is None
    assert plan.n_calls == 2


def test_a_failed_answer_is_not_judged() -> None:
    plan = agenda(comparisons(1, "ab ac bc"))
    while (call := plan.take("near") or plan.take("far")) is not None:
        status = "failed" if call.model.label == "a" else "done"
        plan.settle(entry_of(call, by_label(call), status=status))
    assert [judged.comparison.model_a for judged in plan.judged()] == ["b"]
    assert plan.is_finished
    assert plan.n_done == plan.n_calls == 5


def test_what_is_left_is_not_handed_out_again_and_holds_nothing_up() -> None:
    plan = agenda(comparisons(1, "ab"))
    call = plan.take("near")
    assert call is not None
    plan.leave(call)
    other = plan.take("near")
    assert other is not None
    plan.settle(entry_of(other, "I am b."))
    plan.check()
    assert plan.take("near") is plan.take("far") is None
    assert plan.is_finished
    assert (plan.n_done, plan.n_calls) == (1, 4)
    assert list(plan.judged()) == []


def test_the_same_question_under_two_names_is_asked_once_and_judged_for_both() -> None:
    [prompt] = prompts(1)
    asked = [Comparison(replace(prompt, id=name), "a", "b") for name in ("x", "y")]
    plan = agenda(asked)
    assert len(work_off(plan, by_label)) == 4
    assert [judged.comparison.prompt.id for judged in plan.judged()] == ["x", "y"]


def test_what_is_changed_is_asked_anew() -> None:
    settled = Settled()
    first = agenda(comparisons(2, "ab"))
    for call in work_off(first, by_label):
        settled.add(entry_of(call, by_label(call)))
    for asking, n_new in (
        (Asking(), 0),
        (Asking(template="{prompt} {answer_a} {answer_b}"), 4),
        (Asking(judge_temperature=None), 4),
        (Asking(system="Be brief."), 8 - 4),
        (Asking(temperature=0.0), 8 - 4),
    ):
        again = agenda(comparisons(2, "ab"), asking=asking, known=settled.get)
        assert len(work_off(again, by_label)) == n_new


PAIRS = ("ab", "ba", "ac", "bc", "cd")


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(PAIRS)), max_size=12),
    st.data(),
)
def test_in_any_order_with_any_luck_nothing_is_asked_twice(
    asked: list[tuple[int, str]], data: st.DataObject
) -> None:
    every = prompts(4)
    compared = [Comparison(every[number], *pair) for number, pair in asked]
    settled, history = Settled(), Counter[str]()
    for _ in range(4):
        # Each round is a process that may end at any moment.
        plan = agenda(compared, known=settled.get)
        under_way: list[Call] = []
        for _ in range(data.draw(st.integers(0, 40))):
            call = plan.take(data.draw(st.sampled_from(("near", "far"))))
            if call is not None:
                assert settled.get(call.key) is None
                assert call.key not in {other.key for other in under_way}
                if call.kind == "verdict":
                    assert_answered(call, plan)
                under_way.append(call)
            if under_way and data.draw(st.booleans()):
                ended = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
                luck = data.draw(st.sampled_from(("done", "done", "failed", "left")))
                if luck == "left":
                    plan.leave(ended)
                else:
                    text = data.draw(st.sampled_from(("A", "B", "other")))
                    made = entry_of(ended, text, status=luck)
                    history[made.key] += 1
                    plan.settle(made)
                    settled.add(made)
            plan.check()
            assert plan.n_done <= plan.n_calls
    assert max(history.values(), default=1) == 1
    plan = agenda(compared, known=settled.get)
    for call in work_off(plan, by_label):
        assert history[call.key] == 0
    assert plan.n_done == plan.n_calls


def assert_answered(call: Call, plan: Agenda) -> None:
    answered = {
        entry.model for entry in plan.entries() if entry.kind == "answer" and entry.status == "done"
    }
    assert {call.first, call.second} <= answered


@given(st.lists(st.sampled_from("xyz"), min_size=4, max_size=4))
def test_verdicts_that_are_shared_are_of_the_right_texts(texts: list[str]) -> None:
    said = dict(zip("abcd", texts, strict=True))

    def answer(call: Call) -> str:
        if call.kind == "answer":
            return f"I am {said[call.model.label]}."
        prompt = call.request.prompt
        one, other = (
            prompt.index(f"I am {said[label or '']}.") for label in (call.first, call.second)
        )
        assert one < other
        return '{"verdict": "A"}'

    plan = agenda(comparisons(1, "ab ac ad bc bd cd"))
    work_off(plan, answer)
    for judged in plan.judged():
        pair = (judged.comparison.model_a, judged.comparison.model_b)
        assert [entry.text for entry in judged.answers] == [f"I am {said[one]}." for one in pair]
        assert (judged.verdicts is None) == (said[pair[0]] == said[pair[1]])
        for verdict in judged.verdicts or ():
            assert read_verdict(verdict.text) == "A"


def test_the_calls_that_are_ready_are_told() -> None:
    plan = agenda(comparisons(2, "ab"))
    assert [call.model.label for call in plan.queued()] == ["a", "b", "a", "b"]
    assert len(list(plan.unasked())) == 2
    made: list[Entry] = []
    while (call := plan.take("near")) is not None:
        made.append(entry_of(call, by_label(call)))
        plan.settle(made[-1])
    assert {call.kind for call in plan.queued()} == {"verdict"}
    assert list(plan.unasked()) == []
    assert list(plan.entries()) == made
