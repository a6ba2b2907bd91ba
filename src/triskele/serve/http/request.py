"""A request as the server hands it to the application: parsed, whole, and within the limits."""

from contextlib import suppress
from dataclasses import dataclass

import httptools

Headers = list[tuple[bytes, bytes]]
"""Header fields in the order in which they came, names in lower case."""


@dataclass(slots=True)
class HttpRequest:
    """One request.

    Attributes
    ----------
    method
        In capitals, as ``POST``.
    path, query
        Of the target, as sent: nothing is decoded. ``query`` is what follows the question mark.
    headers
        Names in lower case, values as sent; trailers are left out.
    body
        Whole; what the transfer coding added is gone.
    client
        Address of who sent it, as text; empty if nobody knows.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes = b""
    client: str = ""

    @property
    def target(self) -> str:
        """Path and query as they stand in a request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def header(self, name: bytes) -> bytes | None:
        """Return the first field of a name in lower case, or ``None``."""
        for each, value in self.headers:
            if each == name:
                return value
        return None


def parse_target(target: bytes, method: str) -> tuple[str, str] | None:
    """Return path and query of what stands in a request line; ``None`` if that names no path.

    A target is a path, a whole URL, whose host is left out, or the asterisk of ``OPTIONS``
    (RFC 9112, section 3.2). A fragment has no place in it, and ``CONNECT`` names no path.
    """
    if b"#" in target or method == "CONNECT":
        return None
    with suppress(httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        text = target.decode("ascii")
        if not text.startswith("/"):
            if text == "*" and method == "OPTIONS":
                return text, ""
            url = httptools.parse_url(target)
            if not url.schema or not url.host:
                return None
            text = (url.path or b"/").decode() + ("?" + url.query.decode() if url.query else "")
        path, _, query = text.partition("?")
        return path, query
    return None


def find_fault(version: str, headers: Headers, fields: dict[bytes, bytes]) -> str | None:
    """Return why a head cannot be trusted although it can be parsed; ``None`` if it can.

    What two servers on the way could read differently is refused (RFC 9112, sections 3.2, 6.1).

    Parameters
    ----------
    version
        Of HTTP, as ``1.1``.
    headers, fields
        The fields, and the same as a dictionary.
    """
    if version not in ("1.1", "1.0"):
        return f"expected HTTP/1.1, got HTTP/{version}"
    if len(fields) < len(headers):
        names = [name for name, _ in headers]
        for name in (b"host", b"transfer-encoding"):
            if names.count(name) > 1:
                return f"expected one {name.decode()} field, got {names.count(name)}"
    if b"host" not in fields and version == "1.1":
        return "expected a host field"
    coding = fields.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
        return "expected no transfer coding but HTTP/1.1's chunked"
    return None
