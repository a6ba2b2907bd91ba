from math import isnan

import numpy as np
import pytest
from tests.serve.simulate.job_streams import job

from triskele.serve.simulate.answers import Run
from triskele.serve.simulate.result import COLUMNS, Result, Rows, Status


def answered(
    rows: Rows, id: int, at: float, ttft: float, latency: float, *, n_cached: int, worker: int
) -> None:
    """Write the row of a request of 100 tokens that was answered with 10."""
    asked = job(id, at, 100, 10, page_size=16)
    run = Run(
        asked,
        at,
        n_cached=n_cached,
        n_answered=10,
        n_preempted=id,
        admitted=at,
        first_token=at + ttft,
        finished=at + latency,
    )
    rows.add(asked, Status.FINISHED, worker=worker, run=run, predicted=(ttft + 1, latency + 1))


def small() -> Result:
    """Return four requests that were answered within ten seconds, and two that were not."""
    rows = Rows()
    answered(rows, 3, 3.0, ttft=1.0, latency=5.0, n_cached=60, worker=0)
    answered(rows, 1, 0.0, ttft=2.0, latency=4.0, n_cached=0, worker=0)
    rows.add(job(0, 4.0, 999, 10, page_size=16), Status.REJECTED)
    answered(rows, 2, 0.0, ttft=3.0, latency=10.0, n_cached=90, worker=2)
    lost = job(5, 1.0, 70, 10, page_size=16)
    run = Run(lost, 1.0, n_cached=48, n_answered=4, admitted=1.0, first_token=1.5, n_preempted=4)
    rows.add(lost, Status.FAILED, worker=1, run=run)
    answered(rows, 4, 6.0, ttft=0.5, latency=1.0, n_cached=50, worker=2)
    assert len(rows) == 6
    return rows.result(workers=["a", "b", "c"], page_size=16)


def test_rows_are_in_order_of_arrival_and_then_of_their_numbers() -> None:
    result = small()
    assert result["id"].tolist() == [1, 2, 5, 3, 0, 4]
    assert result["arrived"].tolist() == [0.0, 0.0, 1.0, 3.0, 4.0, 6.0]
    assert result["worker"].tolist() == [0, 2, 1, 0, -1, 2]
    assert set(result.columns) == set(COLUMNS)
    assert all(column.shape == (6,) for column in result.columns.values())


def test_what_has_not_happened_is_not_a_number() -> None:
    result = small()
    lost, rejected = 2, 4
    assert result["first_token"][lost] == 1.5
    assert isnan(result["finished"][lost])
    assert all(isnan(result[name][rejected]) for name in ("admitted", "first_token", "finished"))
    assert np.isnan(result["predicted_ttft"]).tolist() == [False, False, True, False, True, False]


def test_the_summary_is_of_those_who_were_answered_and_counts_the_others() -> None:
    summary = small().summary(slo=1.0)
    assert (summary.n_requests, summary.n_unanswered) == (6, 2)
    assert summary.ttft_p50 == 1.5
    assert summary.ttft_p95 == pytest.approx(2.85)
    assert summary.ttft_mean == 1.625
    assert summary.latency_p50 == 4.5
    assert summary.latency_p95 == pytest.approx(9.25)
    assert summary.latency_mean == 5.0
    assert summary.hit_rate == pytest.approx(200 / 400)
    # From the first arrival to the last end are ten seconds; two of four kept the objective.
    assert summary.throughput == pytest.approx(0.4)
    assert summary.goodput == pytest.approx(0.2)
    # 140 tokens computed by one worker, none by another, 60 by the last.
    assert summary.imbalance == pytest.approx(140 / (200 / 3))
    assert summary.n_preempted == 1 + 2 + 3 + 4 + 4


def test_latencies_are_of_those_who_were_answered_in_order_of_arrival() -> None:
    result = small()
    assert result.is_finished.tolist() == [True, True, False, True, False, True]
    assert result.ttft.tolist() == [2.0, 3.0, 1.0, 0.5]
    assert result.latency.tolist() == [4.0, 10.0, 5.0, 1.0]


def test_a_run_in_which_nobody_was_answered_has_rates_of_zero_and_no_latency() -> None:
    rows = Rows()
    nothing = rows.result(workers=["a"], page_size=16).summary()
    rows.add(job(0, 0.0, 999, page_size=16), Status.REJECTED)
    rejected = rows.result(workers=["a"], page_size=16).summary()
    assert (nothing.n_requests, rejected.n_requests, rejected.n_unanswered) == (0, 1, 1)
    for summary in (nothing, rejected):
        assert isnan(summary.ttft_p50)
        assert isnan(summary.latency_mean)
        assert (summary.throughput, summary.goodput, summary.hit_rate) == (0, 0, 0)
        assert summary.imbalance == 1


def test_an_earlier_result_stays_as_it_is_when_more_requests_end() -> None:
    rows = Rows()
    answered(rows, 1, 0.0, ttft=2.0, latency=4.0, n_cached=0, worker=0)
    before = rows.result(workers=["a"], page_size=16)
    answered(rows, 2, 0.0, ttft=2.0, latency=4.0, n_cached=0, worker=0)
    assert len(before["id"]) == 1
