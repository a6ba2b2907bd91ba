import heapq
import json
from dataclasses import replace

import numpy as np
import pytest
from tests.contracts.router import LATENCIES, RouterContract, choices, workers
from tests.serve.cache.policies import POLICIES
from tests.serve.routing.fleet import (
    SECONDS,
    LinearFleet,
    fleet_of,
    relative_error,
    share,
    unshared,
    warmed,
)
from tests.serve.routing.prompts import (
    PAGE_SIZE,
    chained,
    failed,
    finished,
    first_token,
    pages_of,
    prompt,
)

from triskele.serve.routing import LearnedGreedy, Pricing, Router, Worker
from triskele.serve.routing.queues import ATTENDED, CONTEXT, QUEUED, RUNNING


class TestLearnedGreedy(RouterContract):
    load_bound = 1.1

    def make(self, seed: int = 0) -> Router:
        return learned()

    def reserved(self, router: Router) -> float:
        queues = router._queues
        features = queues.features[[QUEUED, ATTENDED, RUNNING, CONTEXT]]
        return float(len(queues) + queues.waiting.sum() + np.abs(features).sum())


class TestGreedyAlone(TestLearnedGreedy):
    def make(self, seed: int = 0) -> Router:
        return learned(pricing=Pricing(followers=0, interrupted=0, copies=0))


def learned(**how: object) -> LearnedGreedy:
    return LearnedGreedy(page_size=PAGE_SIZE, **how)


def held(router: LearnedGreedy, *pages: int) -> list[int]:
    out = np.zeros(len(router._roster))
    router._mirror.n_pages(chained(*pages), router._roster.mask, out)
    return out.astype(int).tolist()


@pytest.mark.parametrize("seconds", [0.02, 0.1, 2.0])
@pytest.mark.parametrize("load", [0.4, 0.9])
def test_the_speed_of_linear_workers_is_learned_in_a_hundred_requests(
    seconds: float, load: float
) -> None:
    fleet = fleet_of("abcd", **dict.fromkeys("abcd", seconds))
    served = fleet.serve(unshared(200, load=load, n_workers=4, seconds=seconds))
    assert relative_error(served[100:]) < 0.12
    fleet.router.check()


def test_latency_is_the_first_token_and_the_pace_of_the_others() -> None:
    fleet = warmed("ab", pace=0.05, n_output=21)
    (one,) = fleet.serve([(1.0, pages_of(1, 50))])
    assert one.predicted == pytest.approx((one.ttft, one.latency), rel=0.1)
    router = learned()
    for n_output in (0, 1):
        router.choose(prompt(n_output, 1, n_output=n_output), workers("a"), 0.0)
        ttft, latency = router.predicted(n_output)
        assert latency == ttft
    assert router.predicted(99) is None


def test_lengths_of_answers_are_expected_by_class_where_the_caller_fixes_none() -> None:
    router = learned()
    for number, n_output in enumerate((5, 500) * 10):
        kind = "long" if n_output == 500 else "short"
        router.choose(prompt(number, number, kind=kind, n_output=None), workers("a"), 0.0)
        router.observe(finished(number, "a", n_output=n_output), 0.0)
    answers = {}
    for number, kind in enumerate(("short", "long"), 100):
        router.choose(prompt(number, 7, kind=kind, n_output=None), workers("a"), 1.0)
        ttft, latency = router.predicted(number) or (0.0, 0.0)
        answers[kind] = latency - ttft
    assert answers["long"] / answers["short"] == pytest.approx(499 / 4, rel=0.2)


def test_of_equal_queues_the_holder_of_the_prefix_is_preferred() -> None:
    fleet, prefix = warmed(), pages_of(1, 60)
    ((one),) = fleet.serve([(1.0, prefix)])
    for number in range(2, 12):
        ((again),) = fleet.serve([(5.0, (*prefix, *pages_of(number, 6)))])
        assert again.worker == one.worker
        assert again.n_cached == 60 * PAGE_SIZE


def test_the_holder_is_left_when_its_queue_is_long_and_the_prefix_is_replicated() -> None:
    fleet, prefix = warmed(), pages_of(1, 60)
    ((one),) = fleet.serve([(1.0, prefix)])
    fleet.wait(5.0)
    burst = fleet.serve([(0.0, (*prefix, *pages_of(number, 6))) for number in range(2, 62)])
    assert {served.worker for served in burst[:3]} == {one.worker}
    assert min(share(burst, name) for name in "abcd") > 0.1
    # Each copy was computed once.
    assert sum(served.n_cached == 0 for served in burst) == 3
    assert held(fleet.router, *prefix) == [60] * 4


def test_a_worker_three_times_as_slow_gets_less_and_is_tried_again_when_it_has_recovered() -> None:
    fleet = fleet_of("abcd", d=3 * SECONDS)
    served = fleet.serve(unshared(900, load=0.7, n_workers=3 + 1 / 3))
    assert share(served[300:], "d") < 0.12 < 0.25 < min(share(served[300:], n) for n in "abc")
    assert relative_error(served[300:]) < 0.1
    fleet.wait(10.0)
    fleet.workers["d"].seconds = SECONDS
    served = fleet.serve(unshared(900, load=0.7, n_workers=4, first=20_000))
    assert share(served[300:], "d") == pytest.approx(0.25, abs=0.06)


def test_predictions_stay_positive_and_finite_whatever_is_observed() -> None:
    rng, router, fleet = np.random.default_rng(0), learned(), workers("abc", 50)
    extremes = [*LATENCIES.elements, 1e300]
    for number in range(3000):
        now = 0.05 * number
        pages = pages_of(int(rng.integers(20)), int(rng.choice([0, 1, 30, 200])))
        name = router.choose(prompt(number, *pages), fleet, now).name
        ttft, latency = router.predicted(number) or (0.0, 0.0)
        assert 0 < ttft <= latency < np.inf
        told = first_token(number, name, float(rng.choice(extremes)))
        router.observe(replace(told, n_cached=rng.choice([None, 0, 10**6])), now)
        router.observe(
            finished(number, name, float(rng.choice(extremes)), int(rng.integers(6))), now
        )
    router.check()
    for report in router.errors().values():
        assert report is not None
        assert np.isfinite(report.mean_absolute)


def test_a_worker_that_hung_once_does_not_spoil_what_is_known() -> None:
    fleet = warmed()
    name = fleet.router.choose(prompt(-1, *pages_of(1, 50)), fleet.present, fleet.now).name
    fleet.router.observe(first_token(-1, name, 3600.0), fleet.now)
    fleet.router.observe(finished(-1, name, 7200.0), fleet.now)
    served = fleet.serve(unshared(50, load=0.6, n_workers=4, first=20_000))
    assert relative_error(served) < 0.12


def test_answers_that_come_as_a_whole_teach_no_wrong_first_token() -> None:
    fleet = LinearFleet(learned(), dict.fromkeys("ab", SECONDS), n_output=50, pace=0.02)
    fleet.serve(unshared(200, load=0.5, n_workers=2))
    fleet.wait(30.0)
    fleet._streams = False
    whole = fleet.serve(unshared(200, load=0.3, n_workers=2, first=20_000))
    errors = [abs(one.predicted[1] - one.latency) / one.latency for one in whole[100:]]
    assert np.median(errors) < 0.15
    fleet.wait(30.0)
    # Nearly a second of answer is in no prediction of the first token.
    assert relative_error(whole[100:]) < 0.3
    fleet.router.check()


@pytest.mark.parametrize("n_cached", [None, 0])
def test_where_no_answer_streams_neither_part_goes_wrong_alone(n_cached: int | None) -> None:
    router, fleet = learned(), workers("ab")
    for number in range(500):
        name = router.choose(
            prompt(number, *pages_of(number, 60), n_output=26), fleet, 3.0 * number
        ).name
        whole = replace(finished(number, name, 2.8, 26), n_cached=n_cached)
        router.observe(whole, 3.0 * number + 2.8)
    router.check()
    router.choose(prompt(500, *pages_of(500, 60), n_output=26), fleet, 1500.0)
    ttft, latency = router.predicted(500) or (0.0, 0.0)
    assert latency == pytest.approx(2.8, rel=0.05)
    # Not told apart by anything but the priors: 0.116 and 0.02 seconds.
    assert 0.08 < ttft < 0.6
    assert (router._model.ttft.coefficients(1500.0)[QUEUED] > 0).all()
    # Affinity is still there.
    home = router.choose(prompt(501, *pages_of(7, 60), n_output=26), fleet, 1600.0).name
    router.observe(finished(501, home, 2.8, 26), 1603.0)
    for number in range(502, 512):
        now = 1700.0 + 5 * number
        pages = (*pages_of(7, 60), *pages_of(number, 2))
        assert router.choose(prompt(number, *pages, n_output=26), fleet, now).name == home
        router.observe(finished(number, home, 2.8, 26), now + 2.8)


def test_prompts_that_no_answer_streams_of_are_told_apart_by_their_lengths() -> None:
    fleet = LinearFleet(learned(), dict.fromkeys("ab", 3 * SECONDS), n_output=50, streams=False)
    served = fleet.serve(unshared(500, load=0.3, n_workers=2, seconds=3 * SECONDS))
    errors = [abs(one.predicted[1] - one.latency) / one.latency for one in served[300:]]
    assert np.median(errors) < 0.2
    assert fleet.router._model.ttft.shared[QUEUED] == pytest.approx(0.3, rel=0.4)


def test_of_an_answer_whose_length_nobody_tells_no_length_and_no_pace_is_learned() -> None:
    router = learned()
    for number, streams in enumerate((True, False)):
        router.choose(prompt(number, *pages_of(number, 50), n_output=None), workers("a"), 0.0)
        if streams:
            router.observe(replace(first_token(number, "a", 0.1), n_output=None), 0.1)
        before = router.state()
        router.observe(replace(finished(number, "a", 60.0), n_output=None), 60.0)
        assert {name: router.state()[name] for name in ("model", "lengths")} == {
            name: before[name] for name in ("model", "lengths")
        }
    assert len(router._queues) == 0
    reports = router.errors()
    assert reports["latency"] is not None
    assert reports["latency"].n == 2


@pytest.mark.parametrize("gap", [0.05, 0.15, 1.0])
def test_a_worker_that_fails_at_once_gets_little_and_is_tried_again(gap: float) -> None:
    fleet, n_failed = fleet_of("ab"), 0
    for number in range(1000):
        fleet.wait(gap)
        request = prompt(number, *pages_of(number, 30))
        name = fleet.router.choose(request, fleet.present, fleet.now).name
        if name == "b":
            n_failed += 1
            fleet.router.observe(failed(number, name, 0.01), fleet.now + 0.01)
        else:
            worker = fleet.workers[name]
            worker.free_at = max(worker.free_at, fleet.now) + 0.048
            ttft = worker.free_at - fleet.now + 0.02
            heapq.heappush(
                fleet._events, (fleet.now + ttft, 2 * number, first_token(number, name, ttft))
            )
            over = finished(number, name, ttft + 0.03)
            heapq.heappush(fleet._events, (fleet.now + over.latency, 2 * number + 1, over))
    assert 0 < n_failed < 150
    fleet.router.check()
    # It has recovered, and has its share again.
    fleet.wait(120.0)
    served = fleet.serve(unshared(200, load=0.5, n_workers=2))
    assert share(served[50:], "b") > 0.3


def test_who_is_known_to_have_no_room_is_not_chosen() -> None:
    router, fleet = learned(), (Worker("a", 9), Worker("b", 50), Worker("c", None))
    for number in range(30):
        assert router.choose(prompt(number, *pages_of(number, 10)), fleet, 0.1 * number).name != "a"
    assert router.choose(prompt(30, *pages_of(30, 9)), fleet, 3.0).name == "a"
    # Where nobody has, it does not matter.
    assert router.choose(prompt(31, *pages_of(31, 51)), fleet[:2], 3.0).name in "ab"


def test_what_is_learned_from_a_worker_that_names_its_cached_tokens_is_their_cost() -> None:
    router = learned()
    router.choose(prompt(0, *pages_of(1, 100)), workers("a"), 0.0)
    router.observe(first_token(0, "a"), 0.0)
    for number in range(1, 100):
        # The mirror says that all is held; the worker, which has restarted, computes it all.
        router.choose(prompt(number, *pages_of(1, 100)), workers("a"), float(number))
        told = replace(first_token(number, "a", 0.02 + 1.6 * 0.3), n_cached=0)
        router.observe(told, number + 0.5)
        router.observe(finished(number, "a", 0.6), number + 0.6)
    router.choose(prompt(100, *pages_of(2, 200)), workers("a"), 100.0)
    assert (router.predicted(100) or (0.0,))[0] == pytest.approx(0.02 + 3.2 * 0.3, rel=0.1)


def drained(fleet: LinearFleet) -> LearnedGreedy:
    fleet.wait(100.0)
    return fleet.router


@pytest.mark.parametrize("n_before", [0, 1, 300])
def test_what_is_restored_chooses_as_before(n_before: int) -> None:
    fleet = fleet_of("abc", c=2 * SECONDS, n_pages=500)
    jobs = list(unshared(n_before + 100, load=0.6, n_workers=2.5))
    # Every fourth has a prefix that others have, too.
    jobs = [
        (gap, (*pages_of(n % 8, 40), *pages) if n % 4 == 0 else pages)
        for n, (gap, pages) in enumerate(jobs)
    ]
    fleet.serve(jobs[:n_before])
    router = drained(fleet)
    # The last outcome is now: what fades is as far.
    name = router.choose(prompt(-1, 5), fleet.present, fleet.now).name
    router.observe(first_token(-1, name), fleet.now)
    router.observe(finished(-1, name), fleet.now)
    again = learned()
    again.restore(json.loads(json.dumps(router.state())), fleet.present, fleet.now)
    for number, (_, pages) in enumerate(jobs[n_before:]):
        now, chosen = fleet.now + number, []
        for one in (router, again):
            name = one.choose(prompt(10_000 + number, *pages), fleet.present, now).name
            chosen.append((name, one.predicted(10_000 + number)))
            if number % 3 == 0:
                one.observe(first_token(10_000 + number, name), now + 0.5)
                one.observe(finished(10_000 + number, name), now + 0.6)
        assert chosen[0][0] == chosen[1][0]
        assert chosen[0][1] == pytest.approx(chosen[1][1], rel=1e-6)
    again.check()


def test_who_was_not_there_at_the_restoration_begins_cold_but_known() -> None:
    fleet = warmed("ab", b=4 * SECONDS)
    fleet.serve([(1.0, pages_of(1, 50))] * 3)
    router, again = drained(fleet), learned()
    again.restore(router.state(), workers("ac"), 0.0)
    assert held(again, *pages_of(1, 50)) == [held(router, *pages_of(1, 50))[0], 0, 0]
    again.choose(prompt(1, 1), workers("abc"), 1.0)
    assert held(again, *pages_of(1, 50))[1] == 0
    own = again._model.ttft.coefficients(0.0) - again._model.ttft.shared[:, None]
    assert own[QUEUED, 1] > 0.05
    assert own[QUEUED, 2] == 0
    again.check()


def test_names_that_come_and_go_take_no_more_room_and_inherit_nothing() -> None:
    router = learned()
    for number in range(100):
        now, pod = 5.0 * number, f"pod-{number}"
        for half, fleet in enumerate(((Worker(pod),), (Worker(pod), Worker("a")))):
            request = prompt(2 * number + half, *pages_of(1, 40), *pages_of(number, half))
            name = router.choose(request, fleet, now).name
            router.observe(first_token(request.id, name, 9.0 if name == pod else 0.1), now + 1)
        # What its slot's former worker held and did is not its own.
        slot = router._roster.slot(pod)
        assert router._queues.features[RUNNING, slot] <= 2
        router.check()
    assert len(router._roster) <= 20
    again = learned()
    again.restore(json.loads(json.dumps(router.state())), (Worker("x"), Worker("a")), 0.0)
    x = again._roster.slot("x")
    assert again._roster.reused == [x]
    assert held(again, *pages_of(1, 40))[x] == 0
    assert (again._model.ttft.own[:, x] == 0).all()
    again.check()


def test_a_state_is_restored_only_where_it_fits() -> None:
    router = learned()
    router.choose(prompt(1, 1), workers("a"), 0.0)
    state = router.state()
    with pytest.raises(ValueError, match="has not routed yet"):
        router.restore(state, workers("a"), 0.0)
    with pytest.raises(ValueError, match="pages of 32 tokens, got 16"):
        LearnedGreedy(page_size=32).restore(state, workers("a"), 0.0)


def test_a_key_longer_than_the_mirror_is_held_by_its_beginning() -> None:
    router = learned(default_pages=30)
    fleet = (Worker("a", 10), Worker("b", None))
    for number in range(8):
        router.choose(prompt(number, *pages_of(number // 2, 100)), fleet, float(number))
        router.check()
    assert max(held(router, *pages_of(3, 100))) in (10, 30)
    for slot, capacity in enumerate((10, 30)):
        assert router._mirror.size(slot) <= capacity


@pytest.mark.parametrize("name", POLICIES)
def test_mirrors_evict_as_the_workers_do_and_never_hold_more(name: str) -> None:
    router = learned(eviction=POLICIES[name], default_pages=40)
    choices(router, 200, [(Worker("a", 25), Worker("b", None))], n_groups=6)
    router.check()
    assert 0 < router._mirror.size(0) <= 25
    assert 0 < router._mirror.size(1) <= 40


def test_a_worker_that_comes_back_is_cold_and_what_it_had_is_over() -> None:
    router, pages = learned(), pages_of(1, 20)
    router.choose(prompt(1, *pages), workers("a"), 0.0)
    router.choose(prompt(2, *pages_of(2, 3)), workers("b"), 1.0)
    assert router.predicted(1) is None
    router.choose(prompt(3, *pages_of(2, 3)), workers("ab"), 2.0)
    assert held(router, *pages) == [0, 0]
    # The same id, sent to another worker: what the first one says of it counts no more.
    router.choose(prompt(1, *pages), workers("b"), 3.0)
    router.observe(failed(1, "a"), 3.0)
    assert router.predicted(1) is not None
    router.check()


def test_a_worker_that_speaks_is_believed_and_credited_with_what_is_on_its_way() -> None:
    router, pages = learned(), pages_of(1, 20)
    router.choose(prompt(1, *pages), workers("a"), 0.0)
    assert held(router, *pages) == [20]
    router.stored("a", chained(*pages[:5]))
    assert held(router, *pages) == [5]
    router.choose(prompt(2, *pages), workers("a"), 1.0)
    assert held(router, *pages) == [20]
    # The first was sent before; what the second promises stays until it has arrived.
    router.observe(first_token(1, "a"), 1.5)
    assert held(router, *pages) == [20]
    router.observe(failed(2, "a"), 2.0)
    assert held(router, *pages) == [5]
    router.removed("a", chained(*pages[:5])[3:])
    assert held(router, *pages) == [3]
    router.cleared("a")
    router.stored("nobody", chained(1))
    assert held(router, *pages) == [0]
    router.choose(prompt(3, 1), workers("b"), 3.0)
    router.stored("a", chained(*pages))
    router.check()


def test_errors_are_of_first_tokens_and_of_whole_answers() -> None:
    router = learned()
    assert router.errors() == {"ttft": None, "latency": None}
    router.choose(prompt(1, *pages_of(1, 10)), workers("a"), 0.0)
    ttft, latency = router.predicted(1) or (0.0, 0.0)
    router.observe(first_token(1, "a", ttft - 0.01), 0.5)
    assert router.errors()["latency"] is None
    router.observe(finished(1, "a", latency + 0.5), 0.6)
    reports = router.errors()
    assert reports["ttft"] is not None
    assert reports["latency"] is not None
    assert (reports["ttft"].n, reports["ttft"].bias) == (1, pytest.approx(0.01))
    assert reports["latency"].bias == pytest.approx(-0.5)


def busy(pricing: Pricing) -> LearnedGreedy:
    """Return a router of two idle workers of which a has twenty answers running, and a prefix."""
    router, fleet, prefix = learned(pricing=pricing), workers("ab"), pages_of(1, 500)
    for number in range(20):
        name = router.choose(prompt(number, *prefix, number), fleet, 0.1 * number).name
        assert name == "a"
        router.observe(first_token(number, name, 0.02 if number else 0.82), 0.1 * number)
    return router


@pytest.mark.parametrize(("interrupted", "expected"), [(0.0, "a"), (1.0, "b")])
def test_work_costs_the_time_of_those_that_it_interrupts(interrupted: float, expected: str) -> None:
    router = busy(Pricing(followers=0, interrupted=interrupted, copies=0))
    # A third of it is cached where the answers run.
    request = prompt(99, *pages_of(1, 50), *pages_of(2, 100))
    assert router.choose(request, workers("ab"), 3.0).name == expected


@pytest.mark.parametrize(("followers", "expected"), [(0.0, "b"), (1.0, "a")])
def test_work_costs_the_delay_of_those_that_follow(followers: float, expected: str) -> None:
    router = learned(pricing=Pricing(followers=followers, interrupted=0, copies=0))
    fleet, prefix = workers("ab"), pages_of(1, 500)
    for number in range(200):
        now, pages = 0.01 * number, () if number else prefix
        name = router.choose(prompt(number, *pages), fleet, now).name
        router.observe(first_token(number, name, 0.022 if number else 0.82), now)
        router.observe(finished(number, name, 0.09 if number else 0.9), now)
    # a gets a queue of 0.12 seconds. Of the next, a holds all, and b would take 0.1 seconds.
    assert router.choose(prompt(500, *prefix, *pages_of(2, 75)), fleet, 2.0).name == "a"
    assert router.choose(prompt(501, *prefix[:60]), fleet, 2.0).name == expected


def test_a_price_on_copies_keeps_prefixes_together_where_caches_are_small() -> None:
    def n_hits(copies: float) -> int:
        router = learned(pricing=Pricing(followers=0, interrupted=0, copies=copies))
        fleet, rng = fleet_of("abcd", router, n_pages=700), np.random.default_rng(0)
        jobs = [
            (
                rng.exponential(0.025),
                (*pages_of(rng.integers(40).item(), 50), *pages_of(number, 30)),
            )
            for number in range(1000, 1600)
        ]
        return sum(one.n_cached for one in fleet.serve(jobs))

    assert n_hits(2.0) > 1.15 * n_hits(0.0)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="pages of at least one token, got 0"):
        LearnedGreedy(page_size=0)
    with pytest.raises(ValueError, match="highest load from 0 to below 1"):
        Pricing(load=1.0)
    with pytest.raises(ValueError, match="weights of at least 0"):
        Pricing(copies=-1.0)


def test_context_is_counted_in_the_pace() -> None:
    router = learned()
    router.choose(prompt(1, *pages_of(1, 100)), workers("a"), 0.0)
    router.observe(first_token(1, "a"), 0.5)
    assert router._queues.features[CONTEXT, 0] == pytest.approx(1600e-5)


def test_what_a_request_would_take_is_what_it_is_then_promised_and_nothing_is_sent() -> None:
    router = LearnedGreedy(page_size=16)
    fleet = (Worker("a", 100), Worker("b", 100))
    for number in range(40):
        name = router.choose(prompt(number, *pages_of(number % 3, 4)), fleet, 0.1 * number).name
        router.observe(first_token(number, name, 0.2), 0.1 * number + 0.01)
        router.observe(finished(number, name, 0.3, 4), 0.1 * number + 0.02)
    asked = prompt(99, *pages_of(1, 4))
    expected = router.expect(asked, fleet, 5.0)
    assert router.expect(asked, fleet, 5.0) == expected
    router.check()
    router.choose(asked, fleet, 5.0)
    promised = router.predicted(99)
    assert promised is not None
    assert promised[1] == pytest.approx(expected, rel=0.5)


def test_what_a_request_costs_everyone_is_its_latency_and_the_price_of_its_work() -> None:
    own_way = learned(pricing=Pricing(followers=0, interrupted=0, copies=0))
    fleet = (Worker("a", 100), Worker("b", 100))
    for router in (own_way, priced := learned()):
        for number in range(60):
            name = router.choose(prompt(number, *pages_of(number, 4)), fleet, 0.1 * number).name
            router.observe(first_token(number, name, 0.2), 0.1 * number + 0.01)
    asked = prompt(99, *pages_of(99, 4))
    assert own_way.burden(asked, fleet, 6.0) == own_way.expect(asked, fleet, 6.0)
    burden = priced.burden(asked, fleet, 6.0)
    assert burden > priced.expect(asked, fleet, 6.0)
    # Asking is no request: nothing is sent, and the demand is what it was.
    assert priced.burden(asked, fleet, 6.0) == burden
    assert priced.predicted(99) is None
    priced.check()


def test_a_worker_that_has_failed_costs_more_than_it_takes() -> None:
    router = learned(pricing=Pricing(followers=0, interrupted=0, copies=0))
    fleet = (Worker("a", 100),)
    router.choose(prompt(1, *pages_of(1, 4)), fleet, 0.0)
    router.observe(failed(1, "a", 0.1), 0.1)
    asked = prompt(2, *pages_of(2, 4))
    assert router.burden(asked, fleet, 0.2) > router.expect(asked, fleet, 0.2)
