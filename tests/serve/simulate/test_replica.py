from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.replica import Entry, SlowReplica, pages_of
from tests.serve.cache.policies import POLICIES
from tests.serve.simulate.job_streams import job, job_streams, pages_needed

from triskele.serve.cache import EvictionPolicy, PrefixCache, least_recently_used
from triskele.serve.simulate.answers import Run
from triskele.serve.simulate.cost import CostModel
from triskele.serve.simulate.replica import Batching, Progress, Replica
from triskele.serve.simulate.workload import Job

# Whole milliseconds, so that a worker's iterations and a job's arrival never end together.
COST = CostModel(1.0, 3.0, 2.0, 2.0, 1.0)
TOKENS_ONLY = CostModel(1.0)


def worker(
    n_pages: int,
    page_size: int,
    batching: Batching | None = None,
    cost: CostModel = COST,
    policy: EvictionPolicy | None = None,
) -> Replica:
    return Replica(
        cost,
        PrefixCache(n_pages, policy or least_recently_used()),
        page_size=page_size,
        batching=batching or Batching(),
        tells=True,
    )


def check(replica: Replica) -> None:
    """Assert that no page is lost and none is held by nobody."""
    cache = replica.cache
    cache.check()
    assert cache.n_reserved + cache.n_pages + cache.n_free == cache.capacity
    if replica.n_running == 0:
        assert (cache.n_reserved, cache.n_pinned) == (0, 0)
    assert (replica.due is None) == (replica.n_running + replica.n_waiting == 0)


def drive(replica: Replica, jobs: list[Job], until: float = float("inf")) -> list[Run]:
    """Let jobs arrive and the replica go on when it is due."""
    runs = [Run(job, job.at) for job in jobs]
    coming = [run for run in runs if run.routed < until]
    while coming or replica.due is not None:
        if coming and (replica.due is None or coming[0].routed <= replica.due):
            run = coming.pop(0)
            replica.submit(run, run.routed)
        elif replica.due is None or replica.due >= until:
            break
        else:
            replica.advance(replica.due)
        check(replica)
    return runs


def facts(run: Run | Entry) -> tuple[object, ...]:
    return (
        run.job.id,
        pytest.approx(run.admitted, abs=1e-7),
        pytest.approx(run.first_token, abs=1e-7),
        pytest.approx(run.finished, abs=1e-7),
        run.n_cached,
        run.n_preempted,
        run.n_recomputed,
        run.n_answered,
    )


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Job], int, int, Batching]:
    """Draw jobs, a page size, a capacity that barely holds the largest, and limits."""
    page_size = draw(st.sampled_from([1, 2, 3, 5, 16]))
    jobs = draw(job_streams(page_size))
    n_most = pages_needed(jobs, page_size)
    n_pages = draw(st.one_of(st.integers(n_most, n_most + 6), st.just(n_most + 150)))
    n_running = draw(st.sampled_from([1, 2, 3, 8]))
    n_tokens = draw(st.sampled_from([8, 11, 64, 8192]))
    return jobs, page_size, n_pages, Batching(n_tokens, n_running)


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_it_does_what_a_worker_does_that_takes_one_iteration_after_the_other(
    scene: tuple[list[Job], int, int, Batching],
) -> None:
    jobs, page_size, n_pages, batching = scene
    slow = SlowReplica(
        COST,
        n_pages=n_pages,
        page_size=page_size,
        n_tokens=batching.n_tokens,
        n_running=batching.n_running,
    )
    expected = slow.serve(jobs)
    replica = worker(n_pages, page_size, batching)
    runs = drive(replica, jobs)
    assert [facts(run) for run in runs] == [facts(entry) for entry in expected]
    assert replica.cache.n_pages == len(slow.last_used)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_it_works_without_a_pause_and_every_token_is_found_or_computed(
    scene: tuple[list[Job], int, int, Batching],
) -> None:
    jobs, page_size, n_pages, batching = scene
    at_once = [replace(job, at=0.0) for job in jobs]
    runs = drive(worker(n_pages, page_size, batching, TOKENS_ONLY), at_once)
    # At a millisecond per token, the time it takes counts the tokens computed.
    end = max(run.finished or 0.0 for run in runs)
    n_computed = sum(
        run.job.n_prompt - run.n_cached + run.job.n_output - 1 + run.n_recomputed for run in runs
    )
    assert end == pytest.approx(1e-3 * n_computed)
    assert all(run.n_answered == run.job.n_output for run in runs)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_a_request_is_one_use_of_its_prefix_however_often_it_is_refused_or_preempted(
    scene: tuple[list[Job], int, int, Batching],
) -> None:
    jobs, page_size, n_pages, batching = scene
    replica = worker(n_pages, page_size, batching)
    drive(replica, jobs)
    assert replica.cache.account.n_asked == sum(len(job.key) // 8 for job in jobs)


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=25, deadline=None)
@given(scene=scenes())
def test_no_page_is_lost_whatever_is_evicted_first(
    name: str, scene: tuple[list[Job], int, int, Batching]
) -> None:
    jobs, page_size, n_pages, batching = scene
    # Checked after every step.
    runs = drive(worker(n_pages, page_size, batching, policy=POLICIES[name](n_pages)), jobs)
    assert all(run.n_answered == run.job.n_output for run in runs)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_what_it_tells_of_its_cache_in_order_is_what_the_cache_holds(
    scene: tuple[list[Job], int, int, Batching],
) -> None:
    jobs, page_size, n_pages, batching = scene
    replica = worker(n_pages, page_size, batching)
    told: set[int] = set()
    for progress in told_by(replica, jobs):
        assert len(set(progress.removed)) == len(progress.removed)
        assert told >= set(progress.removed)
        told -= set(progress.removed)
        assert len(set(progress.stored)) == len(progress.stored)
        assert told.isdisjoint(progress.stored)
        told |= set(progress.stored)
    assert told == cached(replica.cache, jobs)


@settings(max_examples=150, deadline=None)
@given(scenes(), st.floats(0, 0.6))
def test_a_worker_that_fails_returns_what_was_there_and_is_as_good_as_new(
    scene: tuple[list[Job], int, int, Batching], at: float
) -> None:
    jobs, page_size, n_pages, batching = scene
    replica = worker(n_pages, page_size, batching)
    runs = drive(replica, jobs, until=at)
    unfinished = {run.job.id for run in runs if run.job.at < at and run.finished is None}
    lost = replica.fail()
    assert sorted(run.job.id for run in lost) == sorted(unfinished)
    assert (replica.n_waiting, replica.n_running, replica.cache.n_pages) == (0, 0, 0)
    check(replica)
    told_again = [progress.stored for progress in told_by(replica, jobs)]
    fresh = worker(n_pages, page_size, batching)
    assert told_again == [progress.stored for progress in told_by(fresh, jobs)]
    assert cached(replica.cache, jobs) == cached(fresh.cache, jobs)


def test_a_request_that_comes_within_a_stretch_begins_when_the_iteration_ends() -> None:
    replica = worker(100, 16, cost=CostModel(0.0, weights=10.0))
    jobs = [
        job(0, 0.0, 5, 100, page_size=16),
        job(1, 0.1234, 5, 1, page_size=16),
        job(2, 0.1266, 5, 1, page_size=16),
    ]
    first, second, third = drive(replica, jobs)
    assert (second.admitted, second.first_token) == (pytest.approx(0.13), pytest.approx(0.14))
    assert (third.admitted, third.first_token) == (pytest.approx(0.13), pytest.approx(0.14))
    assert first.finished == pytest.approx(1.0)


def test_a_prompt_beyond_the_budget_is_computed_in_chunks_while_answers_go_on() -> None:
    replica = worker(100, 16, Batching(n_tokens=11, n_running=4), CostModel(0.0, weights=10.0))
    jobs = [job(0, 0.0, 5, 9, page_size=16), job(1, 0.015, 30, 1, page_size=16)]
    answer, prompt = drive(replica, jobs)
    assert prompt.admitted == pytest.approx(0.02)
    assert prompt.first_token == pytest.approx(0.05)
    assert answer.finished == pytest.approx(0.09)


def test_the_last_token_of_a_prompt_is_computed_though_all_its_pages_are_cached() -> None:
    replica = worker(100, 16)
    again = [
        job(0, 0.0, 32, 1, page_size=16, path=(0, 1)),
        job(1, 9.0, 32, 1, page_size=16, path=(0, 1)),
        job(2, 18.0, 40, 1, page_size=16, path=(0, 1)),
    ]
    assert [run.n_cached for run in drive(replica, again)] == [0, 31, 32]


def test_the_pages_of_an_answer_are_found_by_the_turn_that_follows() -> None:
    replica = worker(100, 16)
    turns = [
        # 16 tokens of answer, of which the last is not computed before it is asked on.
        job(0, 0.0, 16, 16, page_size=16, path=(0, 1)),
        job(1, 9.0, 16, 17, page_size=16, path=(5, 6)),
        job(2, 18.0, 40, 1, page_size=16, path=(0, 1)),
        job(3, 27.0, 40, 1, page_size=16, path=(5, 6)),
    ]
    assert [run.n_cached for run in drive(replica, turns)] == [0, 0, 16, 32]


def test_it_evicts_nothing_for_iterations_that_an_arrival_cuts_off() -> None:
    replica = worker(20, 1, cost=CostModel(0.0, weights=10.0))
    jobs = [
        job(0, 0.0, 8, 1, page_size=1, path=range(8)),
        job(1, 1.0, 1, 15, page_size=1, path=[9]),
        # Comes in the second iteration: the long answer has three pages, the first prompt all.
        job(2, 1.015, 8, 1, page_size=1, path=range(8)),
    ]
    assert [run.n_cached for run in drive(replica, jobs)] == [0, 0, 7]


def test_one_page_in_a_hundred_is_kept_for_answers_to_grow_unless_nobody_runs() -> None:
    for n_prompt, waits in ((49 * 16, False), (50 * 16, True)):
        jobs = [job(0, 0.0, 50 * 16, 1, page_size=16), job(1, 1.0, 50 * 16 - 9, 5, page_size=16)]
        jobs += [job(2, 1.0, n_prompt, 1, page_size=16)]
        replica = worker(100, 16, Batching(n_tokens=800, n_running=4))
        alone, first, second = drive(replica, jobs)
        assert alone.admitted == 0.0
        assert (second.admitted == first.finished) is waits


def test_it_tells_which_requests_it_can_ever_serve() -> None:
    replica = worker(4, 16)
    assert replica.fits(64)
    assert not replica.fits(65)


def test_a_batch_without_a_token_for_each_request_is_refused() -> None:
    for n_tokens, n_running in ((0, 0), (8, 0), (8, 9)):
        with pytest.raises(ValueError, match="a token for each of them"):
            Batching(n_tokens, n_running)


def told_by(replica: Replica, jobs: list[Job]) -> Iterator[Progress]:
    """Let jobs arrive and yield what each stretch brought."""
    coming = [Run(job, job.at) for job in jobs]
    while coming or replica.due is not None:
        if coming and (replica.due is None or coming[0].routed <= replica.due):
            run = coming.pop(0)
            replica.submit(run, run.routed)
        elif replica.due is not None:
            yield replica.advance(replica.due)


def cached(cache: PrefixCache, jobs: list[Job]) -> set[int]:
    """Return the pages of these jobs that a cache holds."""
    keys = [job.key_after for job in jobs]
    return {page for key in keys for page in pages_of(key)[: cache.match(key).n_pages]}
