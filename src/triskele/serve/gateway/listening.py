"""Hearing what workers' caches hold, from workers that say it, for as long as they are listed.

A router that begins, or that a worker comes back to, knows nothing of what was said before, and no
worker says it again. So it is kept here, and told to routers that are new to a worker. They believe
nothing of a worker before they have chosen with it among the offered.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from triskele.serve.gateway.event_stream import EventStream
from triskele.serve.gateway.events import EventTranslator
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.health import State
from triskele.serve.gateway.journey import Journey
from triskele.serve.gateway.prompt import ROOT
from triskele.serve.routing import CacheListener, Router, Worker

ENDPOINT = re.compile(r"tcp://(?:[^\s/:]+|\[[^\s\]]+\]):(?P<port>\d{1,5})|ipc://\S+")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventSource:
    """Where a worker publishes its key-value events, and where it repeats them if it does."""

    endpoint: str
    replay: str | None = None

    @classmethod
    def parse(cls, text: str) -> "EventSource":
        """Read ``tcp://host:port``, or two of them with a comma between.

        Raises
        ------
        ValueError
            When it is something else.
        """
        endpoint, _, replay = text.partition(",")
        for each in (endpoint, replay or endpoint):
            found = ENDPOINT.fullmatch(each)
            if found is None or int(found["port"] or 0) >= 1 << 16:
                raise ValueError(f"expected tcp://HOST:PORT of key-value events, got {each!r}")
        return cls(endpoint, replay or None)


class RouterOf:
    """A listener that is whatever routes to a worker at the moment, if that listens.

    Parameters
    ----------
    find
        Returns the router of a worker's name; ``None`` while it has none.
    """

    def __init__(self, find: Callable[[str], Router | None]) -> None:
        self.find = find
        self._held: dict[str, set[int]] = {}

    def tell_again(self, worker: str) -> None:
        """Pass on all that a worker holds."""
        router = self.find(worker)
        if isinstance(router, CacheListener) and worker in self._held:
            router.stored(worker, list(self._held[worker]))

    def forget(self, worker: str) -> None:
        """Keep nothing of a worker any more."""
        self._held.pop(worker, None)

    def stored(self, worker: str, hashes: Sequence[int]) -> None:
        """Pass it on."""
        self._held.setdefault(worker, set()).update(hashes)
        router = self.find(worker)
        if isinstance(router, CacheListener):
            router.stored(worker, hashes)

    def removed(self, worker: str, hashes: Sequence[int]) -> None:
        """Pass it on."""
        self._held.setdefault(worker, set()).difference_update(hashes)
        router = self.find(worker)
        if isinstance(router, CacheListener):
            router.removed(worker, hashes)

    def cleared(self, worker: str) -> None:
        """Pass it on."""
        self._held.pop(worker, None)
        router = self.find(worker)
        if isinstance(router, CacheListener):
            router.cleared(worker)


class Listening:
    """The event streams of a fleet.

    Parameters
    ----------
    listener
        Who is told.
    page_size
        Tokens per page of the routers' keys.
    """

    def __init__(self, listener: RouterOf, *, page_size: int) -> None:
        self._listener = listener
        self._page_size = page_size
        self._streams: dict[str, tuple[EventTranslator, asyncio.Task[None]]] = {}
        self._seen: dict[str, tuple[Router, Worker]] = {}
        self._new_since: dict[str, float] = {}

    def listen(self, worker: str, source: EventSource) -> None:
        """Hear a worker from now on."""
        translator = EventTranslator(
            worker,
            self._listener,
            page_size=self._page_size,
            root=lambda adapter: ROOT if adapter is None else None,
        )
        stream = EventStream(translator, source.endpoint, replay=source.replay)
        task = asyncio.get_running_loop().create_task(stream.run())
        task.add_done_callback(partial(_explain, worker))
        self._streams[worker] = (translator, task)

    def look(self, fleet: Fleet, now: float) -> None:
        """See who may be used now: of some their routers know nothing, of others nobody does."""
        offered = {
            worker.name: (pool.router, worker) for pool in fleet.pools for worker in pool.offered
        }
        for name in self._streams:
            member, seen, pair = fleet.get(name), self._seen.get(name), offered.get(name)
            if member is not None and member.health.state is State.DOWN:
                self.doubt(name)
            if pair is None:
                self._seen.pop(name, None)
                self._new_since.pop(name, None)
            elif seen is None or seen[0] is not pair[0] or seen[1] != pair[1]:
                self._seen[name], self._new_since[name] = pair, now

    def chosen(self, journeys: Iterable[Journey]) -> None:
        """Hear where requests went: by then their routers knew all that was offered to them."""
        if not self._new_since:
            return
        for journey in journeys:
            router = None if journey.worker is None else self._listener.find(journey.worker)
            for name, since in list(self._new_since.items()):
                if since < journey.accepted and self._seen[name][0] is router:
                    del self._new_since[name]
                    self._listener.tell_again(name)

    def doubt(self, worker: str) -> None:
        """Believe nothing that was heard of a worker any more: it is away."""
        if worker in self._streams:
            self._streams[worker][0].reset()

    def forget(self, worker: str) -> None:
        """Hear a worker no more."""
        stream = self._streams.pop(worker, None)
        if stream is not None:
            stream[1].cancel()
        self._listener.forget(worker)
        self._seen.pop(worker, None)
        self._new_since.pop(worker, None)

    async def stop(self) -> None:
        """Hear nobody any more."""
        tasks = [task for _, task in self._streams.values()]
        self._streams.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _explain(worker: str, task: "asyncio.Task[None]") -> None:
    """Say why a worker is heard no more, unless that was wanted."""
    if not task.cancelled() and task.exception() is not None:
        logger.error("the events of %s are heard no more", worker, exc_info=task.exception())
