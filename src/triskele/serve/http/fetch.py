"""One request, one whole answer: for probes, and for whoever does not relay."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from triskele.serve.http.errors import BrokenOff
from triskele.serve.http.origin import Origin
from triskele.serve.http.request import Headers
from triskele.serve.http.upstream_connection import Flow


@dataclass(slots=True)
class Response:
    """A whole answer: status, fields with names in lower case, body."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """Return the first field of a name in lower case, or ``None``."""
        return next((value for each, value in self.headers if each == name), None)


class _Collected:
    """An answer that is gathered, up to a size."""

    def __init__(self, n_bytes: int) -> None:
        self.response = Response()
        self._pieces: list[bytes] = []
        self._n_left = n_bytes

    def on_head(self, status: int, headers: Headers, length: int | None, flow: Flow) -> None:
        self.response.status, self.response.headers = status, headers

    def on_body(self, data: bytes) -> None:
        self._n_left -= len(data)
        if self._n_left < 0:
            raise BrokenOff("the answer is longer than it may be")
        self._pieces.append(data)

    def whole(self) -> Response:
        self.response.body = b"".join(self._pieces)
        return self.response


def request_head(
    origin: Origin, method: str, target: str, *, headers: Sequence[tuple[bytes, bytes]], length: int
) -> bytes:
    """Return the head of a request to an origin; ``headers`` without those that frame it.

    Raises
    ------
    ValueError
        When a line has a line break of its own.
    """
    lines = [
        f"{method} {origin.prefix}{target} HTTP/1.1\r\n".encode("ascii"),
        b"host: %b\r\n" % origin.host_header,
    ]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    if length or method not in ("GET", "HEAD", "DELETE"):
        lines.append(b"content-length: %d\r\n" % length)
    lines.append(b"\r\n")
    head = b"".join(lines)
    if not head.count(b"\r") == head.count(b"\n") == len(lines):
        raise ValueError("expected a target and fields without line breaks")
    return head


async def fetch(
    origin: Origin,
    method: str,
    target: str,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    seconds: float = 30.0,
    n_bytes: int = 64 << 20,
) -> Response:
    """Send a request and return the whole answer.

    Parameters
    ----------
    seconds
        Longest time for all of it.
    n_bytes
        Longest body.

    Raises
    ------
    UpstreamError
        When no connection could be made, or the answer is not whole or too long.
    TimeoutError
        When it takes too long.
    """
    answer = _Collected(n_bytes)
    head = request_head(origin, method, target, headers=headers, length=len(body))
    async with asyncio.timeout(seconds):
        await origin.exchange(head, body, answer)
    return answer.whole()
