"""A worker that believes nothing: it reads requests by its own strict rules and reports the rest.

Whatever it is sent must be canonical: one request line, fields of the plainest form, one length,
no transfer coding, line ends of two bytes. Such a message cannot be read in two ways, so nothing
can be smuggled in it, whatever parser another worker may have.

``python -m benchmarks.hostile.worker`` prints ``{"port": N}``.

GET /seen    how many completions came, what was not canonical, and which marks the targets had
"""

import asyncio
import json
import re
from collections import Counter
from typing import Any

import uvloop

from benchmarks.gateways.worker import BURST, MODEL, PAGES, WHOLE, answer, streams

LINE = re.compile(rb"(GET|POST) (/[!-~]*) HTTP/1\.1")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9a-zA-Z-]+): ([ -~\x80-\xff\t]*)")
# Whole: a hidden request that was passed on as part of a query is none.
MARKED = re.compile(rb"/v1/[a-z/]+\?mark=([a-z0-9]+)")
N_KEPT = 20
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.0]}
EMBEDDING = answer({"object": "list", "model": MODEL, "data": [VECTOR]})
SERVER_INFO, NOTHING = answer({"max_total_num_tokens": 1 << 16}), answer({})


class Worker:
    """What the connections share."""

    def __init__(self) -> None:
        self.n_requests = 0
        self.marks: Counter[str] = Counter()
        self.faults: list[str] = []
        self.n_faults = 0

    def complain(self, what: str, data: bytes) -> None:
        """Note what is not canonical."""
        self.n_faults += 1
        if len(self.faults) < N_KEPT:
            self.faults.append(f"{what}: {data[:300]!r}")

    def seen(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "requests": self.n_requests,
            "marks": self.marks,
            "n_faults": self.n_faults,
            "faults": self.faults,
        }


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.data = b""
        self.length: int | None = None

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Note bytes that belong to no request."""
        if self.data and self.length is None:
            self.worker.complain("left over", self.data)

    def data_received(self, data: bytes) -> None:
        """Read what is whole."""
        self.data += data
        while True:
            if self.length is None:
                head, end, rest = self.data.partition(b"\r\n\r\n")
                if not end:
                    return
                self.data = rest
                self.read_head(head)
            assert self.length is not None
            if len(self.data) < self.length:
                return
            body, self.data = self.data[: self.length], self.data[self.length :]
            self.length = None
            self.reply(body)

    def read_head(self, head: bytes) -> None:
        """Take a head apart."""
        first, *lines = head.split(b"\r\n")
        line = LINE.fullmatch(first)
        if line is None:
            self.worker.complain("request line", head)
        self.method, self.target = line.groups() if line is not None else (b"", b"")
        fields = [FIELD.fullmatch(each) for each in lines]
        if any(field is None for field in fields):
            self.worker.complain("field", head)
        names = [field[1].lower() for field in fields if field is not None]
        lengths = [field[2] for field in fields if field and field[1].lower() == b"content-length"]
        if b"transfer-encoding" in names or names.count(b"host") != 1 or len(lengths) > 1:
            self.worker.complain("framing", head)
        if self.method == b"POST" and not (len(lengths) == 1 and lengths[0].isdigit()):
            self.worker.complain("length", head)
        self.length = int(lengths[0]) if lengths and lengths[0].isdigit() else 0

    def reply(self, body: bytes) -> None:
        """Answer."""
        worker = self.worker
        path = self.target.partition(b"?")[0]
        if path == b"/seen":
            self.transport.write(answer(worker.seen()))
        elif self.method == b"GET":
            self.transport.write(
                SERVER_INFO if path == b"/server_info" else PAGES.get(path, NOTHING)
            )
        else:
            worker.n_requests += 1
            marked = MARKED.fullmatch(self.target)
            if marked is not None:
                worker.marks[marked[1].decode()] += 1
            if path == b"/v1/embeddings":
                self.transport.write(EMBEDDING)
            else:
                self.transport.write(BURST if streams(body) else WHOLE)


async def serve() -> None:
    """Listen until the process is ended."""
    worker = Worker()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(worker), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
