"""A load client: raw keep-alive sockets, so many requests in flight, one process of its own.

``python -m benchmarks.gateways.client --url URL --concurrency 64 --size 2000 --stream`` prints one
JSON line: latencies, times to the first content, delays of events (of workers that write the
time into them), errors, and CPU seconds of the processes asked for, all over one window.
"""

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop

from benchmarks.gateways.processes import cpu_seconds
from benchmarks.record import ROOT

PATH = "/v1/chat/completions"
N_BODIES, N_PREFIXES = 256, 32
TIMED = re.compile(rb'"content": ?"(\d+\.\d{6})"')


def bodies(size: int, *, stream: bool, seed: int = 0) -> list[bytes]:
    """Return 256 distinct chat requests of ``size`` bytes, halves shared among 32 prefixes."""
    rng = random.Random(seed)
    prefixes = [_text(rng, size // 2) for _ in range(N_PREFIXES)]
    return [chat(prefixes[n % N_PREFIXES], rng, size, stream=stream) for n in range(N_BODIES)]


def chat(prefix: str, rng: random.Random, size: int, *, stream: bool) -> bytes:
    """Return a chat request of ``size`` bytes that begins with a prefix."""
    document: dict[str, Any] = {
        "model": "mock",
        "messages": [{"role": "system", "content": prefix}, {"role": "user", "content": ""}],
        "max_tokens": 16,
        "temperature": 0,
        "stream": stream,
    }
    own = max(size - len(json.dumps(document)), 1)
    document["messages"][1]["content"] = _text(rng, own)
    return json.dumps(document).encode()


def _text(rng: random.Random, size: int) -> str:
    words, length = [], 0
    while length < size:
        words.append(f"{rng.getrandbits(rng.choice((12, 16, 24))):x}")
        length += len(words[-1]) + 1
    return " ".join(words)[:size]


def run(url: str, pids: Sequence[int] = (), *options: str) -> dict[str, Any]:
    """Return what a client in a process of its own saw; ``options`` as on its command line."""
    command = [sys.executable, "-m", "benchmarks.gateways.client", "--url", url]
    command += [*(f"--pid={pid}" for pid in pids), *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=120)
    return dict(json.loads(done.stdout))


class Load:
    """What the connections of one run share: requests to send, and what was measured."""

    def __init__(self, url: str, payloads: Sequence[bytes], *, timed: bool) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        head = f"POST {PATH} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        self.requests = [
            f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in payloads
        ]
        self.timed = timed
        self.n_sent = 0
        self.stopping = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        """Begin the window that is measured."""
        self.latency: list[float] = []
        self.ttft: list[float] = []
        self.delay: list[float] = []
        self.first_delay: list[float] = []
        self.added_gap: list[float] = []
        self.n_errors = 0
        self.failures: dict[str, int] = {}

    def next_request(self) -> bytes:
        """Return the request that is due."""
        self.n_sent += 1
        return self.requests[self.n_sent % len(self.requests)]

    def fail(self, reason: str) -> None:
        """Count a request that was not answered as it should."""
        self.n_errors += 1
        self.failures[reason] = self.failures.get(reason, 0) + 1


class Connection(asyncio.Protocol):
    """One connection: sends a request, reads its answer, sends the next."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.busy = False

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Send the next request."""
        self.parser = httptools.HttpResponseParser(self)
        self.first: float | None = None
        self.rest, self.emitted, self.arrived = b"", 0.0, 0.0
        self.busy = True
        self.begun = time.monotonic()
        self.transport.write(self.load.next_request())

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self.now = time.monotonic()
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Note when the first content came, and every event's delay."""
        if self.first is None:
            self.first = self.now
        if self.load.timed:
            lines = (self.rest + body).split(b"\n")
            self.rest = lines.pop()
            for line in lines:
                if found := TIMED.search(line):
                    self.take_event(float(found[1]))

    def take_event(self, emitted: float) -> None:
        """Note the delay of one event."""
        load = self.load
        delay = self.now - emitted
        load.delay.append(delay)
        if self.emitted:
            load.added_gap.append(self.now - self.arrived - (emitted - self.emitted))
        else:
            load.first_delay.append(delay)
            self.first = self.now
        self.emitted, self.arrived = emitted, self.now

    def on_message_complete(self) -> None:
        """Take the times, send the next request."""
        load = self.load
        self.busy = False
        status = self.parser.get_status_code()
        if status == 200 and self.first is not None:
            load.latency.append(self.now - self.begun)
            load.ttft.append(self.first - self.begun)
        else:
            load.fail(f"status {status}")
        if load.stopping or not self.parser.should_keep_alive():
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        """Count what was under way as failed, connect anew."""
        load = self.load
        if load.stopping:
            return
        if self.busy:
            load.fail("connection lost")
        task = asyncio.get_running_loop().create_task(connect(load))
        load.tasks.add(task)
        task.add_done_callback(load.tasks.discard)


async def connect(load: Load) -> None:
    """Open a connection, which sends requests from then on."""
    loop = asyncio.get_running_loop()
    for _ in range(50):
        try:
            await loop.create_connection(lambda: Connection(load), load.host, load.port)
        except OSError as error:
            load.fail(type(error).__name__)
            await asyncio.sleep(0.1)
        else:
            return


async def measure(load: Load, options: argparse.Namespace) -> dict[str, Any]:
    """Warm up, measure, and return what was seen in the window."""
    for _ in range(options.concurrency):
        await connect(load)
    await asyncio.sleep(options.warm)
    load.reset()
    begun, before = time.monotonic(), [cpu_seconds(pid) for pid in options.pid]
    while True:
        await asyncio.sleep(options.seconds if load.n_errors == 0 else 0.2)
        spent = time.monotonic() - begun
        enough = len(load.latency) >= options.min_requests and spent >= options.seconds
        if enough or spent >= options.max_seconds:
            break
    after = [cpu_seconds(pid) for pid in options.pid]
    seconds = time.monotonic() - begun
    load.stopping = True
    n = len(load.latency)
    return {
        "n": n,
        "errors": load.n_errors,
        "failures": load.failures,
        "seconds": round(seconds, 3),
        "rate": round(n / seconds, 1),
        "cpu_us": [round((b - a) / max(n, 1) * 1e6, 1) for a, b in zip(before, after, strict=True)],
        **{
            name: quantiles(getattr(load, name))
            for name in ("latency", "ttft", "delay", "first_delay", "added_gap")
            if getattr(load, name)
        },
    }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the largest, in milliseconds."""
    p50, p99, most = np.quantile(seconds, (0.5, 0.99, 1.0)) * 1e3
    return {"p50": round(p50, 3), "p99": round(p99, 3), "max": round(most, 3)}


def main() -> None:
    """Read the options, measure, print one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--concurrency", type=int, default=64, help="requests in flight")
    parser.add_argument("--size", type=int, default=2000, help="bytes of a request's body")
    parser.add_argument("--stream", action="store_true", help="ask for server-sent events")
    parser.add_argument("--timed", action="store_true", help="events tell when they were written")
    parser.add_argument("--warm", type=float, default=1.0, help="seconds before the window")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of the window")
    parser.add_argument("--min-requests", type=int, default=0, help="wait for so many")
    parser.add_argument("--max-seconds", type=float, default=30.0, help="but no longer than this")
    parser.add_argument("--pid", type=int, action="append", default=[], help="whose CPU to count")
    options = parser.parse_args()
    load = Load(options.url, bodies(options.size, stream=options.stream), timed=options.timed)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(load, options))), flush=True)


if __name__ == "__main__":
    main()
