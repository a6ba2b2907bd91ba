from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.oracles.replica import pages_of
from tests.serve.simulate.job_streams import Listed, job, job_streams, pages_needed

from triskele.serve.cache import EvictionPolicy, PrefixCache, least_recently_used
from triskele.serve.cache.offline import number_prefixes, unlimited_hits
from triskele.serve.routing import Outcome, Phase, Request, Worker, round_robin
from triskele.serve.simulate.cost import COSTS, CostModel
from triskele.serve.simulate.multi_turn import MultiTurn
from triskele.serve.simulate.replica import Batching
from triskele.serve.simulate.result import COLUMNS, Result, Status
from triskele.serve.simulate.shared_prefix import SharedPrefix
from triskele.serve.simulate.simulator import Change, Fleet, simulate
from triskele.serve.simulate.synthetic import Synthetic
from triskele.serve.simulate.workload import Job, Workload

COST = COSTS["llama-8b-a100"]
TOKENS_ONLY = CostModel(1.0)


def lru(n_pages: int, number: int) -> EvictionPolicy:
    return least_recently_used()


class Watcher:
    """Takes workers in turn, and writes down what it is told."""

    def __init__(self) -> None:
        self.inner = round_robin()
        self.sent: list[tuple[int, str, float]] = []
        self.outcomes: list[tuple[Outcome, float]] = []
        self.in_flight: set[int] = set()
        self.seen: list[int] = []
        self.held: dict[str, set[int]] = {}

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        self.seen.append(len(self.in_flight))
        worker = self.inner.choose(request, workers, now)
        self.in_flight.add(request.id)
        self.sent.append((request.id, worker.name, now))
        return worker

    def observe(self, outcome: Outcome, now: float) -> None:
        assert outcome.request_id in self.in_flight
        if outcome.phase is not Phase.FIRST_TOKEN:
            self.in_flight.remove(outcome.request_id)
        self.outcomes.append((outcome, now))
        self.inner.observe(outcome, now)

    def stored(self, worker: str, hashes: Sequence[int]) -> None:
        assert self.held.setdefault(worker, set()).isdisjoint(hashes)
        self.held[worker] |= set(hashes)

    def removed(self, worker: str, hashes: Sequence[int]) -> None:
        assert self.held.setdefault(worker, set()) >= set(hashes)
        self.held[worker] -= set(hashes)

    def cleared(self, worker: str) -> None:
        self.held[worker].clear()


def serve(
    workload: Workload, n_workers: int = 1, cost: CostModel = COST, **options: object
) -> Result:
    fleet = Fleet(costs=[cost] * n_workers, eviction=lru, **options)
    return simulate(workload, round_robin(), fleet)


def check_times(result: Result, *, network: float) -> None:
    """Assert that in no row time runs back."""
    done = result.is_finished
    admitted, first = result["admitted"][done], result["first_token"][done]
    assert np.all(admitted >= result["arrived"][done] + network - 1e-12)
    assert np.all(first > admitted)
    assert np.all(result["finished"][done] >= first)
    assert np.all(result["n_answered"][done] == result["n_output"][done])
    assert np.all(result["n_cached"][done] < result["n_prompt"][done])


@dataclass
class Queue:
    """Prompts of these lengths, at these times, with one token of answer and nothing to share."""

    times: NDArray[np.float64]
    lengths: NDArray[np.int64]
    page_size: int = 1 << 24

    @property
    def n_jobs(self) -> int:
        return len(self.times)

    def arrivals(self) -> Iterator[Job]:
        for id, (at, n) in enumerate(zip(self.times.tolist(), self.lengths.tolist(), strict=True)):
            yield Job(id, at, b"", b"", n, 1)

    def follow_up(self, job: Job, now: float) -> Job | None:
        return None


def queue(rng: np.random.Generator, load: float, *, n: int, constant: bool) -> Queue:
    """Return a queue whose jobs take a second on average at a millisecond per token."""
    times = np.cumsum(rng.exponential(1 / load, n))
    lengths = np.full(n, 1000.0) if constant else rng.exponential(1000, n)
    return Queue(times, np.maximum(1, np.rint(lengths)).astype(np.int64))


def wait_one_by_one(line: Queue, **options: object) -> NDArray[np.float64]:
    """Return how long each waits for a worker that serves one at a time."""
    result = serve(
        line,
        cost=CostModel(1.0, kv_tokens=1 << 24),
        batching=Batching(n_tokens=1 << 20, n_running=1),
        network=0.0,
        **options,
    )
    return np.asarray(result["admitted"] - result["arrived"])


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("constant", [False, True], ids=["M/M/1", "M/D/1"])
def test_the_mean_wait_is_that_of_queueing_theory(load: float, constant: bool) -> None:
    line = queue(np.random.default_rng(1), load, n=40_000, constant=constant)
    waits = wait_one_by_one(line)
    # Pollaczek and Khinchine: λE[S²]/2(1−ρ), where E[S²] is 2 or 1.
    assert waits.mean() == pytest.approx(load * (1 if constant else 2) / 2 / (1 - load), rel=0.04)
    # Lindley: a wait is the one before it, and its service, less the time between the arrivals.
    services, gaps = line.lengths[:-1] / 1000, np.diff(line.times)
    assert np.allclose(waits[1:], np.maximum(0, waits[:-1] + services - gaps), atol=1e-6)


def test_a_queue_is_bounded_below_full_load_and_grows_above() -> None:
    for load, grows in ((0.9, False), (1.1, True)):
        line = queue(np.random.default_rng(2), load, n=8_000, constant=True)
        quarters = wait_one_by_one(line).reshape(4, -1).mean(axis=1)
        assert bool(np.all(np.diff(quarters) > 100)) is grows
        assert bool(quarters.max() < 10) is not grows


def test_throughput_is_the_smaller_of_arrivals_and_capacity() -> None:
    for load, expected in ((0.7, 0.7), (2.0, 1.0)):
        line = queue(np.random.default_rng(3), load, n=5_000, constant=False)
        rate = serve(
            line,
            cost=CostModel(1.0, kv_tokens=1 << 24),
            batching=Batching(n_tokens=1 << 20, n_running=1),
        ).summary()
        capacity = 1000 / line.lengths.mean()
        arrivals = line.n_jobs / (line.times[-1] - line.times[0])
        assert rate.throughput <= min(arrivals, capacity) * 1.001
        assert rate.throughput == pytest.approx(expected, rel=0.03)


def test_arrivals_find_as_many_in_flight_as_littles_law_says() -> None:
    watcher = Watcher()
    workload = Synthetic(n_jobs=12_000, rate=14.0, output=40, page_size=64)
    fleet = Fleet(costs=[COST] * 2, eviction=lru, network=0.0)
    result = simulate(workload, watcher, fleet)
    span = result["arrived"][-1] - result["arrived"][0]
    # Poisson arrivals see what an observer sees at any time.
    assert np.mean(watcher.seen) == pytest.approx(result.latency.sum() / span, rel=0.02)


def test_the_median_latency_rises_with_the_rate_of_arrival() -> None:
    medians = []
    for rate in (2, 8, 14, 17):
        workload = SharedPrefix(rate=rate, seed=4)
        medians.append(serve(workload, 4).summary().latency_p50)
    assert medians == sorted(medians)
    assert medians[-1] > 1.5 * medians[0]


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Job], int, Fleet]:
    """Draw jobs, workers of several sizes, and failures and returns of these."""
    page_size = draw(st.sampled_from([1, 4, 16]))
    jobs = draw(job_streams(page_size, most_jobs=20, gap=30))
    n_most = pages_needed(jobs, page_size)
    sizes = draw(st.lists(st.integers(1, n_most + 4), min_size=1, max_size=3))
    costs = [CostModel(1.0, 3.0, 2.0, 0.0, 0.01, size * page_size) for size in sizes]
    times = sorted(draw(st.lists(st.floats(0, 0.5), max_size=8)))
    changes = [
        Change(at, draw(st.integers(0, len(sizes) - 1)), draw(st.booleans())) for at in times
    ]
    fleet = Fleet(
        costs=costs,
        eviction=lru,
        batching=Batching(draw(st.sampled_from([8, 8192])), draw(st.sampled_from([1, 4]))),
        network=draw(st.sampled_from([0.0, 0.0005, 0.02])),
        event_delay=draw(st.sampled_from([0.0, 0.01, 0.1])),
        changes=changes,
        n_attempts=draw(st.integers(1, 3)),
    )
    return jobs, page_size, fleet


@settings(max_examples=300, deadline=None)
@given(stories())
def test_every_job_ends_once_and_routers_know_all_whatever_fails(
    story: tuple[list[Job], int, Fleet],
) -> None:
    jobs, page_size, fleet = story
    watcher = Watcher()
    caches: list[PrefixCache] = []

    def remembered(n_pages: int, policy: EvictionPolicy) -> PrefixCache:
        caches.append(PrefixCache(n_pages, policy))
        return caches[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("triskele.serve.simulate.simulator.PrefixCache", remembered)
        result = simulate(Listed(jobs, page_size), watcher, fleet)

    assert sorted(result["id"]) == sorted(job.id for job in jobs)
    check_times(result, network=fleet.network)
    n_most = max(cost.kv_tokens for cost in fleet.costs) // page_size
    for row, status in zip(result["id"], result["status"], strict=True):
        too_large = pages_needed([jobs[int(row)]], page_size) > n_most
        assert (status == Status.REJECTED.value) == too_large

    assert not watcher.in_flight
    ends = Counter(o.request_id for o, _ in watcher.outcomes if o.phase is not Phase.FIRST_TOKEN)
    assert ends == Counter(id for id, _, _ in watcher.sent)
    assert all(n <= fleet.n_attempts for n in ends.values())
    assert np.all(np.diff([now for _, _, now in watcher.sent]) >= 0)
    assert np.all(np.diff([now for _, now in watcher.outcomes]) >= 0)
    for number, cache in enumerate(caches):
        cache.check()
        assert (cache.n_reserved, cache.n_pinned) == (0, 0)
        keys = [(job.key_after, cache.match(job.key_after).n_pages) for job in jobs]
        known = {page for key, n in keys for page in pages_of(key)[:n]}
        assert watcher.held.get(f"worker-{number}", set()) == known


@settings(max_examples=50, deadline=None)
@given(stories())
def test_the_same_story_gives_the_same_result(story: tuple[list[Job], int, Fleet]) -> None:
    jobs, page_size, fleet = story
    first, second = (simulate(Listed(jobs, page_size), round_robin(), fleet) for _ in range(2))
    for name in COLUMNS:
        assert np.array_equal(first[name], second[name], equal_nan=True)


def test_a_request_larger_than_any_cache_is_rejected_and_no_router_is_asked() -> None:
    watcher = Watcher()
    jobs = [job(0, 0.0, 161, page_size=16), job(1, 0.0, 100, page_size=16)]
    cost = replace(COST, kv_tokens=160)
    result = simulate(Listed(jobs, 16), watcher, Fleet(costs=[cost], eviction=lru))
    assert result["status"].tolist() == [Status.REJECTED.value, Status.FINISHED.value]
    assert result["worker"].tolist() == [-1, 0]
    assert np.isnan(result["admitted"][0])
    assert [id for id, _, _ in watcher.sent] == [1]


def test_a_request_sent_to_a_worker_too_small_for_it_is_sent_again() -> None:
    watcher = Watcher()
    costs = [replace(COST, kv_tokens=160), COST]
    large = Listed([job(0, 0.0, 1000, page_size=16)], 16)
    result = simulate(large, watcher, Fleet(costs=costs, eviction=lru, network=0.25))
    assert [name for _, name, _ in watcher.sent] == ["worker-0", "worker-1"]
    assert [outcome.phase for outcome, _ in watcher.outcomes] == [
        Phase.FAILED,
        Phase.FIRST_TOKEN,
        Phase.FINISHED,
    ]
    # Latencies count from the last time that it was routed.
    failed, _, finished = (outcome.latency for outcome, _ in watcher.outcomes)
    assert (failed, finished) == (0.5, result["finished"][0] + 0.25 - 0.5)
    assert result["admitted"].tolist() == [0.75]

    once = Fleet(costs=costs, eviction=lru, n_attempts=1)
    assert simulate(large, round_robin(), once)["status"].tolist() == [Status.FAILED.value]


def test_requests_wait_while_no_worker_that_can_hold_them_is_up() -> None:
    jobs = [job(0, 0.0, 1000, page_size=16), job(1, 0.0, 100, page_size=16)]
    costs = [COST, replace(COST, kv_tokens=160)]
    changes = [Change(5.0, 0, joins=True)]
    fleet = Fleet(costs=costs, eviction=lru, changes=changes, network=0.0)
    result = simulate(Listed(jobs, 16), round_robin(), fleet)
    assert result["admitted"].tolist() == [5.0, 0.0]
    assert result["worker"].tolist() == [0, 1]


def test_requests_fail_that_wait_for_a_worker_that_never_comes() -> None:
    watcher = Watcher()
    jobs = [job(0, 0.0, 10, 50, page_size=16), job(1, 9.0, 10, page_size=16)]
    fleet = Fleet(costs=[COST], eviction=lru, changes=[Change(0.1, 0, joins=False)])
    result = simulate(Listed(jobs, 16), watcher, fleet)
    assert result["status"].tolist() == [Status.FAILED.value] * 2
    assert len(watcher.sent) == 1


def test_a_worker_that_fails_comes_back_cold_and_its_requests_are_served_by_others() -> None:
    jobs = [
        job(0, 0.0, 64, 1, page_size=16, path=range(4)),
        job(1, 1.0, 64, 100, page_size=16, path=range(4)),
        job(2, 9.0, 64, 1, page_size=16, path=range(4)),
    ]
    changes = [
        Change(0.0, 1, joins=False),
        Change(1.3, 1, joins=True),
        Change(1.5, 0, joins=False),
        Change(8.0, 0, joins=True),
        Change(8.0, 1, joins=False),
    ]
    fleet = Fleet(costs=[COST] * 2, eviction=lru, changes=changes, network=0.0)
    result = simulate(Listed(jobs, 16), round_robin(), fleet)
    assert result["n_cached"].tolist() == [0, 0, 0]
    assert result["worker"].tolist() == [0, 1, 0]
    assert result["admitted"].tolist() == [0.0, 1.5, 9.0]


def test_a_request_whose_worker_fails_before_it_arrives_is_sent_to_another() -> None:
    watcher = Watcher()
    changes = [Change(0.2, 0, joins=False)]
    fleet = Fleet(costs=[COST] * 2, eviction=lru, changes=changes, network=0.25)
    result = simulate(Listed([job(0, 0.0, 64, page_size=16)], 16), watcher, fleet)
    assert watcher.sent == [(0, "worker-0", 0.0), (0, "worker-1", 0.5)]
    assert result["admitted"].tolist() == [0.75]


def test_a_request_fails_that_has_been_lost_once_too_often() -> None:
    story = Listed([job(0, 0.0, 10, 1000, page_size=16)], 16)
    changes = [Change(0.1 * n, 0, joins=n % 2 == 0) for n in range(1, 9)]
    for n_attempts, status in ((4, Status.FAILED), (5, Status.FINISHED)):
        fleet = Fleet(costs=[COST], eviction=lru, changes=changes, n_attempts=n_attempts)
        result = simulate(story, round_robin(), fleet)
        assert result["status"].tolist() == [status.value]


def test_nothing_is_found_where_nothing_is_shared() -> None:
    jobs = [job(id, 0.1 * id, 100, 30, page_size=16) for id in range(300)]
    result = serve(Listed(jobs, 16), 3)
    assert result.summary().hit_rate == 0
    assert result["n_cached"].sum() == 0


def test_one_large_cache_finds_all_that_came_before() -> None:
    rng = np.random.default_rng(5)
    jobs = [
        job(
            id,
            60.0 * id,
            int(rng.integers(1, 100)),
            page_size=4,
            path=rng.integers(0, 2, int(rng.integers(0, 9))).tolist(),
        )
        for id in range(400)
    ]
    found = serve(Listed(jobs, 4))["n_cached"]
    assert found.sum() > 2000
    # A page found at the end of a prompt is worth one token less: the last is always computed.
    lengths = np.array([job.n_prompt for job in jobs])
    n_whole = int(((found == lengths - 1) & (lengths % 4 == 0)).sum())
    requests = number_prefixes([job.key for job in jobs], 8)
    assert found.sum() == 4 * unlimited_hits(requests) - n_whole


def test_turns_of_a_conversation_come_after_the_answer_and_find_it() -> None:
    workload = MultiTurn()
    result = serve(workload, 2, network=0.25)
    assert len(result["id"]) == workload.n_jobs
    check_times(result, network=0.25)
    assert result.summary().hit_rate > 0.2


def test_a_router_hears_of_first_token_and_end_with_the_delay_of_the_network() -> None:
    watcher = Watcher()
    jobs = [job(0, 1.0, 64, 20, page_size=16), job(1, 3.0, 64, 1, page_size=16)]
    fleet = Fleet(costs=[COST], eviction=lru, network=0.25)
    result = simulate(Listed(jobs, 16), watcher, fleet)
    assert watcher.sent == [(0, "worker-0", 1.0), (1, "worker-0", 3.0)]
    for id in (0, 1):
        first, last = (pair for pair in watcher.outcomes if pair[0].request_id == id)
        assert first[0].phase is Phase.FIRST_TOKEN
        assert first[1] == result["first_token"][id] + 0.25
        assert last[0] == Outcome(
            id,
            "worker-0",
            Phase.FINISHED,
            last[1] - jobs[id].at,
            n_cached=int(result["n_cached"][id]),
            n_output=jobs[id].n_output,
        )
        assert last[1] == result["finished"][id] + 0.25


def test_a_router_is_told_of_no_cache_unless_workers_send_events() -> None:
    watcher = Watcher()
    jobs = [job(0, 0.0, 64, page_size=16)]
    simulate(Listed(jobs, 16), watcher, Fleet(costs=[COST], eviction=lru))
    assert not watcher.held


def test_what_a_router_predicted_is_written_beside_what_happened() -> None:
    @dataclass
    class Prophet(Watcher):
        asked: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            super().__init__()

        def predicted(self, request_id: int) -> tuple[float, float] | None:
            assert request_id in self.in_flight
            return (0.5, 2.0) if request_id else None

    jobs = [job(id, 0.0, 64, page_size=16) for id in range(2)]
    result = simulate(Listed(jobs, 16), Prophet(), Fleet(costs=[COST], eviction=lru))
    assert np.array_equal(result["predicted_ttft"], [np.nan, 0.5], equal_nan=True)
    assert np.array_equal(result["predicted_latency"], [np.nan, 2.0], equal_nan=True)


def test_progress_is_told_as_requests_end() -> None:
    told: list[tuple[int, float]] = []
    workload = Synthetic(n_jobs=1000)
    fleet = Fleet(costs=[COST] * 20, eviction=lru)
    simulate(workload, round_robin(), fleet, on_progress=lambda n, now: told.append((n, now)))
    assert [n for n, _ in told] == [256, 512, 768]
    assert told == sorted(told)


def test_a_workload_without_requests_has_a_result_without_rows() -> None:
    result = serve(Listed([], 16))
    assert len(result["id"]) == 0
    assert result.workers == ["worker-0"]


def test_what_runs_back_in_time_is_refused() -> None:
    for times in ((2.0, 1.0), (-1.0,), (0.0, float("nan"))):
        jobs = [job(id, at, 10, page_size=16) for id, at in enumerate(times)]
        with pytest.raises(ValueError, match="expected arrivals in order"):
            serve(Listed(jobs, 16))
    jobs = [job(0, 5.0, 10, page_size=16)]
    for at in (5.0, float("nan")):
        early = job(1, at, 10, page_size=16)
        follow = {0: early}
        with pytest.raises(ValueError, match="expected a follow-up after 5"):
            serve(Listed(jobs, 16, follow=lambda job, now, follow=follow: follow.get(job.id)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"costs": []}, "at least one worker, got none"),
        ({"network": -0.1}, "delays of at least 0 seconds"),
        ({"network": float("inf")}, "delays of at least 0 seconds"),
        ({"event_delay": -0.1}, "delays of at least 0 seconds"),
        ({"n_attempts": 0}, "at least one attempt, got 0"),
        ({"changes": [Change(2.0, 0, True), Change(1.0, 0, False)]}, "in order of time"),
        ({"changes": [Change(-1.0, 0, True)]}, "none before 0"),
        ({"changes": [Change(float("nan"), 0, True)]}, "in order of time"),
        ({"changes": [Change(1.0, 1, True)]}, "a worker below 1, got 1"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fleet(**{"costs": [COST], "eviction": lru, **options})


def test_a_worker_without_room_for_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="room for a page of 16 tokens, got 15"):
        serve(Listed([], 16), cost=replace(COST, kv_tokens=15))


def test_turns_after_one_without_an_answer_are_abandoned_and_not_dropped() -> None:
    workload = MultiTurn(conversations=6, turns=(4,), message=1024, rate=1.0)
    # Room for two messages and not for three.
    cost = CostModel(token=0.1, kv_tokens=2600)
    result = simulate(workload, round_robin(), Fleet(costs=[cost], eviction=lru))
    ends = [Status.FINISHED, Status.FINISHED, Status.REJECTED, Status.ABANDONED]
    assert len(result["id"]) == workload.n_jobs == 24
    assert sorted(result["status"]) == sorted(6 * [status.value for status in ends])
