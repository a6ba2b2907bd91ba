"""Bytes of a client to whole requests, within the limits, however the bytes are cut.

llhttp in its strict mode (httptools) refuses ambiguous framing, which is what request smuggling
lives on; :func:`~triskele.serve.http.request.find_fault` refuses the rest of it. The parser knows
neither sockets nor clocks.
"""

from collections.abc import Callable
from typing import NoReturn

import httptools

from triskele.serve.http.limits import Limits
from triskele.serve.http.request import Headers, HttpRequest, find_fault, parse_target

# Bytes that chunks may add to each byte of a body, beside what a head may have.
CHUNK_BYTES = 16

# A body in more pieces than this is put together before it is whole: each piece costs an object.
N_PIECES = 1024


class Refusal(Exception):
    """A request that is not taken; nothing that follows it means anything."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestParser:
    """The requests of one client.

    Parameters
    ----------
    limits
        What the client may send.
    take
        Called with each request that is whole, with whether its connection may serve another, and
        with whether it is one of HTTP/1.0.

    Attributes
    ----------
    client
        Address to note in requests.
    is_partial
        Whether a request has begun to come.
    is_body
        Whether its head is whole.
    """

    def __init__(
        self, limits: Limits, take: Callable[[HttpRequest, bool, bool], None], *, client: str = ""
    ) -> None:
        self.client = client
        self._limits = limits
        self._take = take
        self._parser = httptools.HttpRequestParser(self)
        self._refusal: Refusal | None = None
        self._is_old = False
        self._n_data = self._n_seen = self._n_before = 0
        self._begin()

    @property
    def awaits_consent(self) -> bool:
        """Whether the client sends the body only once it is told to continue."""
        if not self.is_body or self._is_old:
            return False
        return dict(self._headers).get(b"expect", b"").lower() == b"100-continue"

    def feed(self, data: bytes) -> None:
        """Parse what has come.

        Raises
        ------
        Refusal
            When a request cannot be taken; those before it have been.
        """
        self.is_partial = True
        self._n_data = len(data)
        self._n_seen += self._n_data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
            return
        except httptools.HttpParserCallbackError:
            if self._refusal is None:
                raise
            raise self._refusal from None
        except httptools.HttpParserError as error:
            raise Refusal(400, f"malformed HTTP: {error}") from None
        if self.is_partial:
            self._check_size()

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self.is_partial = True
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; trailers are dropped."""
        if not self.is_body:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head."""
        limits, headers = self._limits, self._headers
        n_seen = self._n_seen + self._n_before
        self._n_seen = 0
        self.is_body = True
        version = self._parser.get_http_version()
        self._is_old = version == "1.0"
        fields = dict(headers)
        fault = find_fault(version, headers, fields)
        if fault is not None:
            self._stop(400, fault)
        elif len(headers) > limits.n_headers:
            self._stop(431, f"more than {limits.n_headers} header fields")
        # No head is longer than what has come: only if that is much it is measured.
        elif n_seen > limits.header_bytes and self._head_size() > limits.header_bytes:
            self._stop(431, f"more than {limits.header_bytes} bytes of header")
        elif int(fields.get(b"content-length", 0)) > limits.body_bytes:
            self._stop(413, f"the body has more than {limits.body_bytes} bytes")

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._n_body += len(body)
        if self._n_body > self._limits.body_bytes:
            self._stop(413, f"the body has more than {self._limits.body_bytes} bytes")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the request on."""
        parser = self._parser
        method = parser.get_method().decode("ascii")
        target = parse_target(self._url, method)
        if target is None:
            self._stop(400, "malformed target")
        if parser.should_upgrade():
            return
        path, query = target
        body = b"".join(self._body)
        request = HttpRequest(method, path, query, self._headers, body, self.client)
        self._begin()
        self._take(request, parser.should_keep_alive(), self._is_old)

    # The parser's own.

    def _begin(self) -> None:
        """Await a request, which may have begun in what has just come."""
        self._url = b""
        self._headers: Headers = []
        self._body: list[bytes | bytearray] = []
        # Bytes since the head began or ended, without those that came together with its beginning
        # or end; of the former, what came together with the beginning at most.
        self._n_seen = 0
        self._n_before = self._n_data
        self._n_body = 0
        self.is_partial = False
        self.is_body = False

    def _decline(self, rest: bytes) -> None:
        """Parse a head again without its offer of another protocol, which hides the body."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        closes = any(
            name == b"connection" and b"close" in value.lower() for name, value in self._headers
        )
        fields = [field for field in self._headers if field[0] not in (b"upgrade", b"connection")]
        if closes:
            fields.append((b"connection", b"close"))
        line = b"%b %b HTTP/%b\r\n" % (method, self._url, version)
        self._begin()
        self._parser = httptools.HttpRequestParser(self)
        self.feed(line + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n" + rest)

    def _stop(self, status: int, message: str) -> NoReturn:
        self._refusal = Refusal(status, message)
        raise self._refusal

    def _head_size(self) -> int:
        line = self._parser.get_method() + b" " + self._url + b" HTTP/1.1\r\n\r\n"
        return len(line) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def _check_size(self) -> None:
        """Bound what is held of a request that is not whole."""
        limits = self._limits
        if not self.is_body:
            if self._n_seen > limits.header_bytes:
                raise Refusal(431, f"more than {limits.header_bytes} bytes of header")
        elif self._n_seen - self._n_body > limits.header_bytes + CHUNK_BYTES * self._n_body:
            raise Refusal(400, "more framing than body")
        elif len(self._body) > N_PIECES:
            first, *rest = self._body
            gathered = first if isinstance(first, bytearray) else bytearray(first)
            gathered += b"".join(rest)
            self._body = [gathered]
