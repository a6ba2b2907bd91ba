import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate.collect.retry import Backoff, seconds_of

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@given(st.integers(1, 5000), st.integers())
def test_waits_grow_to_a_bound_and_are_drawn_from_their_upper_half(
    n_failed: int, seed: int
) -> None:
    backoff = Backoff(first=1.0, longest=60.0)
    wait = backoff.wait(n_failed, retry_after=None, rng=random.Random(seed))
    longest = min(60.0, 2.0 ** min(n_failed - 1, 10))
    assert longest / 2 <= wait <= longest


@given(st.integers(1, 9), st.floats(0, 1e4), st.integers())
def test_what_the_endpoint_asks_for_is_waited_and_a_little_more(
    n_failed: int, asked: float, seed: int
) -> None:
    wait = Backoff(first=1.0).wait(n_failed, retry_after=asked, rng=random.Random(seed))
    assert asked <= wait <= asked + 1.0


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-2", 0.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, expected: float | None) -> None:
    assert seconds_of(header, now=NOW) == expected


@given(st.text())
def test_no_header_is_too_strange(header: str) -> None:
    seconds = seconds_of(header, now=NOW)
    assert seconds is None or seconds >= 0
