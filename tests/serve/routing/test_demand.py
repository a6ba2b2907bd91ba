import json
from math import exp

import numpy as np
import pytest

from triskele.serve.routing.demand import Demand

WINDOW = 30.0


def stream(
    demand: Demand, *, rate: float, work: float, seconds: float, begin: float = 1000.0
) -> list[tuple[float, float]]:
    """Let requests come at a steady rate; returns what was said after each second."""
    rates = []
    for number in range(round(rate * seconds) + 1):
        rates.append(demand.arrive(begin + number / rate))
        demand.add(work)
    return rates


def test_nothing_is_known_of_the_rate_at_the_first_request() -> None:
    assert Demand(window=WINDOW).arrive(123.0) == (0.0, 0.0)


@pytest.mark.parametrize("rate", [0.2, 3.0, 100.0])
def test_rates_of_a_steady_stream_are_right_from_the_beginning_on(rate: float) -> None:
    rates = np.array(stream(Demand(window=WINDOW), rate=rate, work=0.25, seconds=3 * WINDOW))
    after_a_second = rates[1 + int(rate) :]
    assert after_a_second[:, 0] == pytest.approx(rate, rel=0.1)
    assert after_a_second[:, 1] == pytest.approx(0.25 * rate, rel=0.1)


def test_a_burst_is_counted_over_a_second_at_least() -> None:
    demand = Demand(window=WINDOW)
    rates = [demand.arrive(5.0) for _ in range(100)]
    assert max(rates) == (99.0, 0.0)


def test_a_change_is_half_known_when_half_of_the_window_is_over() -> None:
    demand = Demand(window=WINDOW)
    stream(demand, rate=10.0, work=0.1, seconds=10 * WINDOW)
    later = 1000.0 + 10 * WINDOW
    rates = stream(demand, rate=2.0, work=0.4, seconds=3 * WINDOW, begin=later)
    for n_windows in (0.5, 1.0, 3.0):
        requests, work = rates[round(2.0 * n_windows * WINDOW)]
        assert requests == pytest.approx(2.0 + 8.0 * exp(-n_windows), rel=0.05)
        assert work == pytest.approx(0.8 + 0.2 * exp(-n_windows), rel=0.05)


def test_random_arrivals_are_counted_without_bias() -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        demand = Demand(window=WINDOW)
        times = np.cumsum(rng.exponential(1 / 5.0, size=100))
        found.append([demand.arrive(now)[0] for now in times.tolist()][-1])
    assert np.mean(found) == pytest.approx(5.0, rel=0.05)


def test_rates_can_be_asked_for_without_a_request() -> None:
    demand = Demand(window=WINDOW)
    assert demand.rates(0.0) == (0.0, 0.0)
    stream(demand, rate=4.0, work=0.5, seconds=10.0)
    assert demand.rates(1010.5) == demand.rates(1010.5) == demand.arrive(1010.5)


def test_what_is_restored_goes_on_as_if_nothing_had_been() -> None:
    demand, again = Demand(window=WINDOW), Demand(window=WINDOW)
    stream(demand, rate=4.0, work=0.5, seconds=10.0)
    again.restore(json.loads(json.dumps(demand.state())), 7.0)
    assert again.arrive(7.5) == pytest.approx(demand.arrive(1010.5))
    fresh = Demand(window=WINDOW)
    fresh.restore(json.loads(json.dumps(Demand().state())), 7.0)
    assert fresh.arrive(9.0) == (0.0, 0.0)
