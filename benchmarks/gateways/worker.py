"""A mock worker: answers like an OpenAI-compatible server, costs next to nothing, keeps count.

``python -m benchmarks.gateways.worker --port 0`` prints ``{"port": N}`` when it listens. Without
delays a stream is written at once; with a gap every event is a write of its own, and its content
is the time (``time.monotonic``, one clock for all processes of a machine) at which it was written.

POST /pace {"ttft": s, "gap": s}     seconds until the first token, and between events
GET  /stats                          requests, finished, aborted, and the times of the last aborts
"""

import argparse
import asyncio
import json
import time
from collections import deque
from typing import Any

import httptools
import uvloop

MODEL = "mock"
N_EVENTS = 16
N_ABORTS_KEPT = 100
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
USAGE = {
    "prompt_tokens": 400,
    "completion_tokens": N_EVENTS,
    "total_tokens": 400 + N_EVENTS,
    "prompt_tokens_details": {"cached_tokens": 192},
}
INFO = {
    "model_path": MODEL,
    "served_model_name": MODEL,
    "is_generation": True,
    "max_model_len": 32768,
    "version": "0.0",
    "tp_size": 1,
    "dp_size": 1,
}


def answer(document: object) -> bytes:
    """Return a whole response of status 200."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return JSON_HEAD % (len(body), body)


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(content: str | None) -> bytes:
    """Return one server-sent event, the last one with usage when there is no content."""
    choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
    document: dict[str, Any] = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [choice],
    }
    if content is None:
        document["usage"] = USAGE
    else:
        choice |= {"delta": {"role": "assistant", "content": content}, "finish_reason": None}
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


WHOLE = answer(
    {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * N_EVENTS},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
)
LAST = chunk(event(None)) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
BURST = STREAM_HEAD + chunk(event("word ")) * N_EVENTS + LAST
BEFORE, AFTER = event("|").split(b"|")
PAGES = {
    b"/v1/models": answer(
        {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "mock"}]}
    ),
    b"/metrics": b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n",
}
PAGES |= {path: answer({"status": "ok"}) for path in (b"/health", b"/health_generate", b"/ready")}
PAGES |= {
    path: answer(INFO)
    for path in (b"/get_server_info", b"/server_info", b"/get_model_info", b"/model_info")
}
PAGES |= {b"/version": answer({"version": "0.0"}), b"/get_load": answer([])}


class Worker:
    """What the connections of one worker share: its pace and its counts."""

    def __init__(self) -> None:
        self.ttft = 0.0
        self.gap = 0.0
        self.n_requests = 0
        self.n_finished = 0
        self.n_aborted = 0
        self.aborts: deque[float] = deque(maxlen=N_ABORTS_KEPT)

    def stats(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "requests": self.n_requests,
            "finished": self.n_finished,
            "aborted": self.n_aborted,
            "in_flight": self.n_requests - self.n_finished - self.n_aborted,
            "aborts": list(self.aborts),
        }


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body: list[bytes] = []
        self.timer: asyncio.TimerHandle | None = None
        self.n_sent = 0
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self.parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Count an answer that was not finished as aborted."""
        if self.timer is not None:
            self.timer.cancel()
            self.worker.n_aborted += 1
            self.worker.aborts.append(time.monotonic())

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
        """Answer."""
        path = self.url.partition(b"?")[0]
        if not path.endswith(b"/completions"):
            self.transport.write(self.page(path))
            return
        worker = self.worker
        worker.n_requests += 1
        stream = streams(b"".join(self.body))
        if stream and (worker.ttft or worker.gap):
            self.transport.write(STREAM_HEAD)
            self.n_sent = 0
            self.timer = self.loop.call_later(worker.ttft, self.send_event)
        elif worker.ttft:
            self.timer = self.loop.call_later(worker.ttft, self.finish, WHOLE)
        else:
            self.finish(BURST if stream else WHOLE)

    def page(self, path: bytes) -> bytes:
        """Return the response to anything but a completion."""
        if path == b"/stats":
            return answer(self.worker.stats())
        if path == b"/pace":
            pace = json.loads(b"".join(self.body))
            self.worker.ttft, self.worker.gap = pace["ttft"], pace["gap"]
            return answer({})
        return PAGES.get(path, NOT_FOUND)

    def send_event(self) -> None:
        """Write one event with the time in it, and plan the next one."""
        if self.n_sent == N_EVENTS:
            self.finish(LAST)
            return
        self.n_sent += 1
        self.transport.write(chunk(b"%b%.6f%b" % (BEFORE, time.monotonic(), AFTER)))
        self.timer = self.loop.call_later(self.worker.gap, self.send_event)

    def finish(self, data: bytes) -> None:
        """Write the last of the answer."""
        self.timer = None
        self.worker.n_finished += 1
        self.transport.write(data)
        if not self.parser.should_keep_alive():
            self.transport.close()


def streams(body: bytes) -> bool:
    """Whether a request asks for a stream; whoever passes it on may have put spaces in."""
    at = body.rfind(b'"stream"')
    return at >= 0 and body[at + 8 : at + 16].lstrip(b" :\t").startswith(b"true")


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    worker = Worker()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(worker), "127.0.0.1", port, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the port, serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
