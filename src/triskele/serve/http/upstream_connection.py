"""A connection to an upstream: one request at a time, its answer told as it comes.

It knows neither pools nor retries. What the upstream sends is believed as far as HTTP goes; an
answer that breaks off is an error, never a short answer.
"""

import asyncio
import socket
from typing import Protocol, cast

import httptools

from triskele.serve.http.errors import BrokenOff
from triskele.serve.http.request import Headers


class Flow(Protocol):
    """Where an answer comes from: it can be made to wait."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""


class Answer(Protocol):
    """Whoever is told an answer as it comes."""

    def on_head(self, status: int, headers: Headers, length: int | None, flow: Flow) -> None:
        """Take the head; ``length`` of the body in bytes is ``None`` if it was not announced."""

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""


# Longest head of an answer, with all that comes before the body.
HEAD_BYTES = 1 << 20


class UpstreamConnection(asyncio.Protocol):
    """One connection.

    Attributes
    ----------
    is_usable
        Whether another request may be sent on it.
    has_answered
        Whether any of the answer to the last request has come.
    """

    def __init__(self) -> None:
        self.is_usable = False
        self.has_answered = False
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._done: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._n_head = 0
        self._tap: _Tap | None = None
        self._is_paused = False
        self._is_for_head = False
        self._ends_with_connection = False

    def send(self, head: bytes, body: bytes, answer: Answer) -> "asyncio.Future[None]":
        """Send a request; the future is done when the answer is whole.

        Its exception is :class:`BrokenOff` if the answer is not, or what ``answer`` raised.
        """
        assert self._done is None
        done = asyncio.get_running_loop().create_future()
        if self._transport is None:
            done.set_exception(BrokenOff("the connection was lost"))
            return done
        self.is_usable = self.has_answered = self._ends_with_connection = False
        self._answer, self._done = answer, done
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._pieces, self._n_head = [], [], 0
        self._is_for_head = head.startswith(b"HEAD ")
        self._transport.write(head + body)
        return done

    def close(self) -> None:
        """Close at once; an answer under way is dropped."""
        self.is_usable = False
        self._answer = None
        self._release()
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._is_paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        # uvloop's transports are asyncio's in all but ancestry.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        own = transport.get_extra_info("socket")
        if own is not None and own.family in (socket.AF_INET, socket.AF_INET6):
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way, unless its end was to be just that."""
        self._transport = None
        self.is_usable = False
        self._release()
        done = self._done
        if done is None or done.done():
            return
        if self._ends_with_connection and exc is None:
            done.set_result(None)
        else:
            reason = f": {exc}" if exc is not None else ""
            done.set_exception(BrokenOff(f"the connection was lost{reason}"))

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and tell it."""
        self.has_answered = True
        parser = self._parser
        if parser is None:
            # Nothing was asked for.
            self.close()
            return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._parser is not None:
                self._fail(error)
                return
            # The answer is whole; nobody asked for what follows it.
            self.is_usable = False
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            if self._answer is not None:
                try:
                    self._answer.on_body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                except Exception as error:
                    self._fail(error)
                    return
        if self._parser is None:
            self._finish()
        elif self._tap is None:
            self._n_head += len(data)
            if self._n_head > HEAD_BYTES:
                self._fail(BrokenOff(f"the head has more than {HEAD_BYTES} bytes"))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; trailers come too late to be told."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Tell the head, unless another will follow it."""
        if self._parser is None:
            raise BrokenOff("an answer to nothing")
        status = self._parser.get_status_code()
        if status < 200:
            return
        fields = dict(self._headers)
        length = fields.get(b"content-length")
        is_chunked = b"transfer-encoding" in fields
        self._ends_with_connection = length is None and not is_chunked and status not in (204, 304)
        if self._answer is not None:
            announced = None if length is None or is_chunked else int(length)
            headers, self._headers, self._tap = self._headers, [], _Tap(self)
            self._answer.on_head(status, headers, announced, self._tap)
        if self._is_for_head:
            # The parser would wait for a body. What else may come is nothing to be told.
            self._answer = self._parser = None

    def on_body(self, body: bytes) -> None:
        """Collect the body, to tell it once for all that has come at once."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Free the connection, unless the answer is still to come."""
        if self._parser is None:
            return
        if self._parser.get_status_code() < 200:
            self._headers = []
            return
        self.is_usable = self._parser.should_keep_alive() and self._transport is not None
        self._parser = None

    # The connection's own.

    def _finish(self) -> None:
        """Note that the answer is whole."""
        done, self._answer, self._done = self._done, None, None
        self._release()
        if done is not None and not done.done():
            done.set_result(None)

    def _release(self) -> None:
        """End the answer's hold on the flow: the next answer is read from the start."""
        if self._tap is not None:
            self._tap.connection = None
            self._tap = None
            if self._is_paused:
                self.resume()

    def _fail(self, error: Exception) -> None:
        """Close, and tell why: an error of whoever is told the answer is passed on as it is."""
        if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
            error = cast(Exception, error.__context__)
        elif isinstance(error, (httptools.HttpParserError, httptools.HttpParserUpgrade)):
            error = BrokenOff(f"the answer was not HTTP: {error}")
        done, self._parser = self._done, None
        self.close()
        if done is not None and not done.done():
            done.set_exception(error)


class _Tap:
    """The flow of one answer; once that is over it does nothing, for the connection has others."""

    __slots__ = ("connection",)

    def __init__(self, connection: UpstreamConnection) -> None:
        self.connection: UpstreamConnection | None = connection

    def pause(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()
