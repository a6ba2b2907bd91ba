"""What a server lets its clients do, in bytes, seconds and connections."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on every client.

    Attributes
    ----------
    body_bytes
        Longest body of a request; beyond it 413.
    header_bytes
        Longest head of a request, request line included; beyond it 431.
    n_headers
        Most header fields of a request; beyond it 431.
    header_seconds, body_seconds
        Longest time from the first byte of a request to the end of its head, and from there to the
        end of its body; beyond it 408.
    idle_seconds
        How long a connection may wait for its next request.
    stall_seconds
        How long a client may leave an answer unread once the buffer is full; beyond it the
        connection is closed.
    buffer_bytes
        How much of an answer is held for a client that reads slowly before its source is stopped.
    n_connections
        Most clients connected at once; beyond it 503.
    """

    body_bytes: int = 16 << 20
    header_bytes: int = 64 << 10
    n_headers: int = 100
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    stall_seconds: float = 60.0
    buffer_bytes: int = 256 << 10
    n_connections: int = 10_000

    def __post_init__(self) -> None:
        """Refuse limits that let nobody in."""
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"expected {field.name} above 0, got {getattr(self, field.name)}")
