"""An upstream as seen from here: an address, and a pool of connections that are kept alive."""

import asyncio
import ssl as tls
from collections import deque
from urllib.parse import urlsplit

from triskele.serve.http.errors import BrokenOff, Unreachable
from triskele.serve.http.upstream_connection import Answer, UpstreamConnection


class Origin:
    """One upstream.

    Parameters
    ----------
    url
        ``http://host:port``, ``https://…``, and optionally a path that goes before every target.
    connect_seconds
        Longest time to wait for a connection.
    n_idle
        Most connections kept while nothing is asked.
    ssl
        For ``https``; the system's certificates if not given.

    Attributes
    ----------
    url
        As given, without user, password, query or a slash at the end.
    host_header
        What belongs into the ``host`` field of requests.
    prefix
        The path that goes before every target; empty for most.

    Raises
    ------
    ValueError
        When the URL is not of that form.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_seconds: float = 5.0,
        n_idle: int = 256,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected a URL like http://host:port, got {url!r}")
        if not url.isprintable() or " " in url or not parts.path.isascii():
            raise ValueError(f"expected a URL of printable characters, got {url!r}")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("expected a URL without user, password, query or fragment")
        is_plain = parts.scheme == "http"
        self._host = parts.hostname
        self._port = parts.port or (80 if is_plain else 443)
        self._ssl = None if is_plain else ssl or tls.create_default_context()
        self._connect_seconds = connect_seconds
        self._n_idle = n_idle
        self._idle: deque[UpstreamConnection] = deque()
        self.prefix = parts.path.rstrip("/")
        self.host_header = parts.netloc.encode("idna" if not parts.netloc.isascii() else "ascii")
        self.url = f"{parts.scheme}://{parts.netloc}{self.prefix}"

    async def exchange(self, head: bytes, body: bytes, answer: Answer) -> None:
        """Send a request and tell the answer to ``answer``; returns when it is whole.

        An idle connection that the upstream turns out to have closed is replaced by a fresh one,
        once. Cancelling closes the connection, by which the upstream learns that nobody waits any
        more, and so does an error of ``answer``, which is raised.

        Parameters
        ----------
        head
            Request line and fields, the empty line included.
        body
            As announced in the head.

        Raises
        ------
        Unreachable
            When there is no connection; nothing was sent.
        BrokenOff
            When the answer is not whole; some of it may have been told.
        """
        kept = self._take()
        connection = kept or await self._connect()
        while True:
            try:
                await connection.send(head, body, answer)
            except BrokenOff:
                if connection is not kept or connection.has_answered:
                    raise
                connection = await self._connect()
            except asyncio.CancelledError:
                connection.close()
                raise
            else:
                self._give_back(connection)
                return

    def close(self) -> None:
        """Close the connections that are idle; those in use close when their answers are whole."""
        self._n_idle = 0
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    def _give_back(self, connection: UpstreamConnection) -> None:
        if not connection.is_usable:
            connection.close()
            return
        if len(self._idle) >= self._n_idle:
            # Those that the upstream has closed take no place.
            self._idle = deque(each for each in self._idle if each.is_usable)
        if len(self._idle) < self._n_idle:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await loop.create_connection(
                    UpstreamConnection, self._host, self._port, ssl=self._ssl
                )
        except TimeoutError:
            raise Unreachable(f"no connection within {self._connect_seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            # A host name that cannot be encoded is one that cannot be found.
            raise Unreachable(f"no connection: {getattr(error, 'strerror', 0) or error}") from error
        return connection
