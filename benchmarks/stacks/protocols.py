"""Two ``asyncio.Protocol`` with httptools' parsers, on uvloop: nothing between socket and proxy."""

import asyncio
import json
import sys
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop


class Client(asyncio.Protocol):
    """A connection of a client: reads a request, hands it to an upstream connection."""

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.parser = httptools.HttpRequestParser(self)
        self.upstream: Upstream | None = None

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self.parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Abort what is under way."""
        if self.upstream is not None:
            self.upstream.transport.abort()

    def on_message_begin(self) -> None:
        """Forget the last request."""
        self.url, self.body = b"", []

    def on_url(self, url: bytes) -> None:
        """Take the target."""
        self.url += url

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.body.append(body)

    def on_message_complete(self) -> None:
        """Send the request on."""
        body = b"".join(self.body)
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
        head += b"content-length: %d\r\n\r\n"
        head %= (self.parser.get_method(), self.url, self.pool.host, len(body))
        if self.pool.idle:
            self.pool.idle.pop().send(self, head + body)
        else:
            task = asyncio.get_running_loop().create_task(self.pool.open(self, head + body))
            self.pool.tasks.add(task)
            task.add_done_callback(self.pool.tasks.discard)


class Upstream(asyncio.Protocol):
    """A connection to the upstream: reads an answer, writes it to the client as it comes."""

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def send(self, client: Client, request: bytes) -> None:
        """Send a client's request."""
        self.client, client.upstream = client, self
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[bytes] = []
        self.out: list[bytes] = []
        self.chunked, self.ended = True, False
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Parse, and write all that one piece of data gave at once."""
        self.parser.feed_data(data)
        if self.out:
            self.client.write(b"".join(self.out))
            self.out.clear()
        if self.ended:
            self.client.upstream = None
            self.pool.idle.append(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what the client must know."""
        name = name.lower()
        if name == b"content-length":
            self.chunked = False
        if name in (b"content-length", b"content-type"):
            self.headers.append(name + b": " + value + b"\r\n")

    def on_headers_complete(self) -> None:
        """Begin the answer."""
        if self.chunked:
            self.headers.append(b"transfer-encoding: chunked\r\n")
        status = b"HTTP/1.1 %d OK\r\n" % self.parser.get_status_code()
        self.out += [status, *self.headers, b"\r\n"]

    def on_body(self, body: bytes) -> None:
        """Take a piece of the answer."""
        self.out.append(b"%x\r\n%b\r\n" % (len(body), body) if self.chunked else body)

    def on_message_complete(self) -> None:
        """End the answer."""
        if self.chunked:
            self.out.append(b"0\r\n\r\n")
        self.ended = True

    def connection_lost(self, error: Exception | None) -> None:
        """Never use this connection again."""
        if self in self.pool.idle:
            self.pool.idle.remove(self)


class Pool:
    """Idle connections to one upstream."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.host = parts.netloc.encode()
        self.address = (parts.hostname, parts.port)
        self.idle: deque[Upstream] = deque()
        self.tasks: set[asyncio.Task[None]] = set()

    async def open(self, client: Client, request: bytes) -> None:
        """Open a connection and send a request over it."""
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(lambda: Upstream(self), *self.address)
        upstream.send(client, request)


async def serve(upstream: str) -> None:
    """Listen until the process is ended."""
    pool = Pool(upstream)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(pool), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
