"""Clients and upstreams made of bytes, and a strict reader of answers, for the tests here."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from triskele.serve.http import Application, Headers, HttpRequest, HttpServer, Limits, Reply

SECONDS = 10.0
HOST = b"Host: here\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Read:
    """An answer as it was read."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def read_answer(data: bytes, *, is_head: bool = False) -> tuple[Read, bytes]:
    """Read one answer, to the letter, and return it with what follows."""
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, data
    first, *lines = head.split(b"\r\n")
    match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [\x20-\x7e]*", first)
    assert match, first
    headers = {}
    for line in lines:
        field = re.fullmatch(rb"([a-z0-9!#$%&'*+.^_`|~-]+): ([\x20-\x7e]*)", line)
        assert field, line
        headers[field[1]] = field[2]
    assert len(headers) == len(lines)
    status = int(match[1])
    if is_head or status in (204, 304) or status < 200:
        return Read(status, headers, b""), rest
    assert not {b"content-length", b"transfer-encoding"} <= headers.keys()
    if b"content-length" in headers:
        n_bytes = int(headers[b"content-length"])
        assert len(rest) >= n_bytes, (headers, rest)
        return Read(status, headers, rest[:n_bytes]), rest[n_bytes:]
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while True:
            size, end, rest = rest.partition(b"\r\n")
            assert end, rest
            assert re.fullmatch(rb"[0-9a-f]+", size), size
            n_bytes = int(size, 16)
            assert rest[n_bytes : n_bytes + 2] == b"\r\n"
            body, rest = body + rest[:n_bytes], rest[n_bytes + 2 :]
            if n_bytes == 0:
                return Read(status, headers, body), rest
    assert headers[b"connection"] == b"close"
    return Read(status, headers, rest), b""


def read_answers(data: bytes) -> list[Read]:
    answers = []
    while data:
        answer, data = read_answer(data)
        answers.append(answer)
    return answers


def get(path: str, *lines: str, version: str = "1.1") -> bytes:
    """Return a request without a body."""
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"GET {path} HTTP/{version}\r\nHost: here\r\n{fields}\r\n".encode()


def post(path: str, body: bytes, *lines: str) -> bytes:
    """Return a request with a body of announced length."""
    fields = "".join(f"{line}\r\n" for line in (*lines, f"Content-Length: {len(body)}"))
    return f"POST {path} HTTP/1.1\r\nHost: here\r\n{fields}\r\n".encode() + body


async def echo(request: HttpRequest, reply: Reply) -> None:
    """Answer with the request line and the body."""
    reply.send(200, f"{request.method} {request.target} ".encode() + request.body)


class Recorder:
    """An application that waits until told, and notes what happens to it."""

    def __init__(self) -> None:
        self.n_started = 0
        self.n_cancelled = 0
        self.may_answer = asyncio.Event()

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        self.n_started += 1
        if request.path == "/stream":
            reply.start(200, [], length=None)
            reply.write(b"first")
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if request.path == "/stream":
            reply.end()
        else:
            reply.send(200, request.target.encode())


@asynccontextmanager
async def serving(
    application: Application, *, limits: Limits | None = None
) -> AsyncIterator[HttpServer]:
    server = HttpServer(application, limits=limits)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.drain(0.0)


@asynccontextmanager
async def connected(
    server: HttpServer, *, n_buffer: int = 1 << 20
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=n_buffer)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def ask(server: HttpServer, data: bytes) -> bytes:
    """Send bytes and return all that comes until the server closes."""
    async with connected(server) as (reader, writer):
        writer.write(data)
        return await asyncio.wait_for(reader.read(), SECONDS)


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[str]:
    """Serve connections by a function, and yield the URL."""
    tasks = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        except (asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read a request whose body is as long as announced."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


async def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


class Transport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False
        self.is_reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Told:
    """An answer that notes what it is told."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: Headers = []
        self.length: int | None = None
        self.flow: object = None
        self.pieces: list[bytes] = []

    def on_head(self, status: int, headers: Headers, length: int | None, flow: object) -> None:
        assert self.status is None
        self.status, self.headers, self.length, self.flow = status, headers, length, flow

    def on_body(self, data: bytes) -> None:
        assert self.status is not None
        self.pieces.append(data)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)
