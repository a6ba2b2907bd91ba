"""A request as the server hands it to the application: parsed, whole, and within the limits."""

from dataclasses import dataclass

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
