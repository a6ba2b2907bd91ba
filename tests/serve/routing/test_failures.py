import pytest

from triskele.serve.routing.failures import Failures


def failures_of(n_slots: int = 2) -> Failures:
    failures = Failures(half_life=10.0)
    failures.grow(n_slots)
    return failures


def test_failures_add_up_and_fade() -> None:
    failures = failures_of()
    assert failures.seconds(0.0) is None
    failures.add(1, 4.0, 0.0)
    failures.add(0, 1.0, 10.0)
    failures.add(1, 1.0, 10.0)
    for now, expected in ((10.0, [1.0, 3.0]), (10.0, [1.0, 3.0]), (20.0, [0.5, 1.5])):
        seconds = failures.seconds(now)
        assert seconds is not None
        assert seconds.tolist() == pytest.approx(expected)


def test_what_has_faded_is_nothing_and_a_clock_that_goes_back_adds_nothing() -> None:
    failures = failures_of()
    failures.add(1, 4.0, 100.0)
    seconds = failures.seconds(50.0)
    assert seconds is not None
    assert seconds.tolist() == [0.0, 4.0]
    assert failures.seconds(1e6) is None
    failures.add(0, 1.0, 1e6)
    assert failures.seconds(1e6) is not None


def test_failures_of_who_leaves_are_forgotten_and_those_of_the_others_kept() -> None:
    failures = failures_of()
    for slot in (0, 1):
        failures.add(slot, 2.0, 0.0)
    failures.clear(1)
    failures.grow(3)
    seconds = failures.seconds(0.0)
    assert seconds is not None
    assert seconds.tolist() == [2.0, 0.0, 0.0]
