"""What every Router must do, whatever happens to its requests and to its workers."""

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.serve.routing.prompts import chained, failed, finished, first_token, pages_of, prompt

from triskele.serve.routing import CacheListener, Outcome, Phase, Router, Worker

NAMES = "abcde"
PAGES = st.lists(st.integers(0, 2), max_size=6).map(tuple)
LATENCIES = st.sampled_from([0.0, 0.01, 0.5, 30.0, 1e6])


def workers(names: str = "abcd", n_pages: int | None = 1000) -> tuple[Worker, ...]:
    return tuple(Worker(name, n_pages) for name in names)


class RouterContract:
    """Subclasses say how their router is made and how what it has reserved is read.

    Attributes
    ----------
    load_bound
        Most requests in flight to one of equal workers, relative to the mean, if none shares.
    """

    load_bound = inf

    def make(self, seed: int = 0) -> Router:
        raise NotImplementedError

    def reserved(self, router: Router) -> float:
        raise NotImplementedError

    def test_whatever_happens_it_chooses_among_those_offered_and_forgets_what_has_ended(
        self,
    ) -> None:
        run_state_machine_as_test(
            lambda: Events(self),
            settings=settings(max_examples=40, stateful_step_count=40, deadline=None),
        )

    def test_without_a_worker_it_refuses(self) -> None:
        router = self.make()
        for nobody in ((), []):
            with pytest.raises(ValueError, match="at least one worker, got none"):
                router.choose(prompt(1, 1), nobody, 0.0)
        router.choose(prompt(1, 1), workers(), 0.0)
        with pytest.raises(ValueError, match="at least one worker, got none"):
            router.choose(prompt(2, 1), (), 1.0)

    def test_one_name_twice_is_refused(self) -> None:
        with pytest.raises(ValueError, match="one name twice"):
            self.make().choose(prompt(1, 1), workers("aba"), 0.0)

    def test_a_single_worker_has_everything(self) -> None:
        (alone,) = fleet = workers("a")
        router = self.make()
        for number in range(50):
            pages = pages_of(number % 7, number % 5)
            assert router.choose(prompt(number, *pages), fleet, 0.1 * number) is alone

    def test_who_left_is_never_chosen_and_may_come_back(self) -> None:
        router = self.make()
        assert play(router, 200, [workers()])["b"] > 0
        assert play(router, 200, [workers("acd")], first=200)["b"] == 0
        assert play(router, 200, [workers()], first=400)["b"] > 0

    def test_names_that_come_and_go_for_good_take_each_others_place(self) -> None:
        router, waiting = self.make(), deque[tuple[int, Worker]]()
        for number in range(150):
            # Every name stays for three requests, of which the last two never end.
            fleet = tuple(Worker(f"pod-{number // 3 + n}", 50) for n in range(3))
            chosen = router.choose(prompt(number, *pages_of(1, 3), number), fleet, 0.1 * number)
            assert chosen in fleet
            waiting.append((number, chosen))
            if number % 3 == 0:
                over, worker = waiting.popleft()
                router.observe(finished(over, worker.name), 0.1 * number)
            check = getattr(router, "check", None)
            assert check is not None
            check()
        alone = (Worker("pod-999"),)
        router.choose(prompt(999, 1), alone, 20.0)
        router.observe(finished(999, "pod-999"), 20.0)
        assert self.reserved(router) == 0

    def test_who_does_not_count_tokens_is_understood(self) -> None:
        router, fleet = self.make(), workers()
        for number in range(40):
            name = router.choose(prompt(number, *pages_of(number, 3)), fleet, 0.1 * number).name
            if number % 2:
                told = Outcome(number, name, Phase.FIRST_TOKEN, 0.1)
                router.observe(told, 0.1 * number)
            router.observe(Outcome(number, name, Phase.FINISHED, 0.2), 0.1 * number)
        assert self.reserved(router) == 0

    def test_a_list_that_is_changed_in_place_is_a_change(self) -> None:
        router, fleet = self.make(), list(workers())
        for number in range(40):
            if number == 20:
                del fleet[1:]
            chosen = router.choose(prompt(number, *pages_of(number, 3)), fleet, 0.1 * number)
            assert chosen in fleet

    def test_a_request_in_flight_is_refused_and_leaves_no_trace(self) -> None:
        chosen: list[list[str]] = [[], []]
        for is_disturbed, names in enumerate(chosen):
            router = self.make()
            for number in range(60):
                now = 0.1 * number
                if is_disturbed and number:
                    with pytest.raises(ValueError, match="not in flight, got id"):
                        router.choose(prompt(number - 1, *pages_of(number, 5)), workers(), now)
                pages = (*pages_of(number % 5, 4), number)
                names.append(router.choose(prompt(number, *pages), workers(), now).name)
                if number % 3 == 0:
                    router.observe(finished(number, names[-1]), now)
                    # Over, so that the id may come again.
                    names.append(router.choose(prompt(number, *pages), workers(), now).name)
        assert chosen[0] == chosen[1]

    def test_who_failed_at_a_request_is_avoided_while_there_is_another(self) -> None:
        router, fleet = self.make(), workers()
        play(router, 100, [fleet])
        tried: list[str] = []
        for number in range(1000, 1004):
            request = replace(prompt(number, *pages_of(1, 8)), avoid=tuple(tried))
            tried.append(router.choose(request, fleet, 50.0).name)
        assert sorted(tried) == list("abcd")
        anyone = replace(prompt(1004, *pages_of(1, 8)), avoid=tuple("abcd"))
        assert router.choose(anyone, fleet, 50.0) in fleet
        for number, name in enumerate(tried, 1000):
            router.observe(failed(number, name), 51.0)
        assert play(router, 200, [fleet], first=2000).keys() == set("abcd")

    def test_the_same_seed_makes_the_same_choices(self) -> None:
        def names(seed: int) -> list[str]:
            router = self.make(seed)
            return list(choices(router, 100, [workers()], n_groups=9))

        assert names(3) == names(3)

    def test_the_order_of_equal_workers_changes_no_shares(self) -> None:
        shuffled = [tuple(random.Random(n).sample(workers(), 4)) for n in range(20)]
        for orders in ([workers()], [workers("dcba")], [workers("cdab")], shuffled):
            counts = play(self.make(), 400, orders)
            assert max(counts.values()) < 1.5 * 100
            assert min(counts[name] for name in "abcd") > 0.5 * 100

    def test_load_without_shared_prefixes_is_bounded(self) -> None:
        counts = play(self.make(), 80, [workers()], n_at_once=80)
        assert max(counts.values()) <= self.load_bound * 20

    def test_prompts_shorter_than_a_page_go_everywhere(self) -> None:
        for n_at_once in (1, 6, 400):
            counts = play(self.make(), 400, [workers()], n_pages=0, n_at_once=n_at_once)
            assert max(counts.values()) < 1.5 * 100
            assert min(counts[name] for name in "abcd") > 0.5 * 100


class Events(RuleBasedStateMachine):
    """Any order of requests, outcomes, joins, failures, returns and news of caches."""

    def __init__(self, contract: RouterContract) -> None:
        super().__init__()
        self.contract = contract
        self.router = contract.make()
        self.present = list(workers("ab", 8))
        self.heard: tuple[Worker, ...] | None = None
        self.is_deserted = False
        self.in_flight: dict[int, str] = {}
        self.over: list[tuple[int, str]] = []
        self.held: dict[str, set[tuple[int, ...]]] = {name: set() for name in NAMES}
        self.n_requests = 0
        self.now = 100.0

    @rule(
        pages=PAGES,
        session=st.sampled_from([None, "s", "t"]),
        is_retry=st.booleans(),
        avoid=st.sampled_from(["", "", "a", "bd", NAMES]),
    )
    def send(self, pages: tuple[int, ...], session: str | None, is_retry: bool, avoid: str) -> None:
        fleet = tuple(self.present)
        if not fleet:
            with pytest.raises(ValueError, match="at least one worker"):
                self.router.choose(prompt(-1, *pages), fleet, self.now)
            self.is_deserted = self.heard is not None
            return
        names = set() if self.is_deserted else {worker.name for worker in fleet}
        for number, name in list(self.in_flight.items()):
            if name not in names:
                self._end(number)
        free = [number for number, _ in self.over if number not in self.in_flight]
        number = free[-1] if is_retry and free else self.n_requests
        self.n_requests += 1
        request = replace(prompt(number, *pages, session=session), avoid=tuple(avoid))
        chosen = self.router.choose(request, fleet, self._advance())
        assert chosen in fleet
        assert chosen.name not in avoid or {each.name for each in fleet} <= set(avoid)
        self.heard, self.is_deserted = fleet, False
        self.in_flight[number] = chosen.name

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), latency=LATENCIES, is_told_twice=st.booleans())
    def answer(self, data: st.DataObject, latency: float, is_told_twice: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.in_flight)))
        for _ in range(1 + is_told_twice):
            self._observe(first_token(number, self.in_flight[number], latency))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), latency=LATENCIES, n_output=st.integers(0, 3), is_lost=st.booleans())
    def end(self, data: st.DataObject, latency: float, n_output: int, is_lost: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.in_flight)))
        name = self.in_flight[number]
        self._end(number)
        done = finished(number, name, latency, n_output)
        lost = failed(number, name, latency)
        if n_output == 0:
            lost = replace(lost, phase=Phase.CANCELLED)
        self._observe(lost if is_lost else done)

    @rule(data=st.data(), tell=st.sampled_from([first_token, finished, failed]))
    def tell_of_a_request_not_in_flight(self, data: st.DataObject, tell: object) -> None:
        strangers = [(-1, "a"), (-1, "nobody")]
        strangers += [(n, name) for n, name in self.over if self.in_flight.get(n) != name]
        strangers += [(n, "nobody") for n in self.in_flight]
        number, name = data.draw(st.sampled_from(strangers))
        before = self.contract.reserved(self.router)
        assert callable(tell)
        self._observe(tell(number, name))
        assert self.contract.reserved(self.router) == before

    @precondition(lambda self: self.in_flight and self.heard == tuple(self.present))
    @rule(data=st.data(), pages=PAGES)
    def send_again(self, data: st.DataObject, pages: tuple[int, ...]) -> None:
        if self.is_deserted:
            return
        number = data.draw(st.sampled_from(sorted(self.in_flight)))
        before = self.contract.reserved(self.router)
        with pytest.raises(ValueError, match="not in flight"):
            self.router.choose(prompt(number, *pages), tuple(self.present), self.now)
        assert self.contract.reserved(self.router) == before

    @rule(name=st.sampled_from(NAMES), at=st.integers(0, 4))
    def join(self, name: str, at: int) -> None:
        if all(worker.name != name for worker in self.present):
            self.present.insert(at, Worker(name, None if name == "e" else 8))

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        self.present = [worker for worker in self.present if worker.name != name]

    @rule(seed=st.integers(0, 9))
    def reorder(self, seed: int) -> None:
        random.Random(seed).shuffle(self.present)

    @rule(name=st.sampled_from(NAMES), pages=PAGES)
    def hear_of_stored_pages(self, name: str, pages: tuple[int, ...]) -> None:
        if isinstance(self.router, CacheListener):
            self.held[name] |= {pages[: n + 1] for n in range(len(pages))}
            self.router.stored(name, chained(*pages))

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def hear_of_an_evicted_page(self, data: st.DataObject, name: str) -> None:
        held = self.held[name]
        if isinstance(self.router, CacheListener) and held:
            leaves = sorted(held - {pages[:-1] for pages in held})
            leaf = data.draw(st.sampled_from(leaves))
            held.remove(leaf)
            self.router.removed(name, chained(*leaf)[-1:])

    @rule(name=st.sampled_from(NAMES))
    def hear_of_an_empty_cache(self, name: str) -> None:
        if isinstance(self.router, CacheListener):
            self.held[name].clear()
            self.router.cleared(name)

    @invariant()
    def what_is_reserved_is_of_those_in_flight(self) -> None:
        assert (self.contract.reserved(self.router) > 0) == bool(self.in_flight)

    @invariant()
    def it_is_consistent(self) -> None:
        check = getattr(self.router, "check", None)
        assert check is not None
        check()

    def teardown(self) -> None:
        for number, name in list(self.in_flight.items()):
            self._end(number)
            self._observe(finished(number, name))
        assert self.contract.reserved(self.router) == 0
        self.it_is_consistent()

    def _end(self, number: int) -> None:
        self.over.append((number, self.in_flight.pop(number)))

    def _observe(self, outcome: Outcome) -> None:
        self.router.observe(outcome, self._advance())

    def _advance(self) -> float:
        self.now += 0.25
        return self.now


def choices(
    router: Router,
    n: int,
    orders: Sequence[Sequence[Worker]],
    *,
    n_pages: int = 8,
    n_groups: int = 10**9,
    n_at_once: int = 6,
    first: int = 0,
) -> list[str]:
    """Return who was chosen for ``n`` requests, of which the last few are in flight."""
    names: list[str] = []
    in_flight: deque[tuple[int, str]] = deque()
    for number in range(first, first + n):
        now = 0.2 * number
        pages = (*pages_of(number % n_groups, n_pages // 2), *pages_of(number, n_pages)[::2])
        fleet = orders[number % len(orders)]
        names.append(router.choose(prompt(number, *pages[:n_pages]), fleet, now).name)
        in_flight.append((number, names[-1]))
        while len(in_flight) >= n_at_once:
            over, name = in_flight.popleft()
            router.observe(first_token(over, name), now)
            router.observe(finished(over, name), now)
    while in_flight:
        router.observe(finished(*in_flight.popleft()), 0.2 * (first + n))
    return names


def play(router: Router, n: int, orders: Sequence[Sequence[Worker]], **how: int) -> Counter[str]:
    """Return how many of ``n`` requests each worker got."""
    return Counter(choices(router, n, orders, **how))
