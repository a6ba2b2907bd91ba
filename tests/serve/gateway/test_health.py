from itertools import pairwise
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from triskele.serve.gateway.health import Fault, Health, Patience, State


def starting(now: float = 0.0, **patience: float) -> Health:
    return Health(rng=Random(0), now=now, patience=Patience(**patience))  # type: ignore[arg-type]


def ready(now: float = 0.0, **patience: float) -> Health:
    health = starting(now, **patience)
    health.checked(True, now)
    return health


def fail(health: Health, fault: Fault, now: float, times: int = 1) -> None:
    for _ in range(times):
        health.failed(health.sent(), fault, now)


def test_a_worker_is_checked_at_once_and_ready_when_that_went_well() -> None:
    health = starting(5.0)
    assert (health.state, health.is_routable, health.next_check(5.0)) == (
        State.STARTING,
        False,
        5.0,
    )
    health.checked(False, 5.0, error="refused")
    assert (health.state, health.error) == (State.STARTING, "refused")
    health.checked(True, 5.3)
    assert (health.state, health.error, health.since) == (State.READY, None, 5.3)
    assert health.is_routable
    assert not health.is_on_trial


def test_a_refused_connection_takes_a_worker_down_at_once() -> None:
    health = ready()
    fail(health, Fault.REFUSED, 20.0)
    assert (health.state, health.error) == (State.DOWN, "connection refused")
    assert 20.0 < health.next_check(20.0) <= 20.25


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.TIMEOUT, Fault.STATUS])
def test_other_faults_count_only_in_a_row_or_when_they_are_many(fault: Fault) -> None:
    health = ready()
    for _ in range(12):
        fail(health, fault, 1.0, times=2)
        health.succeeded(health.sent(), 1.0)
        for _ in range(3):
            health.succeeded(health.sent(), 1.0)
    assert health.state is State.READY
    fail(health, fault, 1.0, times=3)
    assert (health.state, health.error) == (State.SUSPECT, fault.value)
    often = ready(share=0.4)
    for _ in range(5):
        assert often.state is State.READY
        health.succeeded(often.sent(), 1.0)
        often.succeeded(often.sent(), 1.0)
        fail(often, fault, 1.0)
    assert often.state is State.SUSPECT


def test_a_failed_check_makes_suspect_and_the_next_takes_down() -> None:
    health = ready()
    health.checked(False, 20.0)
    assert (health.state, health.error) == (State.SUSPECT, "a check failed")
    health.checked(False, health.next_check(20.0))
    assert health.state is State.DOWN


def test_waits_double_stay_below_a_second_for_a_minute_and_grow_to_half_a_minute() -> None:
    health, now, times = ready(), 100.0, [100.0]
    fail(health, Fault.REFUSED, now)
    while now < 1000.0:
        now = health.next_check(now)
        times.append(now)
        health.checked(False, now)
    waits = [(later - earlier, earlier) for earlier, later in pairwise(times)]
    assert all(wait <= 1.0 for wait, since in waits if since < 160.0)
    assert [wait < 0.5 * 2**k for k, (wait, _) in enumerate(waits[:3])] == [True] * 3
    assert 24.0 <= waits[-1][0] <= 30.0
    assert max(wait for wait, _ in waits) <= 30.0
    health.checked(True, now)
    assert health.is_routable


def test_a_worker_that_has_never_been_ready_is_not_left_waiting_for_long() -> None:
    health, now = starting(), 0.0
    while now < 1000.0:
        health.checked(False, now)
        assert health.next_check(now) - now <= 5.0
        now = health.next_check(now)
    assert health.state is State.STARTING


def test_one_that_returns_gets_one_request_until_that_went_well() -> None:
    health = ready()
    fail(health, Fault.REFUSED, 20.0)
    health.checked(True, 20.3)
    assert health.is_routable
    assert health.is_on_trial
    trial = health.sent()
    assert not health.is_routable
    health.succeeded(trial, 20.4)
    assert health.is_routable
    assert not health.is_on_trial


def test_a_trial_that_fails_goes_on_with_the_waits() -> None:
    health, now = ready(), 20.0
    fail(health, Fault.STATUS, now, times=3)
    waits = []
    for _ in range(6):
        waits.append(health.next_check(now) - now)
        now = health.next_check(now)
        health.checked(True, now)
        fail(health, Fault.STATUS, now)
        assert health.state is State.SUSPECT
    assert waits[0] <= 0.25 < waits[2] <= waits[4] + 0.2 <= 1.2


def test_a_trial_that_nobody_ends_ends_with_the_next_good_check() -> None:
    health = ready()
    fail(health, Fault.REFUSED, 20.0)
    health.checked(True, 20.3)
    health.sent()
    assert health.next_check(20.3) <= 21.3
    health.checked(True, 21.3)
    assert health.is_routable
    assert not health.is_on_trial


def test_a_trial_that_the_client_broke_off_is_free_again() -> None:
    health = ready()
    fail(health, Fault.REFUSED, 20.0)
    health.checked(True, 20.3)
    health.released(health.sent())
    assert health.is_routable
    assert health.is_on_trial


def test_what_was_sent_before_a_worker_went_away_says_nothing_of_the_one_that_returned() -> None:
    health = ready()
    old = [health.sent() for _ in range(9)]
    fail(health, Fault.REFUSED, 20.0)
    health.checked(True, 20.3)
    trial = health.sent()
    for ticket in old[:4]:
        health.failed(ticket, Fault.RESET, 20.4)
        health.succeeded(ticket, 20.4)
        health.released(ticket)
    assert health.state is State.READY
    assert not health.is_routable
    health.succeeded(trial, 20.5)
    health.failed(old[5], Fault.REFUSED, 20.6)
    assert health.is_routable


def test_after_being_ready_for_a_while_the_waits_begin_anew() -> None:
    health, now = ready(), 20.0
    fail(health, Fault.REFUSED, now)
    for _ in range(90):
        now = health.next_check(now)
        health.checked(False, now)
    health.checked(True, now)
    health.succeeded(health.sent(), now)
    fail(health, Fault.REFUSED, now + 11.0)
    assert health.next_check(now + 11.0) <= now + 11.25


def test_a_draining_worker_gets_nothing_until_it_is_resumed_and_checked() -> None:
    health = ready()
    ticket = health.sent()
    health.drain(10.0)
    assert (health.state, health.is_routable) == (State.DRAINING, False)
    health.succeeded(ticket, 11.0)
    health.failed(health.sent(), Fault.REFUSED, 11.0)
    health.checked(False, 12.0, error="late")
    assert (health.state, health.error) == (State.DRAINING, "late")
    health.checked(True, 13.0)
    assert (health.state, health.error) == (State.DRAINING, None)
    health.drain(14.0)
    assert health.since == 10.0
    health.resume(15.0)
    assert (health.state, health.next_check(15.0)) == (State.STARTING, 15.0)
    health.checked(True, 15.0)
    health.resume(16.0)
    assert health.is_routable


def test_one_that_is_suspected_and_asked_all_the_same_returns_with_an_answer() -> None:
    health = ready()
    fail(health, Fault.STATUS, 1.0, times=3)
    fail(health, Fault.STATUS, 1.1, times=3)
    assert health.state is State.SUSPECT
    health.succeeded(health.sent(), 2.0)
    assert (health.is_routable, health.is_on_trial, health.error) == (True, False, None)
    fail(health, Fault.STATUS, 3.0, times=3)
    fail(health, Fault.REFUSED, 3.0)
    assert health.state is State.DOWN


@pytest.mark.parametrize(
    "patience", [{"n_consecutive": 0}, {"share": 0.0}, {"first_seconds": 0.0}, {"eager_wait": 60.0}]
)
def test_patience_without_end_or_beginning_is_refused(patience: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"expected (counts|waits)"):
        Patience(**patience)  # type: ignore[arg-type]


class HealthMachine(RuleBasedStateMachine):
    """Any order of checks, requests and orders: never lost, never checked too seldom."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.health = starting()
        self.tickets: list[int] = []

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(is_good=st.booleans())
    def check(self, is_good: bool) -> None:
        before = self.health.state
        self.now = self.health.next_check(self.now)
        self.health.checked(is_good, self.now)
        if before is State.DRAINING:
            assert self.health.state is State.DRAINING
        elif is_good:
            assert self.health.state is State.READY
            assert self.health.error is None
        else:
            assert self.health.state is not State.READY
        wait = self.health.next_check(self.now) - self.now
        assert wait <= 30.0
        if self.health.state is not State.DRAINING and not is_good:
            assert wait <= 1.0 or self.now - self.health._trouble >= 60.0

    @precondition(lambda self: self.health.is_routable or self.health.state is State.SUSPECT)
    @rule()
    def send(self) -> None:
        self.tickets.append(self.health.sent())
        if self.health.is_on_trial:
            assert not self.health.is_routable

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), fault=st.sampled_from(Fault))
    def fail(self, data: st.DataObject, fault: Fault) -> None:
        before = self.health.state
        ticket = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        self.health.failed(ticket, fault, self.now)
        assert self.health.state in (before, State.SUSPECT, State.DOWN)
        if before in (State.STARTING, State.DOWN, State.DRAINING):
            assert self.health.state is before

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), is_verdict=st.booleans())
    def end(self, data: st.DataObject, is_verdict: bool) -> None:
        before = self.health.state
        ticket = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        if is_verdict:
            self.health.succeeded(ticket, self.now)
        else:
            self.health.released(ticket)
        assert self.health.state in (before, State.READY)

    @rule(is_drain=st.booleans())
    def order(self, is_drain: bool) -> None:
        if is_drain:
            self.health.drain(self.now)
            assert self.health.state is State.DRAINING
        else:
            self.health.resume(self.now)
            assert self.health.state is not State.DRAINING

    @invariant()
    def what_must_hold_holds(self) -> None:
        self.health.check()
        assert self.health.is_routable <= (self.health.state is State.READY)
        assert self.health.next_check(self.now) <= self.now + 30.0

    def teardown(self) -> None:
        self.health.resume(self.now)
        self.health.checked(True, self.health.next_check(self.now))
        assert self.health.state is State.READY
        self.health.checked(True, self.health.next_check(self.now))
        assert self.health.is_routable


TestAnyOrder = HealthMachine.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
