"""An HTTP/1.1 server: listens, watches over its connections, and drains when asked to stop."""

import asyncio
import ssl as tls
from contextlib import suppress

from triskele.serve.http.client_connection import Application, ClientConnection
from triskele.serve.http.limits import Limits

# How often connections are looked over for one that took too long.
WATCH_SECONDS = 0.5
BACKLOG = 2048
# How often a drain looks whether all is served.
DRAIN_SECONDS = 0.02


class HttpServer:
    """Serves an application.

    Parameters
    ----------
    application
        Called with every request and its reply, one task each; cancelled when the client goes away.
    limits
        What clients may do.

    Examples
    --------
    >>> server = HttpServer(application)
    >>> await server.start("127.0.0.1", 8000)
    >>> await server.drain(30.0)
    """

    def __init__(self, application: Application, *, limits: Limits | None = None) -> None:
        self._application = application
        self._limits = limits or Limits()
        self._connections: set[ClientConnection] = set()
        self._listener: asyncio.Server | None = None
        self._port: int | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, or was before a drain."""
        if self._port is None:
            raise ValueError("expected a server that has started")
        return self._port

    @property
    def n_connections(self) -> int:
        """Clients that are connected."""
        return len(self._connections)

    async def start(self, host: str, port: int, *, ssl: tls.SSLContext | None = None) -> None:
        """Listen; port 0 takes a free one.

        Raises
        ------
        OSError
            When the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: ClientConnection(self._application, self._limits, self._connections),
            host,
            port,
            ssl=ssl,
            backlog=BACKLOG,
        )
        self._port = int(self._listener.sockets[0].getsockname()[1])
        self._watch = loop.create_task(self._watch_over())

    async def drain(self, seconds: float) -> bool:
        """Take no new connection, serve what is here for ``seconds``, then close everything.

        Returns
        -------
        bool
            Whether every request was served.
        """
        if self._listener is None:
            return True
        self._listener.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._connections and loop.time() < until:
            # Each time again: some had been accepted, and were not yet here.
            for connection in list(self._connections):
                connection.close_when_idle()
            await asyncio.sleep(DRAIN_SECONDS)
        is_served = not self._connections
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            await asyncio.sleep(0)
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._listener.wait_closed()
        return is_served

    async def _watch_over(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = loop.time()
            for connection in [each for each in self._connections if each.deadline <= now]:
                connection.expire(now)
