"""One request from its arrival to its end: what the journal will say of it, and how it is stopped.

A journey is stopped from outside: its client goes away, which cancels its task; its time is over;
its worker is given up before it has begun to answer, and another is asked; or another that was
asked beside it has answered.
"""

import asyncio
from enum import Enum, auto
from typing import Any

from triskele.serve.gateway.prompt import Prompt
from triskele.serve.gateway.usage import UNKNOWN, Usage
from triskele.serve.http import Reply
from triskele.serve.routing.capability import Decision


class Stop(Enum):
    """Why a journey's task was cancelled, where not by its client."""

    EXPIRED = auto()
    ABANDONED = auto()
    OUTRUN = auto()


class Journey:
    """One request.

    Attributes
    ----------
    id
        As the client, the worker and the journal know it.
    endpoint
        The path.
    accepted, wall
        When it came, by the loop's clock and by the calendar.
    deadline
        When its time is over, by the loop's clock.
    """

    __slots__ = (
        "_task",
        "accepted",
        "deadline",
        "decision",
        "endpoint",
        "error",
        "first_event",
        "id",
        "key_name",
        "model",
        "n_retries",
        "outcome",
        "policy",
        "predicted",
        "prompt",
        "reply",
        "stop",
        "usage",
        "wall",
        "worker",
    )

    def __init__(
        self, id: str, endpoint: str, reply: Reply, *, accepted: float, wall: float, deadline: float
    ) -> None:
        self.id = id
        self.endpoint = endpoint
        self.reply = reply
        self.accepted = accepted
        self.wall = wall
        self.deadline = deadline
        self.key_name: str | None = None
        self.prompt: Prompt | None = None
        self.model = ""
        self.decision: Decision | None = None
        self.policy = ""
        self.worker: str | None = None
        self.n_retries = 0
        self.predicted: tuple[float, float] | None = None
        self.first_event: float | None = None
        self.usage: Usage = UNKNOWN
        self.outcome = "failed"
        self.error: str | None = None
        self.stop: Stop | None = None
        self._task: asyncio.Task[Any] | None = asyncio.current_task()

    def twin(self) -> "Journey":
        """Return the same request for one of several workers that are asked at once."""
        twin = Journey(
            self.id,
            self.endpoint,
            self.reply,
            accepted=self.accepted,
            wall=self.wall,
            deadline=self.deadline,
        )
        twin.prompt, twin.model, twin.decision = self.prompt, self.model, self.decision
        return twin

    def runs_in(self, task: "asyncio.Task[Any]") -> None:
        """Be stopped by cancelling this task."""
        self._task = task

    def adopt(self, twin: "Journey") -> None:
        """Take over how it went with a twin's worker, if it has asked one."""
        if twin.worker is None:
            return
        self.policy, self.worker, self.predicted = twin.policy, twin.worker, twin.predicted
        self.n_retries, self.first_event = twin.n_retries, twin.first_event
        self.usage, self.outcome = twin.usage, twin.outcome
        self.error = twin.error or self.error

    def expire(self) -> None:
        """Stop it: its time is over."""
        self._stop(Stop.EXPIRED)

    def abandon(self) -> None:
        """Give its worker up, unless the client has some of the answer already."""
        if not self.reply.started:
            self._stop(Stop.ABANDONED)

    def outrun(self) -> None:
        """Stop it: another worker, that was asked after its own, has answered."""
        self._stop(Stop.OUTRUN)

    def stopped(self) -> Stop | None:
        """Return why the task was cancelled, once; ``None`` if by its client, if only as well."""
        reason, self.stop = self.stop, None
        if reason is not None and self._task is not None and self._task.uncancel() > 0:
            return None
        return reason

    def _stop(self, reason: Stop) -> None:
        if self.stop is None and self._task is not None and not self._task.done():
            self.stop = reason
            self._task.cancel()
