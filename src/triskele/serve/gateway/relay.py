"""An answer on its way from a worker to a client, byte for byte, and what is learned in passing.

The body is never changed. Of a stream, the time of the first event and the number of events are
noted, and the last lines that name tokens are kept; of a whole answer, the body. An answer that
may be asked for elsewhere, because it is an error of the worker's, is kept back.
"""

from collections.abc import Callable, Sequence

from triskele.serve.gateway.usage import (
    DATA,
    PROMPT_TOKENS,
    UNKNOWN,
    Usage,
    read_event_usage,
    read_usage,
)
from triskele.serve.http import BrokenOff, Flow, Headers, Reply

# Fields that concern one connection only, or that this server writes itself; a connection may name
# more of them.
CONNECTION = b"connection"
USUAL = (b"keep-alive", b"close", b"Keep-Alive", b"Close")
HOP_BY_HOP = frozenset(
    {
        CONNECTION,
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The gateway names the request itself.
OWN_FIELDS = HOP_BY_HOP | {b"x-request-id"}
EVENTS = b"text/event-stream"
JSON = b"application/json"
# Errors of the worker, which another worker may not have; 429 is its queue that is full.
ELSEWHERE = frozenset({429, 500, 502, 503, 504})
# How much of an answer is kept to read the usage from, or of an error to pass it on.
KEPT_BYTES = 1 << 20


class Relay:
    """One answer.

    Parameters
    ----------
    reply
        To the client.
    own_headers
        Fields to add.
    now
        The clock.
    first_event
        Called with nothing when the first event of a good stream has been sent on.
    keeps_errors
        Whether an answer that is an error of the worker's is kept back.
    claim
        Asked before anything is sent whether this is the answer that the client gets: of one that
        is not, nothing is. It is, if not given.

    Attributes
    ----------
    status
        Of the worker's answer; ``None`` before its head.
    first_byte
        When the body began, by the clock.
    is_stream
        Whether it is a stream of events.
    is_kept
        Whether the answer has been kept back.
    has_begun
        Whether the client has some of it.
    """

    __slots__ = (
        "_claim",
        "_first_event",
        "_headers",
        "_held",
        "_is_gathered",
        "_keeps_errors",
        "_kept",
        "_n_events",
        "_n_kept",
        "_now",
        "_own_headers",
        "_reply",
        "_tail",
        "first_byte",
        "has_begun",
        "is_kept",
        "is_stream",
        "status",
    )

    def __init__(
        self,
        reply: Reply,
        *,
        own_headers: Sequence[tuple[bytes, bytes]],
        now: Callable[[], float],
        first_event: Callable[[], None],
        keeps_errors: bool,
        claim: Callable[[], bool] | None = None,
    ) -> None:
        self.status: int | None = None
        self.first_byte: float | None = None
        self.is_stream = False
        self.is_kept = False
        self.has_begun = False
        self._claim = claim
        self._reply = reply
        self._own_headers = own_headers
        self._now = now
        self._first_event = first_event
        self._keeps_errors = keeps_errors
        self._headers: Headers = []
        self._held: tuple[Headers, int | None, Flow] | None = None
        self._is_gathered = False
        self._kept: list[bytes] = []
        self._n_kept = 0
        self._n_events = 0
        self._tail = b""

    def on_head(self, status: int, headers: Headers, length: int | None, flow: Flow) -> None:
        """Hold the head until there is something of the body, or keep the answer back.

        Engines send the head of a stream long before its first token; until then, and until a
        whole answer is whole, another worker can still be asked.
        """
        self.status = status
        fields = passed_on(headers, OWN_FIELDS)
        if status in ELSEWHERE and self._keeps_errors:
            self.is_kept, self._headers = True, fields
            return
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        self.is_stream = kind.startswith(EVENTS)
        self._is_gathered = kind.startswith(JSON)
        self._held = fields, length, flow

    def on_body(self, data: bytes) -> None:
        """Pass a piece on."""
        if self.is_kept:
            self._keep(data)
            if self._n_kept > KEPT_BYTES:
                raise BrokenOff("it answered with an error that is too long to be kept")
            return
        is_first = self.first_byte is None
        if is_first:
            self.first_byte = self._now()
        if self._held is not None:
            if self._is_gathered and self._n_kept + len(data) <= KEPT_BYTES:
                self._keep(data)
                return
            if not self._release():
                return
        self._reply.write(data)
        if not self.is_stream:
            self._keep(data)
            return
        self._read_lines(data)
        if is_first and self.status == 200:
            self._first_event()

    def end(self) -> None:
        """End the answer, which is whole."""
        if self._held is None or self._release():
            self._reply.end()

    def pass_on(self) -> None:
        """Send the client what was kept back: nobody else can answer."""
        assert self.status is not None
        self.is_kept = False
        body = b"".join(self._kept)
        self._reply.start(self.status, [*self._headers, *self._own_headers], length=len(body))
        self._reply.write(body)
        self._reply.end()

    def drop(self) -> None:
        """Forget what was kept back: it is not whole."""
        self.is_kept = False

    def usage(self) -> Usage:
        """Return what the answer says of itself, once it is whole."""
        if self.status != 200:
            return UNKNOWN
        if self.is_stream:
            return read_event_usage(self._tail, self._n_events - 1)
        return read_usage(b"".join(self._kept)) if self._n_kept <= KEPT_BYTES else UNKNOWN

    def answer(self) -> bytes:
        """Return what was kept of the body: all of a whole answer, of a stream nothing."""
        return b"" if self.is_stream else b"".join(self._kept)

    def _release(self) -> bool:
        """Send what was held back, if this is the answer: from now on no other worker can."""
        if self._claim is not None and not self._claim():
            return False
        held, self._held = self._held, None
        assert held is not None
        self._start(*held)
        self.has_begun = True
        for piece in self._kept:
            self._reply.write(piece)
        return True

    def _start(self, fields: Headers, length: int | None, flow: Flow) -> None:
        assert self.status is not None
        reply = self._reply
        reply.start(self.status, [*fields, *self._own_headers], length=length)
        reply.on_flow = lambda is_paused: flow.pause() if is_paused else flow.resume()

    def _read_lines(self, data: bytes) -> None:
        """Note what the lines of a stream say; one that has come in part waits for its end."""
        if self._kept or not data.endswith(b"\n"):
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                data = b"".join((*self._kept, data[:end]))
                self._kept, self._n_kept = [], 0
            if rest:
                self._keep(rest)
            if not end:
                return
        self._n_events += data.count(DATA)
        if PROMPT_TOKENS in data:
            self._tail = data

    def _keep(self, data: bytes) -> None:
        self._n_kept += len(data)
        if self._n_kept <= KEPT_BYTES:
            self._kept.append(data)


def passed_on(headers: Headers, own: frozenset[bytes]) -> Headers:
    """Return the fields of a message but one's own and those that its connection names as its."""
    fields = [field for field in headers if field[0] not in own]
    for value in [value for name, value in headers if name == CONNECTION]:
        if value not in USUAL:
            named = {each.strip().lower() for each in value.split(b",")}
            fields = [field for field in fields if field[0] not in named]
    return fields
