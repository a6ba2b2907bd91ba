"""Workers that have models in common, and the router that chooses among them.

A request for a model that only some of a pool serve avoids the others, and so it does who is only
suspected while somebody else has the model, and who is on trial with another request.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from triskele.serve.gateway.health import State
from triskele.serve.gateway.member import Member
from triskele.serve.routing import Request, Router, Worker

Memory = dict[str, Any]
Prediction = Callable[[int], tuple[float, float] | None]
Expectation = Callable[[Request, Sequence[Worker], float], float]
logger = logging.getLogger(__name__)


@runtime_checkable
class Predictor(Protocol):
    """A router that says what it expects."""

    def predicted(self, request_id: int) -> tuple[float, float] | None:
        """Return the TTFT and the latency predicted of a request in flight, in seconds."""


@runtime_checkable
class Estimator(Protocol):
    """A router that says what a request would take."""

    def expect(self, request: Request, workers: Sequence[Worker], now: float) -> float:
        """Return the seconds to the end of a request where it is done soonest."""

    def burden(self, request: Request, workers: Sequence[Worker], now: float) -> float:
        """Return the seconds that a request would cost everyone where that is least."""


@runtime_checkable
class Learner(Protocol):
    """A router whose knowledge outlives it."""

    def state(self, *, caches: bool = True) -> Memory:
        """Return what it has learned, as plain values that JSON can hold.

        Without ``caches``, which are most of it, it says nothing of what workers hold.
        """

    def restore(self, state: Memory, workers: Sequence[Worker], now: float) -> None:
        """Take it up again, before the first choice; ``ValueError`` if it does not fit."""


class Pool:
    """Workers that have models in common, and their router.

    Parameters
    ----------
    members, router
        See below.
    make_router
        Makes another router, should this one not take up what is remembered.

    Attributes
    ----------
    members
        All of them, usable or not.
    router
        What chooses among them; after the first choice it may be another.
    memory
        What an earlier router of theirs had learned; taken up with the first choice, by workers
        that may be used then: to the others' caches it is as if they had left.
    predicted
        Says what the router expects of a request in flight: TTFT and latency in seconds.
    """

    def __init__(
        self, members: list[Member], router: Router, make_router: Callable[[], Router]
    ) -> None:
        self.members = members
        self.memory: Memory | None = None
        self.predicted: Prediction = _nothing
        self._expect: Expectation | None = None
        self._burden: Expectation | None = None
        self.router = self.route(router)
        self._models = frozenset[str]().union(*(member.models for member in members))
        self._make_router = make_router
        self._by_name = {member.name: member for member in members}
        self._offered: tuple[Worker, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._avoided: dict[str, tuple[str, ...]] = {}
        self._is_on_trial = False
        self.refresh()

    def route(self, router: Router) -> Router:
        """Choose by another router from now on."""
        self.router = router
        self.predicted = router.predicted if isinstance(router, Predictor) else _nothing
        self._expect = router.expect if isinstance(router, Estimator) else None
        self._burden = router.burden if isinstance(router, Estimator) else None
        return router

    @property
    def models(self) -> frozenset[str]:
        """Models that any of them serves."""
        return self._models

    @property
    def offered(self) -> tuple[Worker, ...]:
        """What routers may choose from now; who is only suspected if a model has no other."""
        return self._offered

    def refresh(self) -> None:
        """See anew who may be used."""
        by_state = {
            state: [each for each in self.members if each.health.state is state]
            for state in (State.READY, State.SUSPECT)
        }
        served = frozenset[str]().union(*(member.models for member in by_state[State.READY]))
        # Who is suspected is asked for what nobody else has.
        last = [each for each in by_state[State.SUSPECT] if not each.models <= served]
        usable = [each for each in self.members if each in by_state[State.READY] or each in last]
        offered = tuple(member.worker for member in usable)
        if offered != self._offered:
            self._offered = offered
            self._names = frozenset(worker.name for worker in offered)
        self._is_on_trial = any(member.health.is_on_trial for member in usable)
        self._avoided = {
            model: tuple(
                member.name
                for member in usable
                if model not in member.models or (member in last and model in served)
            )
            for model in self._models
        }

    def avoided(self, model: str, tried: Sequence[str] = ()) -> tuple[str, ...]:
        """Return who should not be sent a request for a model now.

        That is who has not the model, who has tried the request, and who is on trial with another;
        but of the last two as few as it takes to leave somebody who has the model.
        """
        unfit = self._avoided.get(model, ())
        if not tried and not self._is_on_trial:
            return unfit
        busy = [
            member.name
            for member in self.members
            if member.health.is_on_trial and not member.health.is_routable
        ]
        for names in ((*unfit, *tried, *busy), (*unfit, *tried)):
            if not self._names <= set(names):
                return names
        return unfit

    def n_usable(self, model: str) -> int:
        """Return how many may be sent a request for a model."""
        return len(self._offered) - len(self._avoided.get(model, ()))

    def expect(self, request: Request, now: float) -> float | None:
        """Return the seconds that a request would take here, if the router can tell."""
        if self._expect is None or not self._offered:
            return None
        return self._expect(request, self._offered, now)

    def burden(self, request: Request, now: float) -> float | None:
        """Return the seconds that a request would cost everyone, if the router can tell."""
        if self._burden is None or not self._offered:
            return None
        return self._burden(request, self._offered, now)

    def choose(self, request: Request, now: float) -> Member:
        """Return where to send a request; somebody must be offered."""
        if self.memory is not None:
            self._recall(self.memory, now)
        return self._by_name[self.router.choose(request, self._offered, now).name]

    def _recall(self, memory: Memory, now: float) -> None:
        """Let the router take up what is remembered, for the workers that are there by now."""
        self.memory = None
        if isinstance(self.router, Learner):
            try:
                self.router.restore(memory, self._offered, now)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                logger.warning("what was learned before is not taken up: %s", error)
                # It may have taken up a part of it.
                self.route(self._make_router())


def _nothing(request_id: int) -> None:
    """Expect nothing."""
