"""The workers behind the gateway, and a router for each set of them that serves the same models.

Workers that have a model in common are one pool with one router, so that the router sees all of
their load. A worker that fails or drains leaves what routers are offered and comes back to it; a
change of the policy makes new routers, while what is under way is told to the old.
"""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import msgspec

from triskele.serve.gateway.health import Fault, State
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.pool import Learner, Memory, Pool
from triskele.serve.routing import Router, Worker


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
        address = _address(member.origin.url)
        if any(address == _address(each.origin.url) for each in self._members.values()):
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
        """Route by another policy from now on; what was remembered was for the one before."""
        self._make_router = make_router
        self._memories = []
        for pool in self._pools:
            pool.memory = None
            pool.route(make_router())

    def router_of(self, name: str) -> Router | None:
        """Return what routes to a worker now; ``None`` while nothing does."""
        pools = (pool for pool in self._pools if any(m.name == name for m in pool.members))
        return next((pool.router for pool in pools), None)

    def memories(self, *, caches: bool = True) -> list[tuple[frozenset[str], Memory]]:
        """Return what the routers have learned, by the models of their pools.

        What none of them has taken up yet is still remembered.
        """
        memories = list(self._memories)
        for pool in self._pools:
            if pool.memory is not None:
                memories.append((pool.models, pool.memory))
            elif isinstance(pool.router, Learner):
                memories.append((pool.models, pool.router.state(caches=caches)))
        return memories

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
            pool = Pool(members, old.router if old else self._new_router(), self._new_router)
            pool.memory = old.memory if old else self._memory(models)
            self._pools.append(pool)
        self._by_model = {model: pool for pool in self._pools for model in pool.models}
        self._changed()

    def _new_router(self) -> Router:
        """Return a router by the policy of the time of the call."""
        return self._make_router()

    def _memory(self, models: frozenset[str]) -> Memory | None:
        for at, (remembered, memory) in enumerate(self._memories):
            if remembered & models:
                del self._memories[at]
                return memory
        return None


def _address(url: str) -> tuple[str, str | None, int, str]:
    """Return where a URL leads, however it is written."""
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    return parts.scheme, parts.hostname, port, parts.path
