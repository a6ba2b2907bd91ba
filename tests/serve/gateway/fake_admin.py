"""A gateway that has only the dashboard and the admin API, and says what it is told to say."""

import json
import math
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import unquote

from triskele.serve.gateway.dashboard import CONTENT_TYPE, Dashboard

NOW = 1_800_000_000.0
POLICIES = ["lbgr", "cache-aware", "round-robin", "power-of-two"]


def worker(name: str, **known: Any) -> dict[str, Any]:
    return {
        "name": name,
        "url": f"http://10.0.0.{len(name)}:8000",
        "models": ["llama-3.1-8b-instruct"],
        "state": "ready",
        "in_flight": 0,
        "requests": 0,
        "failures": 0,
        "hit_rate": None,
        "cache_pages": None,
        "ttft_p50": None,
        "latency_p50": None,
        "error": None,
        "since": NOW - 4_000,
    } | known


def fleet() -> list[dict[str, Any]]:
    """Return one worker in each state, with figures."""
    figures = {"hit_rate": 0.412, "cache_pages": 12_288, "ttft_p50": 0.182, "latency_p50": 1.94}
    return [
        worker("atlas-0", in_flight=14, requests=48_211, **figures),
        worker(
            "atlas-1", in_flight=9, requests=46_902, failures=2, **figures | {"hit_rate": 0.377}
        ),
        worker(
            "atlas-2",
            state="suspect",
            in_flight=21,
            requests=39_115,
            failures=17,
            error="HTTP 503 from the worker, 2 times in a row",
            since=NOW - 41,
            **figures | {"hit_rate": 0.298, "ttft_p50": 0.611, "latency_p50": 3.4},
        ),
        worker(
            "borealis-with-a-long-name.eu-central-1",
            state="down",
            requests=8_120,
            failures=121,
            error="connection refused; next trial in 0.8 s",
            since=NOW - 312,
        ),
        worker("cirrus", state="draining", in_flight=3, requests=20_007, since=NOW - 8, **figures),
        worker("delta", state="starting", since=NOW - 2, models=[]),
    ]


def traffic(names: list[str], *, seed: int = 0) -> dict[str, Any]:
    """Return two minutes of figures, a gap in them, and 400 predictions."""
    draws = random.Random(seed)
    series = []
    for second in range(120):
        wave = 1 + 0.35 * math.sin(second / 14) + 0.1 * draws.random()
        ttft, latency = 0.16 * wave + (0.3 if 70 < second < 84 else 0), 1.7 * wave
        is_gap = 30 <= second < 38
        series.append(
            {
                "time": NOW - 119 + second,
                "rate": 0.0 if is_gap else round(22 * wave + draws.random(), 2),
                "ttft_p50": None if is_gap else ttft,
                "ttft_p95": None if is_gap else ttft * (2.2 + draws.random()),
                "latency_p50": None if is_gap else latency,
                "latency_p95": None if is_gap else latency * (1.6 + 0.4 * draws.random()),
                "hit_rate": None if is_gap else 0.36 + 0.06 * math.sin(second / 9),
            }
        )
    scatter = []
    for _ in range(400):
        predicted = math.exp(draws.gauss(-1.6, 0.8))
        observed = predicted * math.exp(draws.gauss(0, 0.22))
        scatter.append(
            {"predicted": predicted, "observed": observed, "worker": draws.choice(names)}
        )
    return {
        "totals": {
            "requests": 162_355,
            "failed": 3,
            "retried": 137,
            "rejected": 12,
            "in_flight": 47,
            "queued": 5,
            "rate": 24.6,
        },
        "latency": {"p50": 1.94, "p95": 4.12, "p99": 6.87},
        "ttft": {"p50": 0.184, "p95": 0.522, "p99": 1.31},
        "series": series,
        "scatter": scatter,
    }


def silence() -> dict[str, Any]:
    """Return what a gateway says that nobody has asked anything."""
    counts = ("requests", "failed", "retried", "rejected", "in_flight", "queued", "rate")
    unknown = {"p50": None, "p95": None, "p99": None}
    return {
        "totals": dict.fromkeys(counts, 0),
        "latency": unknown,
        "ttft": unknown,
        "series": [],
        "scatter": [],
    }


@dataclass(slots=True)
class FakeAdmin:
    """What the API says, and what it was asked to do."""

    workers: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=silence)
    policy: str = "lbgr"
    token: str | None = None
    is_broken: bool = False
    did: list[tuple[str, str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.is_broken:
            return 503, error("the gateway is stopping")
        if (method, path) == ("GET", "/admin/status"):
            return 200, self.status()
        self.did.append((method, path, body))
        parts = [unquote(part) for part in path.split("/")[2:]]
        if parts == ["policy"]:
            self.policy = body["policy"]
            return 200, {"policy": self.policy}
        if parts == ["workers"]:
            if "10.9" in body["url"]:
                return 400, error(f"{body['url']} is not among the allowed <addresses>")
            self.workers.append(worker(body.get("name") or "w1", url=body["url"], state="starting"))
            return 201, self.workers[-1]
        found = next((one for one in self.workers if one["name"] == parts[1]), None)
        if found is None:
            return 404, error(f"no worker {parts[1]}")
        if method == "DELETE":
            self.workers.remove(found)
        else:
            found["state"] = {"drain": "draining", "resume": "ready"}[parts[2]]
        return 200, found

    def status(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "policies": POLICIES,
            "time": NOW,
            "uptime": 93_784.0,
            "version": "0.1.0",
            "workers": self.workers,
            "models": ["llama-3.1-8b-instruct"],
        } | self.figures


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/dashboard":
            page = self.dashboard.page("0123456789abcdef")
            self.reply(200, page.body, CONTENT_TYPE, *page.headers)
        else:
            self.call()

    def call(self) -> None:
        length = int(self.headers.get("content-length", 0))
        sent = self.rfile.read(length)
        is_known = self.admin.token in (None, self.headers.get("authorization", "")[7:])
        if is_known:
            body = json.loads(sent) if sent else None
            status, said = self.admin.answer(self.command, self.path, body)
        else:
            status, said = 401, error("The admin API wants a bearer token.")
        self.reply(status, json.dumps(said).encode(), b"application/json")

    do_POST = do_PUT = do_DELETE = call

    def reply(self, status: int, body: bytes, kind: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.send_response(status)
        for key, value in ((b"content-type", kind), *headers):
            self.send_header(key.decode(), value.decode())
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @property
    def admin(self) -> FakeAdmin:
        return cast(Server, self.server).admin

    @property
    def dashboard(self) -> Dashboard:
        return cast(Server, self.server).dashboard


class Server(ThreadingHTTPServer):
    admin: FakeAdmin
    dashboard: Dashboard


def error(message: str) -> dict[str, Any]:
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    }


@contextmanager
def serving(admin: FakeAdmin, *, port: int = 0) -> Iterator[FakeAdmin]:
    """Serve on 127.0.0.1 until the end of the block."""
    with Server(("127.0.0.1", port), Handler) as server:
        server.admin, server.dashboard = admin, Dashboard.packaged()
        admin.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield admin
        finally:
            server.shutdown()
            thread.join()
