"""Probes of behaviour: clients that go away, a worker that dies and comes back."""

import http.client
import json
import random
import signal
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.gateways.client import PATH, chat
from benchmarks.gateways.peers import LOGS, Gateway, Peer
from benchmarks.gateways.processes import MockWorker, call

N_TRIES, N_SEQUENTIAL, N_AT_ONCE, N_PREFIXES = 4, 30, 4, 20
# Seconds after which a client goes away, and in which a worker must hear of it.
PATIENCE, DEAF = 0.4, 2.0


def aborts(url: str, workers: Sequence[MockWorker], *, stream: bool) -> list[float | None]:
    """Return the milliseconds from a client's leaving until a worker notices, ``None`` if never.

    Nothing is written while the client leaves: whoever learns of it only by writing learns late.
    """
    rng = random.Random(1)
    taken = []
    for _ in range(N_TRIES):
        _pace(workers, 0.05 if stream else 2 * DEAF, DEAF / 2)
        taken.append(_abort(url, workers, _fresh(rng, stream=stream)))
        _pace(workers, 0.0, 0.0)
        while any(worker.stats()["in_flight"] for worker in workers):
            time.sleep(0.05)
    return taken


def _pace(workers: Sequence[MockWorker], ttft: float, gap: float) -> None:
    for worker in workers:
        worker.pace(ttft, gap)


def _abort(url: str, workers: Sequence[MockWorker], body: bytes) -> float | None:
    host, _, port = url.removeprefix("http://").partition(":")
    before = [worker.stats()["aborted"] for worker in workers]
    head = f"POST {PATH} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + body)
        time.sleep(PATIENCE)
        left = time.monotonic()
    while time.monotonic() < left + DEAF:
        time.sleep(0.02)
        for worker, n_before in zip(workers, before, strict=True):
            stats = worker.stats()
            if stats["aborted"] > n_before:
                return round((stats["aborts"][-1] - left) * 1e3, 2)
    return None


def failover(peer: Peer, *, prompt: bool, limit: float) -> dict[str, Any]:
    """Kill one of two workers, start it again; say what that cost.

    Prompts share prefixes, and each worker has been sent some of them before, so that a gateway
    that routes by prefix wants the dead one for some.

    Returns
    -------
    dict
        ``failed`` of 30 requests sent one after the other, the ``slowest`` of them in ms, and the
        seconds until the worker that came back is used again, ``reused`` (``None`` if not within
        ``limit``).
    """
    rng = random.Random(2)
    prefixes = [_prefix(rng) for _ in range(N_PREFIXES)]
    workers = [MockWorker(LOGS) for _ in range(2)]
    try:
        with (
            Gateway(peer, [worker.url for worker in workers], prompt=prompt) as gateway,
            ThreadPoolExecutor(N_AT_ONCE) as pool,
        ):

            def ask(prefix: str) -> tuple[bool, float]:
                return _ask(gateway.url, chat(prefix, rng, 2000, stream=False))

            _pace(workers, 0.03, 0.0)
            list(pool.map(ask, prefixes))
            held = [worker.stats()["requests"] for worker in workers]
            workers[0].stop(signal.SIGKILL)
            answers = [ask(prefixes[number % N_PREFIXES]) for number in range(N_SEQUENTIAL)]
            workers[0] = MockWorker(LOGS, workers[0].port)
            _pace(workers, 0.03, 0.0)
            begun = time.monotonic()
            reused, n_late = None, 0
            while reused is None and time.monotonic() < begun + limit:
                asked = [rng.choice(prefixes), rng.choice(prefixes), _prefix(rng), _prefix(rng)]
                n_late += sum(not is_ok for is_ok, _ in pool.map(ask, asked))
                if workers[0].stats()["requests"]:
                    reused = round(time.monotonic() - begun, 2)
    finally:
        for worker in workers:
            worker.stop()
    return {
        "held": held,
        "failed": sum(not is_ok for is_ok, _ in answers),
        "slowest": round(max(seconds for _, seconds in answers) * 1e3, 1),
        "failed_later": n_late,
        "reused": reused,
        "limit": limit,
    }


def _fresh(rng: random.Random, *, stream: bool) -> bytes:
    return chat(_prefix(rng), rng, 2000, stream=stream)


def _prefix(rng: random.Random) -> str:
    """Return a prefix that nobody has seen."""
    return " ".join(f"{rng.getrandbits(32):x}" for _ in range(110))


def _ask(url: str, body: bytes) -> tuple[bool, float]:
    begun = time.monotonic()
    try:
        call(url + PATH, json.loads(body), seconds=30.0)
    except (OSError, ValueError, http.client.HTTPException):
        return False, time.monotonic() - begun
    return True, time.monotonic() - begun
