from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.serve.gateway.rate import Allowance, Bucket, RateLimiter

gaps = st.floats(0, 30)
amounts = st.floats(0, 12)


@settings(deadline=None)
@given(st.lists(st.tuples(gaps, amounts), max_size=60), st.floats(0.5, 12), st.floats(0.01, 5))
def test_no_span_of_time_sees_more_than_burst_and_rate_allow(
    asks: list[tuple[float, float]], burst: float, rate: float
) -> None:
    bucket, now, taken = Bucket(burst, rate, 0.0), 0.0, [(0.0, 0.0)]
    for gap, amount in asks:
        now += gap
        if bucket.wait(amount, now) == 0.0:
            bucket.charge(amount, now)
            taken.append((now, amount))
    for first, (start, _) in enumerate(taken):
        total = 0.0
        for at, amount in taken[first:]:
            total += amount
            assert total <= burst + rate * (at - start) + 1e-4


@settings(deadline=None)
@given(st.lists(st.tuples(gaps, amounts), max_size=30), amounts)
def test_whoever_waits_as_told_is_let_in_and_not_much_sooner(
    asks: list[tuple[float, float]], amount: float
) -> None:
    bucket, now = Bucket(10.0, 0.5, 0.0), 0.0
    for gap, used in asks:
        now += gap
        bucket.charge(used, now)
    wait = bucket.wait(amount, now)
    if amount > 10:
        assert wait == inf
        return
    if wait:
        assert bucket.wait(amount, now + wait * 0.99 - 0.001) > 0
    assert bucket.wait(amount, now + wait) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(gaps, amounts), max_size=30))
def test_after_idling_the_past_does_not_count(asks: list[tuple[float, float]]) -> None:
    used, fresh, now = Bucket(10.0, 0.5, 0.0), Bucket(10.0, 0.5, 0.0), 0.0
    for gap, amount in asks:
        now += gap
        used.charge(amount, now)
    idle = now + 20 + sum(amount for _, amount in asks) / 0.5
    assert used.level(idle) == pytest.approx(fresh.level(idle)) == 10.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 80), gaps), max_size=50))
def test_a_key_is_not_slowed_by_another(asks: list[tuple[str, int, float]]) -> None:
    allowance = Allowance(requests_per_minute=6, tokens_per_minute=120)
    together, alone, now = RateLimiter(), RateLimiter(), 0.0
    for name, n_tokens, gap in asks:
        now += gap
        waited = together.admit(name, allowance, n_tokens=n_tokens, now=now)
        if name == "a":
            assert alone.admit(name, allowance, n_tokens=n_tokens, now=now) == waited


def test_a_minute_begins_with_a_whole_minutes_requests_and_goes_on_one_by_one() -> None:
    limiter, allowance = RateLimiter(), Allowance(requests_per_minute=60)
    assert [limiter.admit("ann", allowance, n_tokens=9, now=0.0) for _ in range(60)] == [None] * 60
    assert limiter.admit("ann", allowance, n_tokens=9, now=0.0) == pytest.approx(1.0)
    assert limiter.admit("ann", allowance, n_tokens=9, now=1.0) is None
    assert limiter.admit("ann", allowance, n_tokens=9, now=1.5) == pytest.approx(0.5)


def test_what_is_refused_uses_nothing_of_either_bucket() -> None:
    limiter, allowance = RateLimiter(), Allowance(requests_per_minute=2, tokens_per_minute=60)
    assert limiter.admit("ann", allowance, n_tokens=50, now=0.0) is None
    for _ in range(9):
        assert limiter.admit("ann", allowance, n_tokens=20, now=0.0) == pytest.approx(10.0)
    assert limiter.admit("ann", allowance, n_tokens=10, now=0.0) is None


def test_an_answer_longer_than_what_is_left_is_a_debt_that_the_next_request_waits_for() -> None:
    limiter, allowance = RateLimiter(), Allowance(tokens_per_minute=60)
    assert limiter.admit("ann", allowance, n_tokens=10, now=0.0) is None
    limiter.charge("ann", n_tokens=80, now=0.0)
    assert limiter.admit("ann", allowance, n_tokens=0, now=0.0) == pytest.approx(30.0)
    assert limiter.admit("ann", allowance, n_tokens=5, now=35.0) is None


def test_what_was_not_used_is_given_back_and_never_more_than_the_burst() -> None:
    limiter, allowance = RateLimiter(), Allowance(tokens_per_minute=60)
    limiter.admit("ann", allowance, n_tokens=60, now=0.0)
    limiter.charge("ann", n_tokens=-200, now=0.0)
    assert limiter.admit("ann", allowance, n_tokens=60, now=0.0) is None
    assert limiter.admit("ann", allowance, n_tokens=1, now=0.0) == pytest.approx(1.0)


def test_a_request_larger_than_the_burst_will_never_be_admitted_and_is_told_so() -> None:
    limiter = RateLimiter()
    assert limiter.admit("ann", Allowance(tokens_per_minute=60), n_tokens=61, now=0.0) == inf


def test_new_limits_count_at_once_and_what_was_used_stays_used() -> None:
    limiter = RateLimiter()
    for _ in range(10):
        assert limiter.admit("ann", Allowance(10), n_tokens=0, now=0.0) is None
    for _ in range(5):
        assert limiter.admit("ann", Allowance(15), n_tokens=0, now=0.0) is None
    assert limiter.admit("ann", Allowance(15), n_tokens=0, now=0.0) == pytest.approx(4.0)
    assert limiter.admit("ann", Allowance(), n_tokens=0, now=0.0) is None


def test_a_key_that_is_gone_is_forgotten() -> None:
    limiter, allowance = RateLimiter(), Allowance(requests_per_minute=1)
    for name in ("ann", "ben"):
        assert limiter.admit(name, allowance, n_tokens=0, now=0.0) is None
    limiter.keep({"ben"})
    assert limiter.admit("ann", allowance, n_tokens=0, now=0.0) is None
    assert limiter.admit("ben", allowance, n_tokens=0, now=0.0) == pytest.approx(60.0)
    limiter.charge("cleo", n_tokens=5, now=0.0)


def test_a_clock_that_runs_backwards_gives_nothing_away() -> None:
    bucket = Bucket(10.0, 1.0, 100.0)
    bucket.charge(10.0, 100.0)
    assert bucket.level(50.0) == 0.0
    assert bucket.level(101.0) == 1.0


def test_limits_that_nothing_can_pass_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 per minute"):
        Allowance(requests_per_minute=0)
    with pytest.raises(ValueError, match="above 0, got 0 and 1"):
        Bucket(0, 1, 0.0)
    with pytest.raises(ValueError, match="at least 0 tokens, got -1"):
        RateLimiter().admit("ann", Allowance(), n_tokens=-1, now=0.0)
