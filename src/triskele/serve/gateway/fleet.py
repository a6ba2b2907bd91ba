"""The workers behind the gateway, and a router for each set of them that serves the same models.

Workers that have a model in common are one pool with one router, so that the router sees all of
their load; a request for a model that only some of a pool serve avoids the others. A worker that
fails or drains leaves what routers are offered and comes back to it; a change of the policy makes
new routers, while what is under way is told to the old.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from triskele.serve.gateway.health import Fault, State
from triskele.serve.gateway.member import Member
from triskele.serve.routing import Request, Router, Worker

Memory = dict[str, Any]
logger = logging.getLogger(__name__)


@runtime_checkable
class Predictor(Protocol):
    """A router that says what it expects."""

    def predicted(self, request_id: int) -> tuple[float, float] | None:
        """Return the TTFT and the latency predicted of a request in flight, in seconds."""


@runtime_checkable
class Learner(Protocol):
    """A router whose knowledge outlives it."""

    def state(self) -> Memory:
        """Return what it has learned, as plain values that JSON can hold."""

    def restore(self, state: Memory, workers: Sequence[Worker], now: float) -> None:
        """Take it up again, before the first choice; ``ValueError`` if it does not fit."""


Prediction = Callable[[int], tuple[float, float] | None]


def _nothing(request_id: int) -> None:
    """Expect nothing."""


class Pool:
    """Workers that have models in common, and their router.

    Attributes
    ----------
    members
        All of them, usable or not.
    router
        What chooses among them.
    memory
        What an earlier router of theirs had learned; taken up with the first choice.
    predicted
        Says what the router expects of a request in flight: TTFT and latency in seconds.
    """

    def __init__(self, members: list[Member], router: Router) -> None:
        self.members = members
        self.memory: Memory | None = None
        self.predicted: Prediction = _nothing
        self.router = self.route(router)
        self._by_name = {member.name: member for member in members}
        self._offered: tuple[Worker, ...] = ()
        self._avoided: dict[str, tuple[str, ...]] = {}
        self._is_on_trial = False
        self.refresh()

    def route(self, router: Router) -> Router:
        """Choose by another router from now on."""
        self.router = router
        self.predicted = router.predicted if isinstance(router, Predictor) else _nothing
        return router

    @property
    def models(self) -> frozenset[str]:
        """Models that any of them serves."""
        return frozenset[str]().union(*(member.models for member in self.members))

    @property
    def offered(self) -> tuple[Worker, ...]:
        """What routers may choose from now; those that are only suspected if there is no other."""
        return self._offered

    def refresh(self) -> None:
        """See anew who may be used."""
        ready = [each for each in self.members if each.health.state is State.READY]
        ready = ready or [each for each in self.members if each.health.state is State.SUSPECT]
        offered = tuple(member.worker for member in ready)
        if offered != self._offered:
            self._offered = offered
        self._is_on_trial = any(member.health.is_on_trial for member in ready)
        self._avoided = {
            model: tuple(member.name for member in ready if model not in member.models)
            for model in self.models
        }

    def avoided(self, model: str) -> tuple[str, ...]:
        """Return who must not be sent a request now: who has not the model, who is on trial."""
        names = self._avoided.get(model, ())
        if self._is_on_trial:
            tried = (
                m.name for m in self.members if m.health.is_on_trial and not m.health.is_routable
            )
            names = (*names, *tried)
        return names

    def n_usable(self, model: str) -> int:
        """Return how many may be sent a request for a model."""
        return len(self._offered) - len(set(self._avoided.get(model, ())))

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
            except (ValueError, KeyError, TypeError, IndexError) as error:
                logger.warning("what was learned before is not taken up: %s", error)


class Fleet:
    """All workers.

    Parameters
    ----------
    make_router
        Makes the router of a pool.
    changed
        Called after every change of who may be used.
    """

    def __init__(self, make_router: Callable[[], Router], changed: Callable[[], None]) -> None:
        self._members: dict[str, Member] = {}
        self._pools: list[Pool] = []
        self._by_model: dict[str, Pool] = {}
        self._make_router = make_router
        self._changed = changed
        self._memories: list[tuple[frozenset[str], Memory]] = []

    def __iter__(self) -> Iterator[Member]:
        """Go through the workers in the order in which they were listed."""
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        """Return how many workers are listed."""
        return len(self._members)

    def get(self, name: str) -> Member | None:
        """Return the worker of a name."""
        return self._members.get(name)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pools there are."""
        return tuple(self._pools)

    @property
    def n_usable(self) -> int:
        """Return how many workers may be sent requests."""
        return sum(len(pool.offered) for pool in self._pools)

    def models(self) -> dict[str, msgspec.Raw]:
        """Return what workers said of their models, by name."""
        catalogue: dict[str, msgspec.Raw] = {}
        for member in self._members.values():
            for name, entry in member.catalogue.items():
                catalogue.setdefault(name, entry)
        return catalogue

    def pool(self, model: str) -> Pool | None:
        """Return who serves a model."""
        return self._by_model.get(model)

    def add(self, member: Member) -> None:
        """List a worker.

        Raises
        ------
        ValueError
            When its name or its address is listed already.
        """
        if member.name in self._members:
            raise ValueError(f"a worker of the name {member.name!r} is listed already")
        if any(member.origin.url == each.origin.url for each in self._members.values()):
            raise ValueError(f"the worker {member.origin.url} is listed already")
        self._members[member.name] = member

    def remove(self, name: str) -> Member:
        """Strike a worker off the list; what it has is finished.

        Raises
        ------
        KeyError
            When there is none of the name.
        """
        member = self._members.pop(name)
        self._pool_again()
        return member

    def describe(
        self, member: Member, catalogue: dict[str, msgspec.Raw], n_pages: int | None
    ) -> None:
        """Take what a worker says of itself: its models, and the capacity of its cache."""
        if n_pages != member.worker.n_pages:
            member.worker = Worker(member.name, n_pages)
            self._refresh()
        member.catalogue = catalogue
        if frozenset(catalogue) != member.models:
            member.models = frozenset(catalogue)
            self._pool_again()

    def use(self, make_router: Callable[[], Router]) -> None:
        """Route by another policy from now on."""
        self._make_router = make_router
        for pool in self._pools:
            pool.route(make_router())

    def memories(self) -> list[tuple[frozenset[str], Memory]]:
        """Return what the routers have learned, by the models of their pools."""
        return [
            (pool.models, pool.router.state())
            for pool in self._pools
            if isinstance(pool.router, Learner) and pool.memory is None
        ]

    def remember(self, memories: list[tuple[frozenset[str], Memory]]) -> None:
        """Let the routers of pools yet to be found take up what :meth:`memories` returned."""
        self._memories = list(memories)

    def failed(self, member: Member, ticket: int, fault: Fault, now: float, error: str) -> None:
        """Hear that a request went wrong at a worker."""
        member.tally.n_failures += 1
        member.health.failed(ticket, fault, now, error=error)
        self.look(member)

    def look(self, member: Member) -> None:
        """See whether a worker's health has changed, and what follows from it."""
        health = member.health
        seen = (health.state, health.is_on_trial)
        if seen == member.seen:
            return
        member.seen = seen
        self._refresh()
        if health.state is State.DOWN:
            for exchange in list(member.exchanges):
                exchange.abandon()

    def _refresh(self) -> None:
        for pool in self._pools:
            pool.refresh()
        self._changed()

    def _pool_again(self) -> None:
        """Find the pools; one that has a model of an old one keeps its router."""
        before = self._pools
        groups: list[list[Member]] = []
        for member in self._members.values():
            if not member.models:
                continue
            joined = [g for g in groups if any(member.models & each.models for each in g)]
            groups = [g for g in groups if g not in joined]
            groups.append([*(each for g in joined for each in g), member])
        self._pools = []
        left = list(before)
        for members in groups:
            models = frozenset[str]().union(*(member.models for member in members))
            old = next((pool for pool in left if pool.models & models), None)
            if old is not None:
                left.remove(old)
            pool = Pool(members, old.router if old else self._make_router())
            pool.memory = old.memory if old else self._memory(models)
            self._pools.append(pool)
        self._by_model = {model: pool for pool in self._pools for model in pool.models}
        self._changed()

    def _memory(self, models: frozenset[str]) -> Memory | None:
        for at, (remembered, memory) in enumerate(self._memories):
            if remembered & models:
                del self._memories[at]
                return memory
        return None
