from tests.evaluate.collect.calls import agenda, comparisons, entry_of

from triskele.evaluate.collect.entries import lost_entry, refused_entry, reply_entry
from triskele.evaluate.collect.estimate import Estimator
from triskele.evaluate.collect.ledger import Entry
from triskele.evaluate.collect.plan import Asking, Call
from triskele.evaluate.collect.reply import Reply
from triskele.evaluate.collect.tokens import TokenCounter

BY = Estimator(TokenCounter(), {})
PLAN = agenda(comparisons(1, "ab"), asking=Asking(answer_tokens=50))
FIRST, SECOND = PLAN.take("near"), PLAN.take("near")
assert FIRST is not None
assert SECOND is not None
ANSWER: Call = FIRST
PLAN.settle(entry_of(FIRST, "one"))
PLAN.settle(entry_of(SECOND, "two"))
THIRD = PLAN.take("far")
assert THIRD is not None
VERDICT: Call = THIRD


def replied(call: Call, reply: Reply) -> Entry:
    return reply_entry(call, reply, began=10.0, now=12.5, by=BY)


def test_a_reply_is_taken_down_with_what_it_cost_and_how_long_it_took() -> None:
    made = replied(ANSWER, Reply(text=" one ", finish="stop", tokens_in=7, tokens_out=2))
    assert (made.status, made.text, made.finish, made.reason) == ("done", " one ", "stop", None)
    assert (made.tokens_in, made.tokens_out, made.is_counted) == (7, 2, True)
    assert (made.at, made.seconds) == (12.5, 2.5)
    assert (made.key, made.model, made.question_id) == (ANSWER.key, "a", "q0")
    assert (made.first, made.second, made.verdict) == (None, None, None)


def test_what_is_not_counted_is_estimated_within_bounds() -> None:
    made = replied(ANSWER, Reply(text="x" * 10_000))
    assert made.tokens_in == made.estimated_in > 0
    assert made.tokens_out == 50
    assert not made.is_counted
    assert not replied(ANSWER, Reply(text="x", tokens_in=3)).is_counted


def test_a_verdict_is_read_and_an_unreadable_one_is_done_without() -> None:
    made = replied(VERDICT, Reply(text='{"verdict": "B"}'))
    assert (made.verdict, made.first, made.second) == ("B", "a", "b")
    made = replied(VERDICT, Reply(text="Both are fine."))
    assert (made.status, made.verdict, made.text) == ("done", None, "Both are fine.")


def test_an_empty_reply_is_a_failure_that_cost_something() -> None:
    made = replied(ANSWER, Reply(text="<think>hm", finish="length", tokens_in=7, tokens_out=50))
    assert (made.status, made.tokens_out) == ("failed", 50)
    assert made.reason == "a: the reply is empty: it was cut off and needs more tokens"
    assert replied(ANSWER, Reply(text=" ")).reason == "a: the reply is empty"


def test_a_refused_call_costs_nothing_and_a_lost_one_the_most_it_could() -> None:
    made = refused_entry(ANSWER, "too long", began=1.0, now=2.0)
    assert (made.status, made.tokens_in, made.tokens_out) == ("failed", 0, 0)
    made = lost_entry(ANSWER, "cut off", began=1.0, now=2.0, by=BY)
    assert (made.status, made.reason) == ("lost", "cut off")
    assert made.tokens_in + made.tokens_out == BY.most(ANSWER).tokens
