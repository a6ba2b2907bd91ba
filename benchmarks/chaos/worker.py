"""A mock worker of finite capacity that can be told to misbehave, and writes down all that it does.

So many requests are served at once, others wait their turn. Every answer carries the id of the
request, a checksum of the body that arrived, the number of the attempt and, in a stream, of the
event, so that a client can tell its answer from any other. What was begun, finished and given up
goes to a file, a line each, which outlives the process.

``python -m benchmarks.chaos.worker --port 0 --log FILE`` prints ``{"port": N}`` when it listens.

POST /fault {"mode": "well"}     or slow, error, sick (its health fails, too), reset, half, silent
GET  /stats                      as the other mock's
"""

import argparse
import asyncio
import json
import os
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.gateways import worker as plain
from benchmarks.gateways.worker import MODEL, answer, chunk, streams

N_SLOTS, N_EVENTS = 6, 8
TTFT, GAP, SLOWNESS = 0.06, 0.018, 5.0
CACHE_TOKENS = 1 << 17
MODES = ("well", "slow", "error", "sick", "reset", "half", "silent")
ERROR_BODY = b'{"error":{"message":"on demand","type":"server_error","param":null,"code":null}}'
ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(ERROR_BODY), ERROR_BODY)
)
INFO = answer(plain.INFO | {"max_total_num_tokens": CACHE_TOKENS})
USAGE = '"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
USAGE += '"prompt_tokens_details":{"cached_tokens":%d}}'


class Worker(plain.Worker):
    """What the connections share: the slots, who waits for one, the mode, the log."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.mode = "well"
        self.n_busy = 0
        self.waiting: deque[Connection] = deque()
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, connection: "Connection") -> None:
        """Write down what became of an attempt."""
        line = f"{what} {connection.attempt} {connection.id}\n"
        os.write(self._log, line.encode("latin-1"))

    def enter(self, connection: "Connection") -> None:
        """Serve a request, now or later."""
        if self.n_busy < N_SLOTS:
            self.n_busy += 1
            connection.begin()
        else:
            self.waiting.append(connection)

    def leave(self) -> None:
        """Serve the next one."""
        if self.waiting:
            self.waiting.popleft().begin()
        else:
            self.n_busy -= 1


class Connection(plain.Connection):
    """One connection, one request at a time."""

    worker: Worker

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.id = self.attempt = ""
        self.is_stream = self.has_slot = self.is_open = False

    def connection_lost(self, error: Exception | None) -> None:
        """Give up what was under way."""
        if self.is_open:
            self._close("aborted")
            self.worker.n_aborted += 1

    def on_message_begin(self) -> None:
        """Forget the last request."""
        super().on_message_begin()
        self.id = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the id."""
        if name.lower() == b"x-request-id":
            self.id = value.decode("latin-1")

    def on_message_complete(self) -> None:
        """Answer, or begin to."""
        path, worker = self.url.partition(b"?")[0], self.worker
        if path == b"/fault":
            worker.mode = json.loads(b"".join(self.body))["mode"]
            self.transport.write(answer({"mode": worker.mode}))
        elif path in (b"/server_info", b"/get_server_info"):
            self.transport.write(INFO)
        elif path == b"/health" and worker.mode == "sick":
            self.transport.write(ERROR)
        elif not path.endswith(b"/completions"):
            self.transport.write(self.page(path))
        else:
            self._take(b"".join(self.body))

    def _take(self, body: bytes) -> None:
        worker = self.worker
        worker.n_requests += 1
        self.attempt = f"{os.getpid()}-{worker.n_requests}"
        self.n_prompt = len(body) // 4
        self.content = f"{self.id} {zlib.crc32(body):08x} {self.attempt}"
        self.is_stream = streams(body)
        self.is_open = True
        worker.note("begun", self)
        if worker.mode in ("error", "sick"):
            self._close("refused")
            self.transport.write(ERROR)
        elif worker.mode == "reset":
            self._close("refused")
            self.transport.abort()
        elif worker.mode != "silent":
            if self.is_stream:
                # As vLLM does: the head comes at once, the first token when its turn has come.
                self.transport.write(plain.STREAM_HEAD)
            worker.enter(self)

    def begin(self) -> None:
        """Serve the request: its turn has come."""
        self.has_slot = True
        slowness = SLOWNESS if self.worker.mode == "slow" else 1.0
        self.n_sent = 0
        if self.is_stream:
            self.timer = self.loop.call_later(TTFT * slowness, self.send_event)
        else:
            self.timer = self.loop.call_later((TTFT + N_EVENTS * GAP) * slowness, self._send_whole)

    def send_event(self) -> None:
        """Write one event, and plan the next one."""
        if self.worker.mode == "half" and self.n_sent >= N_EVENTS // 2:
            self._close("refused")
            self.transport.abort()
            return
        if self.n_sent == N_EVENTS:
            self._finish(chunk(self._event(None)) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            return
        self.transport.write(chunk(self._event(self.n_sent)))
        self.n_sent += 1
        slowness = SLOWNESS if self.worker.mode == "slow" else 1.0
        self.timer = self.loop.call_later(GAP * slowness, self.send_event)

    def _event(self, number: int | None) -> bytes:
        head = f'data: {{"id":"{self.id}","object":"chat.completion.chunk","model":"{MODEL}",'
        if number is None:
            rest = f'"choices":[],{self._usage()}}}\n\n'
        else:
            rest = (
                f'"choices":[{{"index":0,"delta":{{"content":"{self.content} {number}"}}}}]}}\n\n'
            )
        return (head + rest).encode("latin-1")

    def _send_whole(self) -> None:
        head = f'{{"id":"{self.id}","object":"chat.completion","model":"{MODEL}","choices":[{{'
        head += f'"index":0,"message":{{"role":"assistant","content":"{self.content}"}},'
        body = (head + f'"finish_reason":"stop"}}],{self._usage()}}}').encode("latin-1")
        data = plain.JSON_HEAD % (len(body), body)
        if self.worker.mode == "half":
            self._close("refused")
            self.transport.write(data[: -len(body) // 2])
            self.transport.close()
        else:
            self._finish(data)

    def _usage(self) -> str:
        n = self.n_prompt
        return USAGE % (n, N_EVENTS, n + N_EVENTS, n // 2)

    def _finish(self, data: bytes) -> None:
        self._close("finished")
        self.worker.n_finished += 1
        self.transport.write(data)
        if not self.parser.should_keep_alive():
            self.transport.close()

    def _close(self, what: str) -> None:
        """Note the end of a request, and let the next one in."""
        self.worker.note(what, self)
        self.is_open = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.has_slot:
            self.has_slot = False
            self.worker.leave()
        elif self in self.worker.waiting:
            self.worker.waiting.remove(self)


async def serve(port: int, log: Path) -> None:
    """Listen until the process is ended."""
    worker = Worker(log)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(worker), "127.0.0.1", port, backlog=1024)
    ready: dict[str, Any] = {"port": server.sockets[0].getsockname()[1]}
    print(json.dumps(ready), flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the options, serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--log", type=Path, required=True, help="what was done is appended to it")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.port, options.log))


if __name__ == "__main__":
    main()
