"""A second worker for a request whose first is slow to begin: who has something first answers.

Each of the two is a journey of its own until one of them answers the client; the other is then hung
up on. A first one that is outrun has failed, for the router: who hangs would otherwise look idle,
and be chosen for ever. Whoever stops the request stops both.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from triskele.serve.gateway.journey import Journey, Stop

Claim = Callable[[], bool]
Ask = Callable[[Journey, Claim], Coroutine[Any, Any, bool]]


async def hedged(
    journey: Journey, ask: Ask, *, seconds: float, may_ask_another: Callable[[], bool]
) -> bool:
    """Ask one worker, and another one beside it if the first has nothing yet.

    Parameters
    ----------
    journey
        What is asked; at the end it is that of the worker that answered, or of the last.
    ask
        Asks a worker and returns whether the client has its answer. It is given a journey, and what
        says whether its answer is the one that counts: the first to call it is, and no other.
    seconds
        How long the first is waited for.
    may_ask_another
        Whether there is another to be asked then.
    """
    race = _Race(journey, ask)
    race.enter()
    try:
        await race.wait(seconds)
        race.adopt()
        if not race.is_decided and may_ask_another():
            race.enter(may_ask_another)
        await race.wait()
        return race.is_answered()
    except BaseException as error:
        is_over, task = race.is_over, asyncio.current_task()
        race.stop()
        await race.wait()
        if not isinstance(error, asyncio.CancelledError) or not is_over or task is None:
            raise
        # Who answered had ended already: a client whose answer is broken off goes, too.
        task.uncancel()
        return race.is_answered()
    finally:
        race.end()


class _Race:
    """Workers that are asked at once."""

    def __init__(self, journey: Journey, ask: Ask) -> None:
        self._journey = journey
        self._ask: Ask | None = ask
        self._twins: dict[asyncio.Task[bool], Journey] = {}
        self._winner: Journey | None = None

    @property
    def is_decided(self) -> bool:
        """Whether one of them answers, or has failed: a failure is for the next attempt."""
        return self._winner is not None or any(task.done() for task in self._twins)

    @property
    def is_over(self) -> bool:
        """Whether who answers the client has done so, to its end or not."""
        return any(
            twin is self._winner and task.done() and not task.cancelled()
            for task, twin in self._twins.items()
        )

    def enter(self, if_still: Callable[[], bool] | None = None) -> None:
        """Ask one more, if that may still be when its turn comes."""
        twin = self._journey.twin()
        task = asyncio.create_task(self._run(twin, if_still))
        twin.runs_in(task)
        self._twins[task] = twin

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until all are done, or for so long."""
        await asyncio.wait(self._twins, timeout=seconds)

    def stop(self) -> None:
        """Stop them all, for the reason for which the journey was stopped."""
        for task, twin in self._twins.items():
            if self._journey.stop is Stop.EXPIRED:
                twin.expire()
            else:
                task.cancel()

    def adopt(self) -> None:
        """Let the journey be that of who answers, or of who was asked last."""
        for twin in self._twins.values():
            self._journey.adopt(twin)
        if self._winner is not None:
            self._journey.adopt(self._winner)

    def is_answered(self) -> bool:
        """Return whether one has answered; raises what went wrong here."""
        answered = False
        for task in self._twins:
            with suppress(asyncio.CancelledError):
                answered = task.result() or answered
        return answered

    def end(self) -> None:
        """Tell the journey how it went, and leave nothing that refers to itself."""
        self.adopt()
        for task in self._twins:
            with suppress(asyncio.CancelledError, asyncio.InvalidStateError):
                task.exception()
        self._twins.clear()
        self._ask = None

    async def _run(self, twin: Journey, if_still: Callable[[], bool] | None) -> bool:
        if self._ask is None or not (if_still is None or if_still()):
            return False
        return await self._ask(twin, lambda: self._claim(twin))

    def _claim(self, twin: Journey) -> bool:
        if self._winner is None:
            self._winner = twin
            is_before = True
            for task, other in self._twins.items():
                if other is twin:
                    is_before = False
                elif is_before:
                    other.outrun()
                else:
                    task.cancel()
        return self._winner is twin
