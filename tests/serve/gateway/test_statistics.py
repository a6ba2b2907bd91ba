from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.gateway.statistics import (
    N_POINTS,
    N_RECENT,
    N_SCATTERED,
    Histogram,
    Statistics,
    hit_rate,
    percentiles,
)
from triskele.serve.gateway.usage import UNKNOWN, Usage


def journey(
    *,
    status: int | None = 200,
    outcome: str = "finished",
    worker: str | None = "a",
    accepted: float = 0.0,
    first: float | None = None,
    predicted: tuple[float, float] | None = None,
    usage: Usage = UNKNOWN,
    n_retries: int = 0,
) -> SimpleNamespace:
    """Return what is looked at of a journey."""
    return SimpleNamespace(
        reply=SimpleNamespace(status=status),
        endpoint="/v1/completions",
        outcome=outcome,
        worker=worker,
        accepted=accepted,
        first_event=first,
        predicted=predicted,
        usage=usage,
        n_retries=n_retries,
    )


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert sum(histogram.counts) == len(values)
    assert histogram.total == pytest.approx(sum(values))
    for at, bound in enumerate(histogram.bounds):
        assert sum(histogram.counts[: at + 1]) == sum(value <= bound for value in values)


def test_every_request_is_counted_and_only_good_answers_are_timed() -> None:
    statistics = Statistics()
    statistics.add(journey(n_retries=2), 1.0)
    statistics.add(journey(status=503, outcome="failed"), 1.0)
    statistics.add(journey(status=None, outcome="cancelled", worker=None), 1.0)
    statistics.add(journey(status=429, outcome="refused", worker=None), 1.0)
    assert statistics.n_ended() == 4
    assert statistics.n_ended("failed") == 1
    assert statistics.n_retries == 2
    assert sum(statistics.latency.counts) == 1
    assert len(statistics.recent(1.0)) == 1
    assert set(statistics.ended) == {
        ("/v1/completions", "2xx", "finished"),
        ("/v1/completions", "5xx", "failed"),
        ("/v1/completions", "none", "cancelled"),
        ("/v1/completions", "4xx", "refused"),
    }


def test_only_the_last_minute_is_recent_the_newest_first() -> None:
    statistics = Statistics()
    for second in range(100):
        statistics.add(journey(accepted=second - 0.5), float(second))
    assert [sample.at for sample in statistics.recent(99.0)] == [
        float(n) for n in range(99, 38, -1)
    ]


def test_streams_that_were_predicted_are_scattered() -> None:
    statistics = Statistics()
    statistics.add(journey(first=0.5, predicted=(0.4, 1.0)), 1.0)
    statistics.add(journey(first=0.5), 1.0)
    statistics.add(journey(predicted=(0.4, 1.0)), 1.0)
    assert [(each.predicted, each.ttft) for each in statistics.scattered] == [(0.4, 0.5)]


def test_a_second_has_its_rate_and_the_percentiles_of_the_last_few() -> None:
    statistics = Statistics()
    for number in range(100):
        statistics.add(journey(first=number / 100), 1.0)
    statistics.tick(1000.0, 2.0)
    statistics.tick(1001.0, 1.0)
    first, second = statistics.series
    assert (first.time, first.rate) == (1000.0, 50.0)
    assert (second.time, second.rate) == (1001.0, 0.0)
    assert first.ttft_p50 == second.ttft_p50 == pytest.approx(0.495)
    assert statistics.rate == 25.0
    for _ in range(5):
        statistics.tick(1002.0, 1.0)
    assert statistics.series[-1].ttft_p50 is None


def test_a_busy_second_is_told_by_a_part_of_it() -> None:
    statistics = Statistics()
    for number in range(5000):
        statistics.add(journey(first=number / 5000), 1.0)
    statistics.tick(1000.0, 1.0)
    point = statistics.series[-1]
    assert point.rate == 5000.0
    assert point.ttft_p50 == pytest.approx(0.5, abs=0.01)
    assert point.ttft_p95 == pytest.approx(0.95, abs=0.01)


def test_nothing_grows_without_end() -> None:
    statistics = Statistics()
    for number in range(N_RECENT + 10):
        statistics.add(journey(first=0.1, predicted=(0.1, 0.2)), 1.0)
        if number < 2 * N_POINTS:
            statistics.tick(0.0, 1.0)
    assert len(statistics.recent(1.0)) == N_RECENT
    assert len(statistics.series) == N_POINTS
    assert len(statistics.scattered) == N_SCATTERED
    assert statistics.n_ended() == N_RECENT + 10


def test_nothing_is_said_of_nothing() -> None:
    statistics = Statistics()
    assert statistics.rate == 0.0
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}
    statistics.tick(1.0, 0.0)
    assert statistics.series[-1].rate == 0.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_percentiles_are_numpys(values: list[float]) -> None:
    assert list(percentiles(values).values()) == np.percentile(values, [50, 95, 99]).tolist()


def test_the_hit_rate_is_of_the_tokens_that_were_told() -> None:
    statistics = Statistics()
    statistics.add(journey(usage=Usage(100, 50, 1)), 1.0)
    statistics.add(journey(usage=Usage(300, 150, 1)), 1.0)
    statistics.add(journey(usage=Usage(1000, None, 1)), 1.0)
    assert hit_rate(statistics.recent(1.0)) == 0.5
    assert hit_rate([]) is None
