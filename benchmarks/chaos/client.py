"""Clients that check every byte of what they are answered.

Requests arrive at random times, whatever became of those before them. Each has an id; its answer
must carry that id, the checksum of the body that was sent, one attempt throughout, and every event
once and in order. Some clients leave before or during the answer. A request that gets neither an
answer nor the end of its connection in time is lost.
"""

import asyncio
import random
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools

from benchmarks.chaos.worker import N_EVENTS
from benchmarks.gateways.client import PATH, bodies

DEADLINE = 60.0
RECONNECT_SECONDS = 0.1
CONTENT = re.compile(rb'"content":"((?:[^"\\]|\\.)*)"')
WORKER = b"x-triskele-worker"
# Shares of clients that leave while they wait, and in the middle of the answer.
LEAVE_EARLY, LEAVE_LATE = 0.02, 0.02
SIZES = (2000, 6000)


@dataclass(slots=True)
class Fate:
    """What became of one request, as its client saw it. Times by ``time.monotonic``.

    ``outcome`` is ``answered``, ``refused`` (a whole answer of another status than 200), ``broken``
    (the connection ended after the head), ``dropped`` (it ended before), ``left``, ``wrong`` or
    ``lost``.
    """

    id: str
    arrived: float
    stream: bool
    plan: str
    sent: float = 0.0
    ended: float = 0.0
    first: float | None = None
    status: int | None = None
    outcome: str = ""
    worker: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to send."""

    body: bytes
    stream: bool
    # What the answer's text must be, where the worker does not tell whose answer it is.
    expected: bytes | None = None


class Connection(asyncio.Protocol):
    """A connection to the gateway; one request at a time."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients
        self._fate: Fate | None = None
        self._done: asyncio.Future[None] | None = None
        self.is_fresh = True

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def send(self, fate: Fate, asked: Asked) -> "asyncio.Future[None]":
        """Send a request; the future is done when it has an outcome."""
        self._fate, self._asked = fate, asked
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        fate.sent = time.monotonic()
        self._transport.write(self._clients.head(fate, asked) + asked.body)
        if fate.plan == "leave early":
            delay = self._clients.rng.uniform(0.0, 0.05)
            asyncio.get_running_loop().call_later(delay, self._leave, fate)
        return self._done

    def data_received(self, data: bytes) -> None:
        """Feed the parser; bytes that nobody asked for are somebody else's answer."""
        if self._fate is None:
            self._clients.n_unasked += 1
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end("wrong", f"not HTTP: {error}")
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Note an answer that did not come."""
        self._clients.forget(self)
        if self._fate is not None:
            self._end("dropped" if self._fate.status is None else "broken", str(error or "closed"))

    def on_message_begin(self) -> None:
        """Forget the last answer."""
        self._worker = b""
        self._echo = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep who answered, and what id the gateway gave back."""
        if name.lower() == WORKER:
            self._worker = value
        elif name.lower() == b"x-request-id":
            self._echo = value

    def on_headers_complete(self) -> None:
        """Note the status."""
        fate = self._fate
        if fate is not None:
            fate.status = self._parser.get_status_code()
            fate.worker = self._worker.decode()

    def on_body(self, body: bytes) -> None:
        """Keep a piece; some clients have enough of it."""
        fate = self._fate
        if fate is None:
            return
        if fate.first is None:
            fate.first = time.monotonic()
        self._body.append(body)
        if fate.plan == "leave late":
            self._leave(fate)

    def on_message_complete(self) -> None:
        """Judge the answer."""
        fate = self._fate
        if fate is None:
            return
        body = b"".join(self._body)
        if fate.status != 200:
            self._end("refused", body[:200].decode("utf-8", "replace"))
        else:
            problem = find_fault(fate, self._asked, self._echo, body)
            self._end("answered" if problem is None else "wrong", problem or "")
        if self._parser.should_keep_alive():
            self.is_fresh = False
            self._clients.keep(self)
        else:
            self._transport.close()

    def close(self) -> None:
        """Leave, whatever is under way."""
        self._fate = None
        self._transport.abort()

    def _leave(self, fate: Fate) -> None:
        if self._fate is fate:
            self._end("left", "")
            self._transport.abort()

    def _end(self, outcome: str, note: str) -> None:
        fate, self._fate = self._fate, None
        assert fate is not None
        assert self._done is not None
        fate.outcome, fate.note, fate.ended = outcome, note, time.monotonic()
        if not self._done.done():
            self._done.set_result(None)


def find_fault(fate: Fate, asked: Asked, echo: bytes, body: bytes) -> str | None:
    """Return what is wrong with an answer, ``None`` if nothing is."""
    if echo != fate.id.encode():
        return f"the id came back as {echo!r}"
    contents = CONTENT.findall(body)
    if asked.stream and (body.count(b"data: [DONE]") != 1 or not body.endswith(b"[DONE]\n\n")):
        return f"{body.count(b'data: [DONE]')} ends of the stream"
    if asked.expected is not None:
        return None if b"".join(contents) == asked.expected else "another text"
    mark = b"%b %08x " % (fate.id.encode(), zlib.crc32(asked.body))
    if not asked.stream:
        return None if len(contents) == 1 and contents[0].startswith(mark) else f"{contents!r:.200}"
    attempts = {content.rpartition(b" ")[0] for content in contents}
    numbers = [content.rpartition(b" ")[2] for content in contents]
    if numbers != [b"%d" % n for n in range(N_EVENTS)]:
        return f"events {numbers}"
    if len(attempts) != 1 or not next(iter(attempts)).startswith(mark):
        return f"attempts {attempts!r:.200}"
    return None


class Clients:
    """All clients of a run.

    Parameters
    ----------
    port
        Of the gateway, on this machine; it may be away for a while.
    key
        Their API key.
    rng
        Draws arrivals, requests, and who leaves.
    ended
        Called with every request's fate.
    requests
        What is asked, one at random each time; mock requests if not given.
    """

    def __init__(
        self,
        port: int,
        key: str,
        rng: random.Random,
        ended: Callable[[Fate], None],
        requests: list[Asked] | None = None,
    ) -> None:
        self.rng = rng
        self.n_unasked = 0
        self.n_in_flight = 0
        self._port = port
        self._ended = ended
        self._idle: list[Connection] = []
        self._number = 0
        self._fields = (
            f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\nx-triskele-explain: 1\r\n"
        )
        self._requests = requests or [
            Asked(body, stream)
            for size in SIZES
            for stream in (False, True)
            for body in bodies(size, stream=stream)
        ]

    def head(self, fate: Fate, asked: Asked) -> bytes:
        """Return the head of a request."""
        end = f"x-request-id: {fate.id}\r\ncontent-length: {len(asked.body)}\r\n\r\n"
        return (self._fields + end).encode()

    def keep(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Take out a connection that has ended."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close all connections that are kept."""
        while self._idle:
            self._idle.pop().close()

    async def closed_loop(self, n: int, seconds: float) -> None:
        """Keep ``n`` requests under way."""
        until = time.monotonic() + seconds

        async def one() -> None:
            while time.monotonic() < until:
                await self.ask(leaves=False)

        await asyncio.gather(*(one() for _ in range(n)))

    async def open_loop(self, rate: float, seconds: float) -> None:
        """Send ``rate`` requests a second at random times; return when all have an outcome."""
        began = due = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self.ask())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += self.rng.expovariate(rate)
        if tasks:
            await asyncio.wait(tasks)

    async def ask(self, *, leaves: bool = True) -> None:
        """Send one request and await its outcome."""
        draw = self.rng.random()
        plan = "stay"
        if leaves and draw < LEAVE_EARLY + LEAVE_LATE:
            plan = "leave early" if draw < LEAVE_EARLY else "leave late"
        self._number += 1
        asked = self.rng.choice(self._requests)
        fate = Fate(f"c{self._number:07d}", time.monotonic(), asked.stream, plan)
        self.n_in_flight += 1
        try:
            async with asyncio.timeout(DEADLINE) as clock:
                connection = await self._connection()
                # Once there is a connection the time for the answer begins.
                clock.reschedule(asyncio.get_running_loop().time() + DEADLINE)
                await connection.send(fate, asked)
        except TimeoutError:
            fate.outcome, fate.ended = "lost", time.monotonic()
            fate.note = "no connection" if not fate.sent else "no answer"
            if fate.sent:
                connection.close()
        finally:
            self.n_in_flight -= 1
        self._ended(fate)

    async def _connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        while True:
            if self._idle:
                return self._idle.pop()
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self), "127.0.0.1", self._port
                )
            except OSError:
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                return connection
