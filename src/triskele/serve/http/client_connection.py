"""A client's connection to the server: bytes to requests, one answered after the other.

The parser is llhttp in its strict mode (httptools): ambiguous framing is refused, which is what
request smuggling lives on. A request is handed on when it is whole. Requests that come before the
last is answered wait; a client that sends many of them is not read until they are served.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

import httptools

from triskele.serve.http.errors import json_error
from triskele.serve.http.limits import Limits
from triskele.serve.http.reply import Reply
from triskele.serve.http.request import Headers, HttpRequest

Application = Callable[[HttpRequest, Reply], Coroutine[Any, Any, None]]
"""Answers a request; cancelled when the client goes away before the answer is whole."""

# So many requests may wait on one connection before it is not read for a while.
N_PIPELINED = 8

# How long a client may take to read why it was refused.
LINGER_SECONDS = 2.0

logger = logging.getLogger(__name__)


class ClientConnection(asyncio.Protocol):
    """One client.

    Parameters
    ----------
    application
        What answers.
    limits
        What the client may do.
    connections
        All that are open; this one enters and leaves by itself.

    Attributes
    ----------
    deadline
        When whoever watches should call :meth:`expire`; infinite while nothing is awaited from the
        client.
    """

    def __init__(
        self, application: Application, limits: Limits, connections: "set[ClientConnection]"
    ) -> None:
        self.deadline = float("inf")
        self._application = application
        self._limits = limits
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._client = ""
        self._waiting: deque[tuple[HttpRequest, bool, bool]] = deque()
        self._reply: Reply | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._is_deaf = False
        self._is_parsing = False
        self._begin()

    def __hash__(self) -> int:
        return id(self)

    @property
    def is_idle(self) -> bool:
        """Whether no request is here, in parts or whole."""
        return self._task is None and not self._waiting and not self._is_parsing

    def close_when_idle(self) -> None:
        """Serve what is here, then close."""
        self._is_closing = True
        if self._reply is not None:
            self._reply.keeps_alive = self._reply.keeps_alive and bool(self._waiting)
        if self.is_idle:
            self._close()

    def abort(self) -> None:
        """Close at once, whatever is here."""
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """Close, because the client took too long; called once ``deadline`` has passed."""
        assert now >= self.deadline
        if self._is_parsing and self._task is None:
            self._refuse(408, "the request did not arrive in time")
        else:
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn the client away if there are too many."""
        # uvloop's transports are asyncio's in all but ancestry.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=self._limits.buffer_bytes)
        _send_at_once(transport)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else ""
        self._connections.add(self)
        self.deadline = self._loop.time() + self._limits.idle_seconds
        if len(self._connections) > self._limits.n_connections:
            self._refuse(503, "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is being answered: nobody waits for it any more."""
        self._connections.discard(self)
        self._transport = None
        self._waiting.clear()
        if self._reply is not None:
            self._reply.leave()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._transport is None or self._is_deaf or self._transport.is_closing():
            return
        if not self._is_parsing and self._task is None:
            self.deadline = self._loop.time() + self._limits.header_seconds
            self._is_parsing = True
        self._n_head += 0 if self._is_body else len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request has been taken; the offer of another protocol is not.
            self._is_closing = True
        except httptools.HttpParserCallbackError:
            logger.exception("a request could not be taken")
            self._refuse(500, "the request could not be taken")
        except httptools.HttpParserError as error:
            # What the callbacks refuse ends the parsing, and has been answered.
            self._refuse(400, f"malformed HTTP: {error}")
        else:
            self._check_size()

    def pause_writing(self) -> None:
        """Let whoever writes wait, but not for ever."""
        if self._reply is not None:
            self.deadline = self._loop.time() + self._limits.stall_seconds
            self._reply.flow(is_paused=True)

    def resume_writing(self) -> None:
        """Let whoever writes go on."""
        if self._reply is not None:
            self.deadline = float("inf")
            self._reply.flow(is_paused=False)

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._is_parsing = True
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; trailers are dropped."""
        if not self._is_body:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head, and ask for the body if the client waits to be asked."""
        self._is_body = True
        self._n_head = 0
        self.deadline = self._loop.time() + self._limits.body_seconds
        fields = dict(self._headers)
        announced = fields.get(b"content-length")
        n_hosts = sum(name == b"host" for name, _ in self._headers)
        if len(self._headers) > self._limits.n_headers:
            self._refuse(431, f"more than {self._limits.n_headers} header fields")
        elif announced is not None and int(announced) > self._limits.body_bytes:
            self._refuse_body()
        elif n_hosts != 1 and (n_hosts > 1 or self._parser.get_http_version() != "1.0"):
            self._refuse(400, f"expected one Host header, got {n_hosts}")
        elif fields.get(b"expect", b"").lower() == b"100-continue" and self._task is None:
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._n_body += len(body)
        if self._n_body > self._limits.body_bytes:
            self._refuse_body()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for those before it."""
        method = self._parser.get_method().decode("ascii")
        keeps_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        is_old = self._parser.get_http_version() == "1.0"
        url, headers, body = self._url, self._headers, b"".join(self._body)
        self._begin()
        if self._transport is None or self._is_deaf:
            return
        path, query = _split(url, method)
        if path is None:
            self._refuse(400, "malformed target")
            return
        request = HttpRequest(method, path, query, headers, body, self._client)
        self._waiting.append((request, keeps_alive, is_old))
        if self._task is None:
            self._next()
        elif len(self._waiting) == N_PIPELINED:
            self._transport.pause_reading()

    # The connection's own.

    def _begin(self) -> None:
        """Await a request."""
        self._url = b""
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._n_head = 0
        self._n_body = 0
        self._is_parsing = False
        self._is_body = False

    def _check_size(self) -> None:
        if not self._is_body and self._n_head > self._limits.header_bytes:
            self._refuse(431, f"more than {self._limits.header_bytes} bytes of header")

    def _next(self) -> None:
        """Answer the first request that waits."""
        assert self._transport is not None
        request, keeps_alive, is_old = self._waiting.popleft()
        if len(self._waiting) == N_PIPELINED - 1:
            self._transport.resume_reading()
        self.deadline = float("inf")
        keeps_alive = keeps_alive and not (self._is_closing and not self._waiting)
        reply = Reply(self._transport, request, keeps_alive=keeps_alive, is_old=is_old)
        self._reply = reply
        self._task = self._loop.create_task(self._serve(request, reply))

    async def _serve(self, request: HttpRequest, reply: Reply) -> None:
        try:
            await self._application(request, reply)
        except asyncio.CancelledError:
            if not reply.is_gone:
                reply.abort()
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            if reply.started:
                reply.abort()
            else:
                reply.send(500, json_error(500, "the server failed"))
        if not reply.is_ended and not reply.is_gone:
            logger.error("%s %s was not answered", request.method, request.path)
            reply.abort()
        self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        """Go on to the next request, or close."""
        self._reply = self._task = None
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not reply.keeps_alive:
            self._close()
        elif self._waiting:
            self._next()
        elif self._is_closing and not self._is_parsing:
            self._close()
        else:
            limits = self._limits
            seconds = limits.header_seconds if self._is_parsing else limits.idle_seconds
            self.deadline = self._loop.time() + seconds

    def _refuse_body(self) -> None:
        self._refuse(413, f"the body has more than {self._limits.body_bytes} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be taken, and close: what follows on the connection means nothing."""
        transport = self._transport
        if transport is None or self._is_deaf:
            return
        self._is_deaf = True
        if self._task is None:
            request = HttpRequest("", "", "", [])
            reply = Reply(transport, request, keeps_alive=False, is_old=False)
            reply.send(status, json_error(status, message))
            self._linger(transport)
        else:
            # An answer is under way: it is the connection's last.
            self._waiting.clear()
            self._is_closing, self._is_parsing = True, False

    def _linger(self, transport: asyncio.Transport) -> None:
        """Close once the client has read the answer; what it still sends would reset the socket."""
        self.deadline = self._loop.time() + LINGER_SECONDS
        self._is_parsing = False
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _close(self) -> None:
        if self._transport is not None:
            self.deadline = self._loop.time() + self._limits.stall_seconds
            self._transport.close()


def _send_at_once(transport: asyncio.Transport) -> None:
    """Do not let small events wait for an acknowledgement of the last (Nagle's algorithm)."""
    own = transport.get_extra_info("socket")
    if own is not None and own.family in (socket.AF_INET, socket.AF_INET6):
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _split(url: bytes, method: str) -> tuple[str | None, str]:
    """Return path and query of a target; the path is ``None`` if there is none."""
    with suppress(httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        if method == "OPTIONS" and url == b"*":
            return "*", ""
        parsed = httptools.parse_url(url)
        if parsed.path is not None:
            return parsed.path.decode("ascii"), (parsed.query or b"").decode("ascii")
    return None, ""
