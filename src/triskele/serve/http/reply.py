"""The answer to one request, written straight to its client's socket.

An answer is sent whole, or started, written to piece by piece, and ended. Once the client has gone
everything written is dropped without a word: whoever writes learns of it by being cancelled.
"""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

from triskele.serve.http.request import HttpRequest

JSON = b"application/json"
STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
# Answers that never have a body.
BODILESS = frozenset({204, 304})

Fields = Sequence[tuple[bytes, bytes]]


class Reply:
    """One answer.

    Parameters
    ----------
    transport
        Of the client.
    request
        What is answered.
    keeps_alive
        Whether the client, too, wants the connection for another request.
    is_old
        Whether the client speaks HTTP/1.0, which knows no chunks.

    Attributes
    ----------
    status
        Of the answer once it has started, else ``None``.
    is_ended, is_gone
        Whether it is whole; whether its client went away before.
    is_paused
        Whether the client has been left more than it reads.
    n_bytes
        Of the body so far.
    on_flow
        Called with whether the client has been left more than it reads, each time that changes.
    """

    __slots__ = (
        "_is_chunked",
        "_is_mute",
        "_is_old",
        "_left",
        "_resumed",
        "_transport",
        "is_ended",
        "is_gone",
        "is_paused",
        "keeps_alive",
        "n_bytes",
        "on_flow",
        "status",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        request: HttpRequest,
        *,
        keeps_alive: bool,
        is_old: bool,
    ) -> None:
        self.status: int | None = None
        self.is_ended = False
        self.is_gone = False
        self.is_paused = False
        self.keeps_alive = keeps_alive
        self.n_bytes = 0
        self.on_flow: Callable[[bool], None] | None = None
        self._transport = transport
        self._is_mute = request.method == "HEAD"
        self._is_old = is_old
        self._is_chunked = False
        self._left: int | None = None
        self._resumed: asyncio.Event | None = None

    @property
    def started(self) -> bool:
        """Whether the head has been sent."""
        return self.status is not None

    def send(
        self, status: int, body: bytes, *, content_type: bytes = JSON, headers: Fields = ()
    ) -> None:
        """Send a whole answer.

        Raises
        ------
        ValueError
            When the answer has started, or a field has a line break.
        """
        head = self._head(status, [*headers, (b"content-type", content_type)], len(body))
        self.n_bytes = len(body)
        self._write(head if self._is_mute or status in BODILESS else head + body)
        self.is_ended = True

    def start(self, status: int, headers: Fields, *, length: int | None) -> None:
        """Send the head of an answer.

        Parameters
        ----------
        headers
            Of the answer, without those that frame it.
        length
            Bytes of the body; ``None`` if they are not known, and it goes out in chunks.

        Raises
        ------
        ValueError
            When the answer has started, or a field has a line break.
        """
        self._is_mute = self._is_mute or status in BODILESS
        self._write(self._head(status, headers, length))

    def write(self, data: bytes) -> None:
        """Send a piece of the body.

        Raises
        ------
        ValueError
            When the answer has not started or has ended, or has more bytes than it announced.
        """
        if self.status is None or self.is_ended:
            raise ValueError("expected an answer that has started and not ended")
        if not data:
            return
        size = len(data)
        if self._left is not None:
            if size > self._left:
                raise ValueError("expected no more bytes than were announced")
            self._left -= size
        self.n_bytes += size
        if not self._is_mute and not self.is_gone:
            self._transport.write(b"%x\r\n%b\r\n" % (size, data) if self._is_chunked else data)

    def end(self) -> None:
        """Close the answer; a body shorter than announced ends the connection as well.

        Raises
        ------
        ValueError
            When the answer has not started or has ended.
        """
        if self.status is None or self.is_ended:
            raise ValueError("expected an answer that has started and not ended")
        if self._is_chunked and not self._is_mute:
            self._write(b"0\r\n\r\n")
        if self._left and not self._is_mute:
            self.keeps_alive = False
        self.is_ended = True

    def abort(self) -> None:
        """End the connection at once, so that the client sees that the answer is not whole."""
        self.is_gone = True
        self._transport.abort()

    async def drain(self) -> None:
        """Wait until the client can take more."""
        if self.is_paused and not self.is_gone:
            self._resumed = asyncio.Event()
            await self._resumed.wait()

    def flow(self, *, is_paused: bool) -> None:
        """Note that the client's buffer is full, or has room again; for the connection."""
        self.is_paused = is_paused
        if self.on_flow is not None:
            self.on_flow(is_paused)
        if not is_paused and self._resumed is not None:
            self._resumed.set()

    def leave(self) -> None:
        """Note that the client has gone; for the connection."""
        self.is_gone = True
        if self._resumed is not None:
            self._resumed.set()

    def _head(self, status: int, headers: Fields, length: int | None) -> bytes:
        if self.status is not None:
            raise ValueError("expected an answer that has not started")
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        lines += [b"%b: %b\r\n" % field for field in headers]
        if status not in BODILESS:
            if length is not None:
                self._left = length
                lines.append(b"content-length: %d\r\n" % length)
            elif self._is_old:
                self.keeps_alive = False
            else:
                self._is_chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keeps_alive:
            lines.append(b"connection: close\r\n")
        elif self._is_old:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if not head.count(b"\r") == head.count(b"\n") == len(lines):
            raise ValueError("expected fields without line breaks")
        self.status = status
        return head

    def _write(self, data: bytes) -> None:
        if not self.is_gone:
            self._transport.write(data)
