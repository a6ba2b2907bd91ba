"""A client's connection to the server: bytes to requests, one answered after the other.

A request is handed on when it is whole. Requests that come before the
last is answered wait; a client that sends many of them is not read until they are served, and one
that does not read its answers gets no further ones. A client that closes its sending side has gone.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from triskele.serve.http.errors import json_error
from triskele.serve.http.limits import Limits
from triskele.serve.http.reply import Reply
from triskele.serve.http.request import HttpRequest
from triskele.serve.http.request_parser import Refusal, RequestParser

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
        self._parser = RequestParser(limits, self._take)
        self._waiting: deque[tuple[HttpRequest, bool, bool]] = deque()
        self._reply: Reply | None = None
        self._task: asyncio.Task[None] | None = None
        # Why the client is turned away once all that it asked before is answered.
        self._refusal: tuple[int, bytes] | None = None
        self._is_closing = False
        self._is_deaf = False
        self._is_held = False
        self._is_full = False
        self._n_unsent = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is here, in parts or whole."""
        return (
            self._task is None
            and not self._waiting
            and (self._is_deaf or not self._parser.is_partial)
        )

    def close_when_idle(self) -> None:
        """Serve what is here, then close."""
        self._is_closing = True
        if self._reply is not None and not self._reply.started and not self._waiting:
            self._reply.keeps_alive = False
        if self.is_idle:
            self._close()

    def abort(self) -> None:
        """Close at once, whatever is here."""
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """Close, because the client took too long; called once ``deadline`` has passed."""
        assert now >= self.deadline
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() < self._n_unsent:
            # It reads, only slowly.
            self._await_reading()
        elif not self.is_idle and self._task is None and not self._is_full:
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
        self._parser.client = str(peer[0]) if isinstance(peer, tuple) else ""
        self._connections.add(self)
        self.deadline = self._loop.time() + self._limits.idle_seconds
        if len(self._connections) > self._limits.n_connections:
            self._refuse(503, "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is being answered: nobody waits for it any more."""
        self._connections.discard(self)
        self._transport = None
        self._waiting.clear()
        if self._reply is not None and self._task is not None:
            self._reply.leave()
            if not self._reply.is_ended:
                self._task.cancel()

    def eof_received(self) -> None:
        """Take it that the client has gone; what is written to it whole may still arrive."""
        if self._reply is not None and not self._reply.is_ended:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and start the clock for what is missing."""
        if self._transport is None or self._is_deaf or self._transport.is_closing():
            return
        parser = self._parser
        was_partial, was_body = parser.is_partial, parser.is_body
        try:
            parser.feed(data)
        except Refusal as refusal:
            self._refuse(refusal.status, refusal.message)
        except Exception:
            logger.exception("a request could not be taken")
            self._refuse(500, "the request could not be taken")
        else:
            # Whoever is answered, or reads no answers, is awaited later.
            is_news = parser.is_partial and (not was_partial or was_body is not parser.is_body)
            if is_news and self._task is None and not self._is_full:
                self._await_rest()

    def pause_writing(self) -> None:
        """Let whoever writes wait, but not for ever."""
        self._is_full = True
        self._await_reading()
        if self._reply is not None:
            self._reply.flow(is_paused=True)

    def resume_writing(self) -> None:
        """Let whoever writes go on."""
        self._is_full = False
        self._n_unsent = 0
        if self._reply is not None:
            self.deadline = float("inf")
            self._reply.flow(is_paused=False)
        elif self._transport is not None and not self._transport.is_closing():
            self._go_on()

    # The connection's own.

    def _take(self, request: HttpRequest, keeps_alive: bool, is_old: bool) -> None:
        """Answer a request, or let it wait for those before it."""
        if self._task is None and not self._is_full:
            self._answer(request, keeps_alive, is_old)
        else:
            self._waiting.append((request, keeps_alive, is_old))
            self._hold_back()

    def _await_rest(self) -> None:
        """Give the client its time to send the rest of its request, and ask for its body."""
        limits = self._limits
        seconds = limits.body_seconds if self._parser.is_body else limits.header_seconds
        self.deadline = self._loop.time() + seconds
        if self._parser.awaits_consent and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer(self, request: HttpRequest, keeps_alive: bool, is_old: bool) -> None:
        assert self._transport is not None
        self.deadline = float("inf")
        keeps_alive = keeps_alive and not (self._is_closing and not self._waiting)
        self._reply = Reply(self._transport, request, keeps_alive=keeps_alive, is_old=is_old)
        self._task = self._loop.create_task(self._serve(request, self._reply))

    async def _serve(self, request: HttpRequest, reply: Reply) -> None:
        try:
            await self._application(request, reply)
        except asyncio.CancelledError:
            if not reply.is_ended and not reply.is_gone:
                reply.abort()
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
        if not reply.is_ended and not reply.is_gone:
            logger.error("%s %s was not answered", request.method, request.path)
            if reply.started:
                reply.abort()
            else:
                reply.send(500, json_error(500, "the server failed"))
        self._reply = self._task = None
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if reply.keeps_alive:
                self._go_on()
            else:
                self._close()

    def _go_on(self) -> None:
        """Answer the next request, or wait for it, or close."""
        if self._is_full:
            return
        if self._waiting:
            waited = self._waiting.popleft()
            if self._is_held and not self._waiting:
                self._is_held = False
                cast(asyncio.Transport, self._transport).resume_reading()
            self._answer(*waited)
        elif self._refusal is not None:
            self._turn_away(*self._refusal)
        elif self._parser.is_partial and not self._is_deaf:
            self._await_rest()
        elif self._is_closing:
            self._close()
        else:
            self.deadline = self._loop.time() + self._limits.idle_seconds

    def _hold_back(self) -> None:
        """Do not read a client that is far ahead, until what it asked is being answered."""
        n_bytes = 0 if self._is_held else sum(len(request.body) for request, _, _ in self._waiting)
        if not self._is_held and (
            len(self._waiting) >= N_PIPELINED or n_bytes > self._limits.body_bytes
        ):
            self._is_held = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def _await_reading(self) -> None:
        """Give the client its time to read on."""
        if self._transport is not None:
            self._n_unsent = self._transport.get_write_buffer_size()
            self.deadline = self._loop.time() + self._limits.stall_seconds

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be taken after what came before it; what follows means nothing."""
        if not self._is_deaf:
            self._is_deaf = True
            self._refusal = status, json_error(status, message)
            if self._task is None:
                self._go_on()

    def _turn_away(self, status: int, body: bytes) -> None:
        """Close once the client has read why; what it still sends would reset the socket."""
        transport = cast(asyncio.Transport, self._transport)
        self._refusal, self._is_closing = None, True
        reply = Reply(transport, HttpRequest("", "", "", []), keeps_alive=False, is_old=False)
        reply.send(status, body)
        self.deadline = self._loop.time() + LINGER_SECONDS
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _close(self) -> None:
        if self._transport is not None:
            self._await_reading()
            self._transport.close()


def _send_at_once(transport: asyncio.Transport) -> None:
    """Do not let small events wait for an acknowledgement of the last (Nagle's algorithm)."""
    own = transport.get_extra_info("socket")
    if own is not None and own.family in (socket.AF_INET, socket.AF_INET6):
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
