import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from triskele.serve.routing.queues import (
    ATTENDED,
    CONSTANT,
    CONTEXT,
    ELAPSED,
    N_FEATURES,
    PER_CONTEXT,
    PER_PAIR,
    PER_TOKEN,
    QUEUED,
    RUNNING,
    Queues,
    Ticket,
    new_work,
)

N_SLOTS = 3


def queues_of(n_slots: int = N_SLOTS) -> Queues:
    queues = Queues()
    queues.grow(n_slots)
    return queues


def ticket(slot: int, *, n_prompt: int = 1000, n_new: int = 1000) -> Ticket:
    return Ticket(
        slot=slot,
        n_prompt=n_prompt,
        new=PER_TOKEN * n_new,
        attended=PER_PAIR * n_new * (n_prompt - n_new / 2),
        features=np.zeros(N_FEATURES),
        ttft=1.0,
        pace=0.01,
        latency=1.1,
        kind="",
        promised=(),
    )


def coefficients(queued: float = 0.1, attended: float = 0.02) -> np.ndarray:
    made = np.zeros((N_FEATURES, N_SLOTS))
    made[QUEUED], made[ATTENDED] = queued, attended
    return made


class Flow(RuleBasedStateMachine):
    """Requests come, run and go; workers come and lose all they had."""

    def __init__(self) -> None:
        super().__init__()
        self.queues, self.n_slots, self.now = queues_of(), N_SLOTS, 10.0
        self.in_flight: dict[int, Ticket] = {}
        self.n_sent = 0

    @rule(data=st.data(), n_prompt=st.integers(1, 10**6), share=st.floats(0, 1))
    def send(self, data: st.DataObject, n_prompt: int, share: float) -> None:
        slot = data.draw(st.integers(0, self.n_slots - 1))
        made = ticket(slot, n_prompt=n_prompt, n_new=max(1, int(share * n_prompt)))
        self.queues.send(self.n_sent, made, self.now)
        self.in_flight[self.n_sent] = made
        self.n_sent += 1
        with pytest.raises(ValueError, match="not in flight"):
            self.queues.send(self.n_sent - 1, made, self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.in_flight)))
        found = self.queues.ticket(number)
        assert found is self.in_flight[number]
        if found.first_token is None:
            self.queues.first_token(found, 0.5, self.now)
        else:
            self.queues.end(number, self.now)
            del self.in_flight[number]

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.queues.end(number, self.now)
        del self.in_flight[number]

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        slot = data.draw(st.integers(0, self.n_slots - 1))
        self.queues.drop(slot)
        self.in_flight = {n: one for n, one in self.in_flight.items() if one.slot != slot}
        alone = self.queues.features[:, slot].copy()
        alone[ELAPSED] = 0
        assert alone.tolist() == [1, 0, 0, 0, 0, 0]

    @precondition(lambda self: self.n_slots < 6)
    @rule()
    def grow(self) -> None:
        self.n_slots += 1
        self.queues.grow(self.n_slots)

    @rule(seconds=st.floats(0, 100), queued=st.floats(-1, 1), attended=st.floats(-1, 1))
    def wait(self, seconds: float, queued: float, attended: float) -> None:
        self.now += seconds
        by = np.zeros((N_FEATURES, self.n_slots))
        by[QUEUED], by[ATTENDED] = queued, attended
        self.queues.elapse(self.now, by)
        features = self.queues.features
        in_queue = (by * features)[[QUEUED, ATTENDED]].sum(axis=0)
        assert (features[ELAPSED] >= 0).all()
        assert (features[ELAPSED] <= np.maximum(in_queue, 0) + 1e-12).all()
        assert (features[ELAPSED][self.queues.waiting == 0] == 0).all()

    @invariant()
    def it_adds_up(self) -> None:
        self.queues.check()
        assert len(self.queues) == len(self.in_flight)
        assert self.queues.waiting.min() >= 0
        assert (self.queues.features[CONSTANT] == 1).all()

    def teardown(self) -> None:
        for number in self.in_flight:
            self.queues.end(number, self.now)
        assert not self.queues.features[[QUEUED, ATTENDED, RUNNING, CONTEXT]].any()
        assert not self.queues.waiting.any()


TestFlow = Flow.TestCase
TestFlow.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_what_waits_and_what_runs_are_told_apart() -> None:
    queues = queues_of()
    first, second = ticket(1, n_prompt=2000, n_new=500), ticket(1)
    queues.send(1, first, 0.0)
    queues.send(2, second, 0.0)
    features = queues.features[:, 1]
    assert features[[QUEUED, RUNNING, CONTEXT]].tolist() == [1.5, 0, 0]
    assert features[ATTENDED] == pytest.approx(0.5 * 1.75 + 1.0 * 0.5)
    queues.first_token(first, 0.7, 0.7)
    assert first.first_token == 0.7
    assert features[[QUEUED, RUNNING, CONTEXT]].tolist() == [1.0, 1, PER_CONTEXT * 2000]
    queues.end(1, 0.9)
    assert features[[QUEUED, RUNNING, CONTEXT]].tolist() == [1.0, 0, 0]
    assert queues.ticket(1) is None
    assert not queues.features[QUEUED:, [0, 2]].any()


def test_the_head_of_the_queue_has_been_worked_on_since_the_one_before_it() -> None:
    queues = queues_of()
    first, second = ticket(0), ticket(0, n_new=100_000, n_prompt=100_000)

    def elapsed(now: float) -> float:
        queues.elapse(now, coefficients())
        return float(queues.features[ELAPSED, 0])

    assert elapsed(50.0) == 0
    queues.send(1, first, 100.0)
    assert elapsed(100.05) == pytest.approx(0.05)
    # 1,000 tokens and half a million pairs: 0.1 and 0.01 seconds at most.
    assert elapsed(105.0) == pytest.approx(0.11)
    queues.send(2, second, 105.0)
    assert elapsed(105.0) == pytest.approx(5.0)
    queues.first_token(first, 6.0, 106.0)
    assert elapsed(106.5) == pytest.approx(0.5)
    queues.end(1, 107.0)
    assert elapsed(107.0) == pytest.approx(1.0)
    # A clock that lags behind.
    assert elapsed(90.0) == 0
    queues.drop(0)
    assert elapsed(200.0) == 0
    queues.send(3, ticket(0), 300.0)
    assert elapsed(300.0) == 0


@given(
    held=st.lists(st.integers(0, 70), min_size=1, max_size=5),
    page_size=st.sampled_from([1, 16, 64]),
    n_prompt=st.integers(1, 2000),
)
def test_new_work_is_a_sum_over_the_tokens_to_compute(
    held: list[int], page_size: int, n_prompt: int
) -> None:
    tokens, pairs = new_work(np.array(held, dtype=float), page_size, n_prompt)
    for slot, n_pages in enumerate(held):
        n_cached = min(page_size * n_pages, n_prompt - 1)
        positions = range(n_cached, n_prompt)
        assert tokens[slot] == pytest.approx(PER_TOKEN * len(positions))
        assert pairs[slot] == pytest.approx(PER_PAIR * sum(at + 0.5 for at in positions))
