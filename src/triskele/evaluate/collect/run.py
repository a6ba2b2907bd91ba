"""Makes the calls of an agenda: many at once, again where it helps, within bounds, none twice.

Every endpoint has so many workers, who take one call each. What a call comes to is in the ledger
before its worker takes the next. When the work is to stop, for whatever reason, calls under way are
finished and none is begun. Clock, sleep and randomness are arguments; the network is a protocol.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from triskele.evaluate.collect.budget import Budget
from triskele.evaluate.collect.entries import lost_entry, refused_entry, reply_entry
from triskele.evaluate.collect.estimate import Estimator
from triskele.evaluate.collect.faults import EndpointFault, RequestFault, TransientFault
from triskele.evaluate.collect.ledger import Entry, Ledger
from triskele.evaluate.collect.plan import Agenda, Call
from triskele.evaluate.collect.prices import Amount
from triskele.evaluate.collect.reply import Reply
from triskele.evaluate.collect.request import Request
from triskele.evaluate.collect.retry import Backoff
from triskele.evaluate.collect.tokens import TokenCounter

MOST_IN_A_ROW = 10
"""Calls to one model that come to nothing, one after the other, before all is stopped."""


class Asker(Protocol):
    """Sends one request; raises the faults of ``faults``."""

    async def ask(self, endpoint: str, request: Request) -> Reply:
        """Return the reply of an endpoint to a request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How hard to press: calls at once by endpoint, retries, and a time to begin no more calls."""

    concurrency: Mapping[str, int]
    backoff: Backoff
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the work is."""

    n_done: int
    n_calls: int
    n_under_way: int
    n_retries: int
    spent: Amount
    trouble: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the work ended.

    ``stopped`` says why before its end, None if it was done; ``is_error`` whether that reason has
    to be seen to. ``n_left`` calls came to nothing and can be made another time; ``trouble`` is
    the last thing that went wrong with a call.
    """

    stopped: str | None
    is_error: bool
    n_left: int
    n_retries: int
    trouble: str | None


class Collector:
    """Works through an agenda.

    Parameters
    ----------
    agenda
        The calls.
    ledger
        Takes down what they come to.
    asker
        Makes them.
    estimator, counter
        Say what a call may cost, and learn from what it did.
    budget
        What may be spent.
    pace
        How hard to press.
    clock
        Unix time.
    sleep
        Waits for so many seconds.
    rng
        Draws the jitter of waits.
    on_progress
        Is told whenever something has happened.
    """

    def __init__(
        self,
        agenda: Agenda,
        ledger: Ledger,
        asker: Asker,
        *,
        estimator: Estimator,
        counter: TokenCounter,
        budget: Budget,
        pace: Pace,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        rng: random.Random,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._agenda, self._ledger, self._asker = agenda, ledger, asker
        self._estimator, self._counter, self._budget = estimator, counter, budget
        self._pace, self._clock, self._sleep, self._rng = pace, clock, sleep, rng
        self._on_progress = on_progress
        self._changed, self._stopping = asyncio.Event(), asyncio.Event()
        self._stopped: str | None = None
        self._is_error = False
        self._pauses: dict[str, float] = {}
        self._in_a_row: Counter[str] = Counter()
        self._n_left = self._n_retries = self._n_short = 0
        self._trouble: str | None = None

    def stop(self, reason: str, *, is_error: bool = False) -> None:
        """Begin no more calls; the first reason counts."""
        if self._stopped is None:
            self._stopped, self._is_error = reason, is_error
            self._stopping.set()
        self._pulse()

    async def run(self) -> Outcome:
        """Make the calls until none is left or something stops it.

        Raises
        ------
        OSError
            If the ledger cannot be written.
        """
        workers = [
            asyncio.create_task(self._work(endpoint))
            for endpoint, n_workers in self._pace.concurrency.items()
            for _ in range(n_workers)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return Outcome(
            stopped=self._stopped,
            is_error=self._is_error,
            n_left=self._n_left,
            n_retries=self._n_retries,
            trouble=self._trouble,
        )

    async def _work(self, endpoint: str) -> None:
        while self._stopped is None and not self._agenda.is_finished:
            call = self._agenda.take(endpoint)
            if call is None:
                await self._changed.wait()
                continue
            await self._serve(call)
            self._pulse()

    async def _serve(self, call: Call) -> None:
        """Make a call, again if need be, and see to what it comes to."""
        n_failed = 0
        while True:
            most = self._estimator.most(call)
            if not await self._admit(call, most):
                return self._leave(call)
            began = self._clock()
            try:
                reply = await self._asker.ask(call.model.endpoint, call.request)
            except TransientFault as fault:
                n_failed += 1
                self._lose(call, began, most, fault)
                if n_failed > self._pace.backoff.n_retries:
                    self._leave(call)
                    return self._count_failure(call, str(fault))
                if not await self._back_off(call, n_failed, fault):
                    return self._leave(call)
            except RequestFault as fault:
                entry = refused_entry(call, str(fault), began=began, now=self._clock())
                return self._settle(call, entry, most)
            except EndpointFault as fault:
                self._budget.settle(most, actual=Amount())
                self._leave(call)
                return self.stop(str(fault), is_error=True)
            else:
                entry = reply_entry(call, reply, began=began, now=self._clock(), by=self._estimator)
                return self._settle(call, entry, most)

    async def _admit(self, call: Call, most: Amount) -> bool:
        """Wait until a call may be made, and reserve what it may cost; false if it may not."""
        is_verdict, endpoint = call.kind == "verdict", call.model.endpoint
        while self._stopped is None:
            now, deadline = self._clock(), self._pace.deadline
            fits = self._budget.fits(most)
            if deadline is not None and now >= deadline:
                self.stop("the deadline has passed")
            elif (pause := self._pauses.get(endpoint, now) - now) > 0:
                await self._rest(pause)
            elif fits and (is_verdict or not self._n_short):
                self._budget.reserve(most)
                return True
            elif not fits and self._budget.n_reserved == 0:
                self.stop("the next call might exceed the budget")
            else:
                # Answers give way to verdicts: an answer that is not judged is money lost.
                self._n_short += is_verdict
                await self._changed.wait()
                self._n_short -= is_verdict
        return False

    async def _rest(self, seconds: float) -> None:
        """Wait, but not beyond the deadline, nor when there is nothing to wait for any more."""
        deadline = self._pace.deadline
        if deadline is not None and self._clock() + seconds >= deadline:
            return self.stop("the deadline would pass before an endpoint is ready")
        tasks = {
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.ensure_future(self._stopping.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _back_off(self, call: Call, n_failed: int, fault: TransientFault) -> bool:
        """Wait before the next attempt; false if there is to be none."""
        self._n_retries += 1
        wait = self._pace.backoff.wait(n_failed, retry_after=fault.retry_after, rng=self._rng)
        if fault.retry_after is not None:
            # All calls to this endpoint keep away, not only the one that was told.
            until = self._clock() + fault.retry_after
            endpoint = call.model.endpoint
            self._pauses[endpoint] = max(until, self._pauses.get(endpoint, until))
        self._pulse()
        await self._rest(wait)
        return self._stopped is None

    def _settle(self, call: Call, entry: Entry, most: Amount) -> None:
        """Take down what a call came to, and see what follows from it."""
        self._ledger.append(entry)
        self._budget.settle(most, actual=self._estimator.spent(entry))
        self._counter.learn(entry)
        self._agenda.settle(entry)
        if entry.reason is not None:
            self._count_failure(call, entry.reason)
        elif entry.kind == "verdict" and entry.verdict is None:
            self._count_failure(call, f"{entry.model}: no verdict can be read in its reply")
        else:
            self._in_a_row[entry.model] = 0

    def _lose(self, call: Call, began: float, most: Amount, fault: TransientFault) -> None:
        """Take down an attempt that may have been billed."""
        self._trouble, actual = str(fault), Amount()
        if fault.may_be_billed:
            entry = lost_entry(call, str(fault), began=began, now=self._clock(), by=self._estimator)
            self._ledger.append(entry)
            actual = self._estimator.spent(entry)
        self._budget.settle(most, actual=actual)

    def _leave(self, call: Call) -> None:
        self._n_left += 1
        self._agenda.leave(call)

    def _count_failure(self, call: Call, reason: str) -> None:
        self._trouble = reason
        self._in_a_row[call.model.label] += 1
        if self._in_a_row[call.model.label] >= MOST_IN_A_ROW:
            self.stop(f"{MOST_IN_A_ROW} calls in a row came to nothing: {reason}", is_error=True)

    def _pulse(self) -> None:
        """Wake all who wait for a change, and tell how far the work is."""
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_progress(
            Progress(
                n_done=self._agenda.n_done,
                n_calls=self._agenda.n_calls,
                n_under_way=self._budget.n_reserved,
                n_retries=self._n_retries,
                spent=self._budget.spent,
                trouble=self._trouble,
            )
        )
