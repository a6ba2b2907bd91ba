"""Expectations follow what was observed, and tell a prompt's own work from what is before it."""

import json

import numpy as np
import pytest

from triskele.serve.routing import Outcome, Phase
from triskele.serve.routing.latency import LEAST_PACE, LEAST_WORK, Diligence, LatencyModel
from triskele.serve.routing.queues import Queues, Ticket, new_work


def fresh(n_slots: int) -> tuple[LatencyModel, Queues]:
    model, queues = LatencyModel(), Queues()
    model.grow(n_slots)
    queues.grow(n_slots)
    return model, queues


def teach(model: LatencyModel, queues: Queues, n: int, *, per_token: float, pace: float) -> None:
    """Serve ``n`` prompts one at a time on worker 0, at these seconds per token."""
    rng = np.random.default_rng(0)
    for number in range(n):
        n_prompt, n_output = int(rng.integers(100, 4000)), int(rng.integers(2, 50))
        now = 10.0 * number
        new, attended = new_work(np.zeros(len(queues.waiting)), 1, n_prompt)
        queues.elapse(now, model.ttft.coefficients(now))
        ticket = Ticket(
            slot=0,
            n_prompt=n_prompt,
            new=float(new[0]),
            attended=float(attended[0]),
            features=queues.features[:, 0].copy(),
            ttft=0.2,
            pace=0.02,
            latency=1.0,
            kind="",
            promised=(),
        )
        queues.send(number, ticket, now)
        ttft = per_token * n_prompt
        first = Outcome(number, "a", Phase.FIRST_TOKEN, ttft, n_output=1)
        model.learn_first_token(ticket, first, now + ttft)
        queues.first_token(ticket, ttft, now + ttft)
        latency = ttft + pace * (n_output - 1)
        done = Outcome(number, "a", Phase.FINISHED, latency, n_output=n_output)
        model.learn_answer(ticket, done, now + latency)
        queues.end(number, now + latency)


def test_the_speed_of_prefill_and_of_answers_is_learned() -> None:
    model, queues = fresh(1)
    teach(model, queues, 200, per_token=0.0003, pace=0.05)
    new, attended = new_work(np.zeros(1), 1, 2000)
    expected = model.expect(queues, new, attended, n_prompt=2000, now=1e4)
    assert expected.before + expected.own == pytest.approx([0.6], rel=0.05)
    assert expected.pace == pytest.approx([0.05], rel=0.1)


def test_what_is_cached_is_no_work_and_what_is_queued_is_before() -> None:
    model, queues = fresh(2)
    held = np.array([0.0, 100.0])
    new, attended = new_work(held, 16, 2000)
    idle = model.expect(queues, new, attended, n_prompt=2000, now=0.0)
    assert idle.own[1] < idle.own[0] / 4
    assert idle.before[0] == idle.before[1]
    ticket = Ticket(0, 4000, 4.0, 8.0, queues.features[:, 0].copy(), 0.4, 0.02, 0.5, "", ())
    queues.send(1, ticket, 0.0)
    busy = model.expect(queues, new, attended, n_prompt=2000, now=0.0)
    assert busy.before[0] > busy.before[1] == idle.before[1]
    assert np.array_equal(busy.own, idle.own)


def test_no_expectation_is_below_what_is_possible() -> None:
    model, queues = fresh(1)
    model.ttft.shared[:] = -1.0
    model.pace.shared[:] = -1.0
    new, attended = new_work(np.zeros(1), 1, 500)
    expected = model.expect(queues, new, attended, n_prompt=500, now=0.0)
    assert expected.before.tolist() == [0.0]
    assert expected.own == pytest.approx(LEAST_WORK * new)
    assert expected.pace.tolist() == [LEAST_PACE]


def test_an_answer_of_unknown_length_teaches_no_pace_but_counts_as_an_error() -> None:
    model, queues = fresh(1)
    before = model.pace.shared.copy()
    ticket = Ticket(0, 100, 0.1, 0.0, queues.features[:, 0].copy(), 0.2, 0.02, 1.5, "", ())
    model.learn_answer(ticket, Outcome(1, "a", Phase.FINISHED, 2.0), 2.0)
    report = model.errors()["latency"]
    assert report is not None
    assert (report.n, report.bias) == (1, -0.5)
    assert np.array_equal(model.pace.shared, before)


def test_the_model_survives_a_round_through_json() -> None:
    model, queues = fresh(2)
    teach(model, queues, 50, per_token=0.0002, pace=0.03)
    again = LatencyModel()
    again.restore(json.loads(json.dumps(model.state())), now=500.0)
    again.check()
    new, attended = new_work(np.zeros(2), 1, 1000)
    one = model.expect(queues, new, attended, n_prompt=1000, now=500.0)
    other = again.expect(queues, new, attended, n_prompt=1000, now=500.0)
    assert one.own == pytest.approx(other.own, rel=1e-3)
    assert one.pace == pytest.approx(other.pace, rel=1e-3)


def test_a_few_lessons_a_second_teach_the_same() -> None:
    taught = []
    for diligence in (Diligence(), Diligence(lessons=0.2, refresh=0.005)):
        model, queues = LatencyModel(diligence), Queues()
        model.grow(1)
        queues.grow(1)
        # One every ten seconds: at 0.2 a second every one of them, of which the next are left out.
        teach(model, queues, 400, per_token=0.0003, pace=0.05)
        new, attended = new_work(np.zeros(1), 1, 2000)
        taught.append(model.expect(queues, new, attended, n_prompt=2000, now=1e4))
    assert taught[1].own == pytest.approx(taught[0].own)
    assert taught[1].pace == pytest.approx(taught[0].pace)


def test_more_outcomes_than_lessons_are_passed_over_and_counted_all_the_same() -> None:
    model, queues = LatencyModel(Diligence(lessons=1.0)), Queues()
    model.grow(1)
    queues.grow(1)
    before = model.ttft.shared.copy()
    ticket = Ticket(
        slot=0, n_prompt=100, new=0.1, attended=0.01, features=queues.features[:, 0].copy(),
        ttft=0.2, pace=0.02, latency=1.0, kind="", promised=(),
    )  # fmt: skip
    model.learn_first_token(ticket, Outcome(0, "a", Phase.FIRST_TOKEN, 2.0), 10.0)
    once = model.ttft.shared.copy()
    assert not np.array_equal(once, before)
    model.learn_first_token(ticket, Outcome(1, "a", Phase.FIRST_TOKEN, 9.0), 10.9)
    assert np.array_equal(model.ttft.shared, once)
    model.learn_first_token(ticket, Outcome(2, "a", Phase.FIRST_TOKEN, 9.0), 11.1)
    assert not np.array_equal(model.ttft.shared, once)
    errors = model.errors()["ttft"]
    assert errors is not None
    assert errors.n == 3


@pytest.mark.parametrize("wrong", [{"lessons": 0.0}, {"refresh": -1.0}, {"refresh": np.inf}])
def test_a_router_that_never_learns_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="lessons above 0"):
        Diligence(**wrong)
