import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluate.collect.calls import agenda, comparisons, entry

from triskele.evaluate.collect.budget import Bounds, Budget
from triskele.evaluate.collect.estimate import Estimator
from triskele.evaluate.collect.faults import EndpointFault, RequestFault, TransientFault
from triskele.evaluate.collect.ledger import Ledger
from triskele.evaluate.collect.plan import Asking
from triskele.evaluate.collect.prices import Amount, Price
from triskele.evaluate.collect.reply import Reply
from triskele.evaluate.collect.request import Request
from triskele.evaluate.collect.retry import Backoff
from triskele.evaluate.collect.run import MOST_IN_A_ROW, Collector, Outcome, Pace, Progress
from triskele.evaluate.collect.tokens import TokenCounter

PRICES = {"a": Price(10.0, 10.0), "b": Price(10.0, 10.0), "judge": Price(10.0, 10.0)}


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        # Whoever wakes first does so before the others.
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


class Answerer:
    """Answers at once, but for the faults it is told; ``luck`` is asked before every answer."""

    def __init__(self, luck: Callable[[Request], Exception | None] = lambda request: None) -> None:
        self.luck = luck
        self.asked: list[Request] = []
        self.n_at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.before: Callable[[], None] = lambda: None

    async def ask(self, endpoint: str, request: Request) -> Reply:
        self.asked.append(request)
        self.n_at_once[endpoint] += 1
        self.most_at_once[endpoint] = max(self.most_at_once[endpoint], self.n_at_once[endpoint])
        try:
            await asyncio.sleep(0)
            self.before()
            fault = self.luck(request)
            if fault is not None:
                raise fault
        finally:
            self.n_at_once[endpoint] -= 1
        is_judge = request.model == "judge"
        text = '{"verdict": "A"}' if is_judge else f"I am {request.model}."
        return Reply(text=text, finish="stop", tokens_in=60, tokens_out=40)


class Run:
    """A collection of votes on a few prompts, with all that can be told about it."""

    def __init__(self, folder: Path, asker: Answerer, n_prompts: int = 3, **pace: Any) -> None:
        self.folder, self.asker, self.clock = folder, asker, Clock()
        self.n_prompts = n_prompts
        self.bounds = Bounds()
        self.pace = {"concurrency": {"near": 2, "far": 2}, "backoff": Backoff(n_retries=2), **pace}
        self.seen: list[Progress] = []
        self.collector: Collector

    def go(self) -> Outcome:
        with Ledger(self.folder / "ledger.jsonl") as ledger:
            counter = TokenCounter()
            self.agenda = agenda(
                comparisons(self.n_prompts, "ab"),
                asking=Asking(answer_tokens=100, verdict_tokens=100),
                known=ledger.settled.get,
            )
            self.budget = Budget(self.bounds, spent=Amount())
            self.collector = Collector(
                self.agenda,
                ledger,
                self.asker,
                estimator=Estimator(counter, PRICES),
                counter=counter,
                budget=self.budget,
                pace=Pace(**self.pace),
                clock=self.clock,
                sleep=self.clock.sleep,
                rng=random.Random(0),
                on_progress=self.seen.append,
            )
            outcome = asyncio.run(self.collector.run())
            self.entries = list(ledger)
            self.agenda.check()
            ledger.check()
            return outcome


def once(fault: Exception, *, model: str = "") -> Callable[[Request], Exception | None]:
    """Fail the first request to a model, or to any."""
    faults = [fault]
    return lambda request: faults.pop() if faults and model in request.model else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_all_is_asked_once_and_taken_down(folder: Path) -> None:
    run = Run(folder, Answerer())
    outcome = run.go()
    assert outcome == Outcome(stopped=None, is_error=False, n_left=0, n_retries=0, trouble=None)
    assert len(run.asker.asked) == len(set(run.asker.asked)) == 3 * 4
    assert Counter(made.kind for made in run.entries) == {"answer": 6, "verdict": 6}
    assert len(list(run.agenda.judged())) == 3
    assert run.budget.spent == Amount(1200, pytest.approx(0.012))
    assert (run.seen[-1].n_done, run.seen[-1].n_calls) == (12, 12)
    assert run.clock.slept == []


@pytest.mark.parametrize("n_workers", [1, 3, 50])
def test_no_endpoint_is_asked_more_at_once_than_it_may(folder: Path, n_workers: int) -> None:
    run = Run(folder, Answerer(), n_prompts=20, concurrency={"near": n_workers, "far": 2})
    run.go()
    assert run.asker.most_at_once["near"] == min(n_workers, 40)
    assert run.asker.most_at_once["far"] <= 2


def test_a_fault_that_passes_is_waited_out(folder: Path) -> None:
    run = Run(folder, Answerer(once(TransientFault("busy"))))
    outcome = run.go()
    assert (outcome.stopped, outcome.n_left, outcome.n_retries) == (None, 0, 1)
    assert outcome.trouble == "busy"
    [slept] = run.clock.slept
    assert 0.5 <= slept <= 1.0
    assert len(run.asker.asked) == 13
    assert all(made.status == "done" for made in run.entries)


def test_waits_grow_and_end(folder: Path) -> None:
    run = Run(folder, Answerer(lambda request: TransientFault("busy")), n_prompts=1)
    run.pace["concurrency"] = {"near": 1, "far": 1}
    outcome = run.go()
    assert (outcome.n_left, outcome.n_retries, outcome.stopped) == (2, 4, None)
    assert len(run.asker.asked) == 2 * 3
    first, second = run.clock.slept[:2]
    assert 0.5 <= first <= 1.0 <= second <= 2.0
    assert run.entries == []


def test_an_endpoint_that_asks_for_time_gets_it_from_all_its_callers(folder: Path) -> None:
    run = Run(folder, Answerer(once(TransientFault("busy", retry_after=30.0))), n_prompts=4)
    asked_at: list[float] = []
    run.asker.before = lambda: asked_at.append(run.clock.now)
    run.go()
    # What was under way is answered; nothing more is asked before the time has come.
    assert asked_at[:2] == [1000.0, 1000.0]
    assert all(at >= 1030.0 for at in asked_at[2:])


def test_a_request_that_is_refused_is_not_repeated_and_stops_nobody(folder: Path) -> None:
    run = Run(folder, Answerer(once(RequestFault("too long"), model="model-a")))
    outcome = run.go()
    assert (outcome.stopped, outcome.n_left) == (None, 0)
    [failed] = [made for made in run.entries if made.status == "failed"]
    assert (failed.reason, failed.model, failed.tokens_out) == ("too long", "a", 0)
    assert len(list(run.agenda.judged())) == 2
    assert outcome.trouble == "too long"


def test_an_endpoint_that_is_of_no_use_stops_all_at_once(folder: Path) -> None:
    run = Run(folder, Answerer(lambda request: EndpointFault("refuses the key")), n_prompts=50)
    outcome = run.go()
    assert (outcome.stopped, outcome.is_error) == ("refuses the key", True)
    assert len(run.asker.asked) <= 2
    assert run.budget.n_reserved == 0


def test_many_failures_in_a_row_stop_all(folder: Path) -> None:
    run = Run(folder, Answerer(lambda request: RequestFault("no such thing")), n_prompts=50)
    outcome = run.go()
    assert outcome.is_error
    assert outcome.stopped == f"{MOST_IN_A_ROW} calls in a row came to nothing: no such thing"
    assert len(run.asker.asked) <= 2 * MOST_IN_A_ROW


def test_failures_with_successes_between_them_do_not(folder: Path) -> None:
    numbers = iter(range(10_000))
    run = Run(folder, Answerer(lambda r: None if next(numbers) % 3 else RequestFault("no")), 50)
    assert run.go().stopped is None
    assert sum(made.status == "failed" for made in run.entries) > MOST_IN_A_ROW


def test_a_judge_that_cannot_be_read_is_not_asked_for_ever(folder: Path) -> None:
    class Babbler(Answerer):
        async def ask(self, endpoint: str, request: Request) -> Reply:
            reply = await super().ask(endpoint, request)
            return Reply(text="Both are fine.") if request.model == "judge" else reply

    run = Run(folder, Babbler(), n_prompts=50)
    outcome = run.go()
    assert outcome.is_error
    assert "judge: no verdict can be read" in str(outcome.stopped)
    unread = [made for made in run.entries if made.kind == "verdict"]
    assert len(unread) >= MOST_IN_A_ROW
    assert all((made.status, made.verdict) == ("done", None) for made in unread)


def test_an_attempt_that_may_be_billed_is_taken_down_as_lost(folder: Path) -> None:
    run = Run(folder, Answerer(once(TransientFault("cut off", may_be_billed=True))))
    outcome = run.go()
    assert (outcome.stopped, outcome.n_left) == (None, 0)
    [lost] = [made for made in run.entries if made.status == "lost"]
    assert (lost.reason, lost.tokens_out) == ("cut off", 100)
    assert run.budget.spent.tokens == 12 * 100 + lost.tokens_in + 100


def test_no_call_is_made_that_might_exceed_the_budget(folder: Path) -> None:
    run = Run(folder, Answerer(), n_prompts=20)
    run.bounds = Bounds(cost=0.02)
    outcome = run.go()
    assert (outcome.stopped, outcome.is_error) == ("the next call might exceed the budget", False)
    assert 0.01 < run.budget.spent.cost <= 0.02
    assert run.budget.n_reserved == 0
    # Most of what was paid for is of use.
    assert len(list(run.agenda.judged())) >= 4


def test_a_budget_for_nothing_sends_nothing(folder: Path) -> None:
    run = Run(folder, Answerer())
    run.bounds = Bounds(tokens=10)
    assert run.go().stopped == "the next call might exceed the budget"
    assert run.asker.asked == []


def test_after_the_deadline_no_call_is_begun(folder: Path) -> None:
    run = Run(folder, Answerer(), n_prompts=50, deadline=1005.0)

    def tick() -> None:
        run.clock.now += 1.0

    run.asker.before = tick
    outcome = run.go()
    assert (outcome.stopped, outcome.is_error) == ("the deadline has passed", False)
    assert 5 <= len(run.asker.asked) <= 9


def test_nobody_waits_beyond_the_deadline(folder: Path) -> None:
    fault = TransientFault("busy", retry_after=600.0)
    run = Run(folder, Answerer(lambda request: fault), deadline=1060.0)
    outcome = run.go()
    assert "deadline" in str(outcome.stopped)
    assert run.clock.slept == []


def test_a_stop_finishes_what_is_under_way_and_begins_no_more(folder: Path) -> None:
    run = Run(folder, Answerer(), n_prompts=20)

    def stop() -> None:
        if len(run.asker.asked) == 6:
            run.collector.stop("enough")

    run.asker.before = stop
    outcome = run.go()
    assert (outcome.stopped, outcome.is_error) == ("enough", False)
    assert len(run.entries) == len(run.asker.asked) < 20
    assert run.budget.n_reserved == 0


def test_a_stop_ends_a_wait(folder: Path) -> None:
    run = Run(folder, Answerer(lambda request: TransientFault("busy", retry_after=3000.0)))

    async def forever(seconds: float) -> None:
        run.collector.stop("enough")
        await asyncio.Event().wait()

    run.clock.sleep = forever  # type: ignore[method-assign]
    outcome = run.go()
    assert outcome.stopped == "enough"


def test_the_first_reason_to_stop_counts(folder: Path) -> None:
    run = Run(folder, Answerer())

    def stop() -> None:
        run.collector.stop("first")
        run.collector.stop("second", is_error=True)

    run.asker.before = stop
    outcome = run.go()
    assert (outcome.stopped, outcome.is_error) == ("first", False)


def test_a_ledger_that_cannot_be_written_ends_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Ledger, made: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Ledger, "append", full)
    run = Run(folder, Answerer())
    with pytest.raises(OSError, match="no space"):
        run.go()
    assert len(run.asker.asked) <= 2


def faults() -> Iterator[st.SearchStrategy[Exception | None]]:
    yield st.none()
    yield st.just(TransientFault("busy"))
    yield st.just(TransientFault("busy", retry_after=5.0))
    yield st.just(TransientFault("cut off", may_be_billed=True))
    yield st.just(RequestFault("too long"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(*faults()), max_size=60),
    st.integers(1, 4),
    st.none() | st.integers(0, 4000),
)
def test_with_any_luck_what_is_settled_is_never_asked_again(
    tmp_path_factory: pytest.TempPathFactory,
    luck: list[Exception | None],
    n_workers: int,
    tokens: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    settled: set[str] = set()
    pending = list(luck)
    for bound in (tokens, None):
        asker = Answerer(lambda request: pending.pop(0) if pending else None)
        run = Run(folder, asker, n_prompts=4, concurrency={"near": n_workers, "far": n_workers})
        run.bounds = Bounds(tokens=bound)
        run.go()
        labels = {"model-a": "a", "model-b": "b", "judge": "judge"}
        asked = [request.key(labels[request.model]) for request in asker.asked]
        assert not settled & set(asked)
        attempts = Counter(asked)
        assert all(count <= 3 for count in attempts.values())
        settled |= {made.key for made in run.entries if made.status != "lost"}
        done = Counter(made.key for made in run.entries if made.status != "lost")
        assert max(done.values(), default=1) == 1
        if bound is not None:
            assert run.budget.spent.tokens <= bound
        assert run.budget.n_reserved == 0


def test_entries_before_the_run_are_not_touched(folder: Path) -> None:
    with Ledger(folder / "ledger.jsonl") as ledger:
        ledger.append(entry("other"))
    run = Run(folder, Answerer())
    run.go()
    assert run.entries[0] == entry("other")
    assert len(run.entries) == 13
