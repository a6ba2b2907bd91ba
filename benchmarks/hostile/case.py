"""One thing to send: pieces of bytes, with pauses between them, and how it ends."""

from dataclasses import dataclass

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


@dataclass(frozen=True, slots=True)
class Case:
    """A connection's worth of bytes.

    Attributes
    ----------
    kind
        The family, and what was done.
    pieces
        Sent one after the other.
    pause
        Seconds between two pieces.
    half_close
        Whether the sending side is closed after the last.
    barred
        Mark that no worker may ever see: it stands where only a misreading would find a request.
    n_answers
        Least number of whole answers that there must be; with more than one way to read what was
        sent it is 0.
    """

    kind: str
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    half_close: bool = False
    barred: str | None = None
    n_answers: int = 0


def request(
    body: bytes = b"",
    *,
    method: bytes = b"POST",
    target: bytes = b"/v1/chat/completions",
    version: bytes = b"HTTP/1.1",
    fields: tuple[bytes, ...] = (),
    length: bytes | None = b"right",
) -> bytes:
    """Return a request; ``length`` is its value as it stands, or what is right, or no field."""
    lines = [b"%b %b %b" % (method, target, version), b"host: 127.0.0.1"]
    lines += [b"content-type: application/json", *fields]
    if length == b"right":
        length = b"%d" % len(body)
    if length is not None:
        lines.append(b"content-length: " + length)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
