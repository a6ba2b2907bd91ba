"""Workers that speak OpenAI's API, and a gateway before them, for tests of the whole."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from triskele.serve.gateway import Gateway, Keys, Settings
from triskele.serve.gateway.health import Health
from triskele.serve.gateway.member import Member
from triskele.serve.http import HttpRequest, HttpServer, Origin, Reply, Response, fetch
from triskele.serve.journal import Journal

MODEL = "toy"
SECONDS = 20.0
CHAT = "/v1/chat/completions"


class OpenAIWorker:
    """One worker; its answers say which.

    Attributes
    ----------
    name
        What it answers.
    models
        What it lists.
    pages
        Status and body of what it answers elsewhere; ``/health`` is 200 unless it is here.
    asked
        Bodies of the completions it was sent.
    seen
        Paths of all requests.
    n_running, n_cancelled
        Completions under way; those whose client went away.
    may_answer
        Completions wait for it.
    n_words, gap
        Words of an answer, and seconds before it and after each of its words.
    status
        What completions are answered with.
    """

    def __init__(self, name: str = "w", *, models: Sequence[str] = (MODEL,)) -> None:
        self.name = name
        self.models = list(models)
        self.pages: dict[str, tuple[int, bytes]] = {"/health": (200, b"")}
        self.asked: list[dict[str, Any]] = []
        self.seen: list[str] = []
        self.authorizations: set[bytes | None] = set()
        self.n_running = 0
        self.n_cancelled = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.n_words = 3
        self.gap = 0.0
        self.status = 200
        self.port = 0
        self._server: HttpServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def listed_as(self) -> str:
        """The name a gateway gives it by itself."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before if it has been killed."""
        self._server = HttpServer(self)
        await self._server.start("127.0.0.1", self.port)
        self.port = self._server.port

    async def kill(self) -> None:
        """Break off all that is under way and listen no more."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.drain(0.0)

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        self.seen.append(request.path)
        self.authorizations.add(request.header(b"authorization"))
        if request.path in self.pages:
            status, body = self.pages[request.path]
            reply.send(status, body)
        elif request.path == "/v1/models":
            entries = [{"id": name, "object": "model", "owned_by": "me"} for name in self.models]
            reply.send(200, json.dumps({"object": "list", "data": entries}).encode())
        elif request.method == "POST":
            self.n_running += 1
            try:
                await self._complete(request, reply)
            except asyncio.CancelledError:
                self.n_cancelled += 1
                raise
            finally:
                self.n_running -= 1
        else:
            reply.send(404, b"{}")

    async def _complete(self, request: HttpRequest, reply: Reply) -> None:
        asked = json.loads(request.body)
        self.asked.append(asked)
        await self.may_answer.wait()
        if self.status != 200:
            reply.send(self.status, b'{"error": {"message": "no", "type": "t", "code": "c"}}')
        elif asked.get("model", self.models[0]) not in self.models:
            reply.send(404, b'{"error": {"message": "not here", "type": "t", "code": "c"}}')
        elif request.path == "/v1/embeddings":
            one = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            await self._send(reply, {"object": "list", "data": [one], "usage": usage} | _of(asked))
        elif asked.get("stream"):
            await self._stream(reply, asked)
        elif request.path == CHAT:
            message = {"role": "assistant", "content": self.name}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await self._send(reply, self._whole("chat.completion", choice) | _of(asked))
        else:
            choice = {"index": 0, "text": self.name, "finish_reason": "stop", "logprobs": None}
            await self._send(reply, self._whole("text_completion", choice) | _of(asked))

    async def _send(self, reply: Reply, document: dict[str, Any]) -> None:
        await asyncio.sleep(self.gap)
        reply.send(200, json.dumps(document).encode())

    async def _stream(self, reply: Reply, asked: dict[str, Any]) -> None:
        await asyncio.sleep(self.gap)
        reply.start(200, [(b"content-type", b"text/event-stream")], length=None)
        for number in range(self.n_words + 1):
            is_last = number == self.n_words
            delta = {} if is_last else {"role": "assistant", "content": f"{self.name} "}
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if is_last else None}
            self._event(reply, {"choices": [choice], "usage": None} | _of(asked))
            await asyncio.sleep(self.gap)
        if (asked.get("stream_options") or {}).get("include_usage"):
            self._event(reply, {"choices": [], "usage": self._usage()} | _of(asked))
        reply.write(b"data: [DONE]\n\n")
        reply.end()

    def _event(self, reply: Reply, document: dict[str, Any]) -> None:
        whole = document | {"id": "c-1", "object": "chat.completion.chunk", "created": 1}
        reply.write(b"data: " + json.dumps(whole).encode() + b"\n\n")

    def _whole(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": "c-1",
            "object": kind,
            "created": 1,
            "choices": [choice],
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": 10,
            "completion_tokens": self.n_words,
            "total_tokens": 10 + self.n_words,
            "prompt_tokens_details": {"cached_tokens": 4},
        }


class Served:
    """A gateway that listens, its workers, and a client of it."""

    def __init__(self, gateway: Gateway, workers: list[OpenAIWorker]) -> None:
        self.gateway = gateway
        self.workers = workers
        self.url = f"http://127.0.0.1:{gateway.port}"
        self.origin = Origin(self.url)

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Response:
        """Send a request with a body of JSON, or of these bytes."""
        if isinstance(body, bytes):
            data = body
        else:
            data = b"" if body is None else json.dumps(body).encode()
        fields = [*headers]
        if body is not None and not any(name == b"content-type" for name, _ in headers):
            fields.append((b"content-type", b"application/json"))
        return await fetch(self.origin, method, target, headers=fields, body=data, seconds=SECONDS)

    async def chat(
        self, text: str = "Hello", *, model: str = MODEL, stream: bool = False
    ) -> Response:
        messages = [{"role": "user", "content": text}]
        return await self.ask(
            "POST", CHAT, {"model": model, "messages": messages, "stream": stream}
        )

    def states(self) -> list[str]:
        return [member.health.state.value for member in self.gateway.fleet]

    def check(self) -> None:
        """Assert that nothing is under way, anywhere."""
        for member in self.gateway.fleet:
            assert not member.exchanges
            member.health.check()
        for pool in self.gateway.fleet.pools:
            check = getattr(pool.router, "check", None)
            if check is not None:
                check()


@asynccontextmanager
async def serving(
    workers: Sequence[OpenAIWorker] = (),
    settings: Settings | None = None,
    *,
    is_ready: bool = True,
    keys: Keys | None = None,
    journal: Journal | None = None,
    admin_token: str | None = None,
    credential: str | None = None,
    learned: Path | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Served]:
    """Start workers and a gateway that has listed them, and stop what is left of them."""
    gateway = Gateway(
        settings or Settings(),
        keys=lambda: keys,
        journal=journal,
        admin_token=admin_token,
        credential=credential,
        learned=learned,
    )
    try:
        for worker in workers:
            await worker.start()
            gateway.add(worker.url)
        await gateway.start(host, 0)
        served = Served(gateway, list(workers))
        try:
            if is_ready and workers:
                await gateway.ready(n_workers=len(workers), seconds=SECONDS)
            yield served
        finally:
            served.origin.close()
            await gateway.drain(1.0)
    finally:
        for worker in workers:
            await worker.kill()


async def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def member(name: str, *, port: int = 1, credential: str | None = None) -> Member:
    """Return a worker that nobody has asked anything yet, of the address of its name."""
    health = Health(rng=random.Random(0), now=0.0)
    return Member(name, Origin(f"http://{name}.local:{port}"), health, credential=credential)


def message_of(answer: Response) -> str:
    """Return the message of an error answer, which must be one line."""
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return str(error["message"])


def _of(asked: dict[str, Any]) -> dict[str, Any]:
    return {"model": asked.get("model", MODEL)}
