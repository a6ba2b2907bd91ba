import pytest
from tests.evaluate.collect.calls import JUDGE, agenda, comparisons, entry_of, models

from triskele.evaluate.collect.estimate import Estimator
from triskele.evaluate.collect.plan import Agenda, Asking
from triskele.evaluate.collect.prices import Amount, Price
from triskele.evaluate.collect.tokens import TokenCounter

PRICES = {"a": Price(1.0, 4.0), "b": Price(0.0, 0.0), "judge": Price(2.0, 8.0)}
ASKING = Asking(answer_tokens=500, verdict_tokens=100)


def test_there_is_a_line_per_model_and_one_for_the_judge() -> None:
    plan = agenda(comparisons(10, "ab"), asking=ASKING)
    estimator = Estimator(TokenCounter(), PRICES)
    lines = estimator.lines(plan, models("ab"), JUDGE, ASKING)
    assert [(line.label, line.kind, line.n_known, line.n_calls) for line in lines] == [
        ("a", "answer", 0, 10),
        ("b", "answer", 0, 10),
        ("judge", "verdict", 0, 20),
    ]
    first, free, judge = lines
    assert first.most.tokens == first.tokens_in + 10 * 500
    assert first.most.cost == pytest.approx((first.tokens_in + 4 * 5000) / 1e6, rel=0.01)
    assert free.most.cost == 0
    # Two answers of 400 tokens, or at most 500, are read twice.
    assert judge.tokens_in > 20 * 2 * 400
    assert judge.most.tokens > judge.tokens_in + 20 * 200
    for line in lines:
        assert line.expected.tokens <= line.most.tokens
        assert line.expected.tokens == pytest.approx(line.tokens_in + line.tokens_out, abs=1)


def test_what_is_known_is_told_and_makes_the_rest_exact() -> None:
    counter = TokenCounter()
    plan = agenda(comparisons(10, "ab"), asking=ASKING)
    while (call := plan.take("near")) is not None:
        made = entry_of(call, f"I am {call.model.label}.", tokens_out=7)
        plan.settle(made)
        counter.learn(made)
    lines = Estimator(counter, PRICES).lines(plan, models("ab"), JUDGE, ASKING)
    assert [(line.n_known, line.n_calls) for line in lines] == [(10, 0), (10, 0), (0, 20)]
    assert lines[2].tokens_in < 20 * 600
    assert lines[0].most == lines[0].expected == Amount(0, 0.0)


def take(plan: Agenda) -> Amount:
    call = plan.take("near")
    assert call is not None
    return Estimator(TokenCounter(), PRICES).most(call)


def test_the_most_a_call_can_cost_is_a_reply_as_long_as_it_may_be() -> None:
    short = take(agenda(comparisons(1, "ab"), asking=ASKING))
    long = take(agenda(comparisons(1, "ab"), asking=Asking(answer_tokens=1500)))
    assert long.tokens - short.tokens == 1000
    assert long.cost - short.cost == pytest.approx(1000 * 4 / 1e6)


def test_what_was_spent_is_what_was_counted() -> None:
    plan = agenda(comparisons(1, "ab"))
    call = plan.take("near")
    assert call is not None
    made = entry_of(call, "text", tokens_in=1000, tokens_out=500)
    assert Estimator(TokenCounter(), PRICES).spent(made) == Amount(1500, 0.003)
