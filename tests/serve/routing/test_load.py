import numpy as np
import pytest
from tests.contracts.router import workers
from tests.serve.routing.prompts import failed, finished, first_token, prompt

from triskele.serve.routing.load import InFlight


def load_of(*slots: int) -> InFlight:
    """Return requests 0, 1, … in flight to these of three workers."""
    load = InFlight()
    load.update(workers("abc"))
    for number, slot in enumerate(slots):
        load.send(prompt(number), slot)
    return load


def test_a_request_counts_until_its_end() -> None:
    load = load_of(0, 2, 2)
    assert load.counts.tolist() == [1, 0, 2]
    assert load.settle(first_token(1, "c")) == 2
    assert load.counts.tolist() == [1, 0, 2]
    assert load.settle(finished(1, "c")) == 2
    assert load.settle(failed(0, "a")) == 0
    assert load.counts.tolist() == [0, 0, 1]
    load.check()


def test_an_outcome_of_nobody_or_of_another_worker_changes_nothing() -> None:
    load = load_of(0, 2)
    for stranger in (finished(7, "a"), finished(0, "c"), failed(0, "nobody"), first_token(1, "a")):
        assert load.settle(stranger) is None
    assert load.counts.tolist() == [1, 0, 1]


def test_what_was_in_flight_to_who_left_is_gone_and_may_be_sent_again() -> None:
    load = load_of(0, 2, 2)
    load.update(workers("ab"))
    assert load.counts.tolist() == [1, 0, 0]
    load.send(prompt(1), 1)
    # From the worker that it had first.
    assert load.settle(failed(1, "c")) is None
    load.update(workers("cab"))
    assert load.counts.tolist() == [1, 1, 0]
    load.check()


def test_a_request_in_flight_is_not_new() -> None:
    load = load_of(0)
    load.expect_new(prompt(1))
    with pytest.raises(ValueError, match="expected a request not in flight, got id 0 again"):
        load.expect_new(prompt(0))


def test_the_least_loaded_is_drawn_among_equals_of_those_asked_for() -> None:
    load, rng = load_of(0, 0, 1, 2), np.random.default_rng(0)
    assert {load.least(rng) for _ in range(50)} == {1, 2}
    assert {load.least(rng, np.array([0, 1])) for _ in range(50)} == {1}
    load.update(workers("ab"))
    assert {load.least(rng) for _ in range(50)} == {1}
