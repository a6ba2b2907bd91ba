"""Hearing what workers' caches hold, from workers that say it, for as long as they are listed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triskele.serve.gateway.event_stream import EventStream
from triskele.serve.gateway.events import EventTranslator
from triskele.serve.gateway.prompt import ROOT
from triskele.serve.routing import CacheListener, Router


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
            if not each.startswith(("tcp://", "ipc://")):
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
        self._find = find

    def stored(self, worker: str, hashes: Sequence[int]) -> None:
        """Pass it on."""
        router = self._find(worker)
        if isinstance(router, CacheListener):
            router.stored(worker, hashes)

    def removed(self, worker: str, hashes: Sequence[int]) -> None:
        """Pass it on."""
        router = self._find(worker)
        if isinstance(router, CacheListener):
            router.removed(worker, hashes)

    def cleared(self, worker: str) -> None:
        """Pass it on."""
        router = self._find(worker)
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

    def __init__(self, listener: CacheListener, *, page_size: int) -> None:
        self._listener = listener
        self._page_size = page_size
        self._streams: dict[str, tuple[EventTranslator, asyncio.Task[None]]] = {}

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
        self._streams[worker] = (translator, task)

    def doubt(self, worker: str) -> None:
        """Believe nothing that was heard of a worker any more: it has been away."""
        if worker in self._streams:
            self._streams[worker][0].reset()

    def forget(self, worker: str) -> None:
        """Hear a worker no more."""
        stream = self._streams.pop(worker, None)
        if stream is not None:
            stream[1].cancel()

    async def stop(self) -> None:
        """Hear nobody any more."""
        tasks = [task for _, task in self._streams.values()]
        self._streams.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
