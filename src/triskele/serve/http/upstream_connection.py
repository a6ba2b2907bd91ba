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


class UpstreamConnection(asyncio.Protocol):
    """One connection.

    Attributes
    ----------
    is_usable
        Whether another request may be sent on it.
    is_fresh
        Whether nothing has ever come back on it: then a failure is not that of an idle connection
        that the upstream had closed.
    """

    def __init__(self) -> None:
        self.is_usable = False
        self.is_fresh = True
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._done: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._ends_with_connection = False
        self._has_answered = False

    def send(self, head: bytes, body: bytes, answer: Answer) -> "asyncio.Future[None]":
        """Send a request; the future is done when the answer is whole.

        Its exception is :class:`BrokenOff` if the answer is not.
        """
        assert self._transport is not None
        assert self._done is None
        self.is_usable = False
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._pieces = [], []
        self._ends_with_connection = self._has_answered = False
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(head + body)
        return self._done

    @property
    def has_answered(self) -> bool:
        """Whether any of the answer to the last request has come."""
        return self._has_answered

    def close(self) -> None:
        """Close at once; an answer under way is dropped."""
        self.is_usable = False
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
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
        self.is_fresh = False
        self._has_answered = True
        parser, done = self._parser, self._done
        if parser is None or done is None:
            # Nothing was asked for.
            self.close()
            return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BrokenOff(f"the answer was not HTTP: {error}"))
            return
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            if self._answer is not None:
                self._answer.on_body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._parser is None:
            self._answer = self._done = None
            if not done.done():
                done.set_result(None)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; trailers come too late to be told."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Tell the head, unless another will follow it."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            return
        fields = dict(self._headers)
        length = fields.get(b"content-length")
        is_chunked = b"transfer-encoding" in fields
        self._ends_with_connection = length is None and not is_chunked and status not in (204, 304)
        if self._answer is not None:
            announced = None if length is None or is_chunked else int(length)
            self._answer.on_head(status, self._headers, announced, self)

    def on_body(self, body: bytes) -> None:
        """Collect the body, to tell it once for all that has come at once."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Free the connection, unless the answer is still to come."""
        assert self._parser is not None
        if self._parser.get_status_code() < 200:
            self._headers = []
            return
        self.is_usable = self._parser.should_keep_alive() and self._transport is not None
        self._parser = None

    def _fail(self, error: Exception) -> None:
        done, self._parser = self._done, None
        self.close()
        if done is not None and not done.done():
            done.set_exception(error)
