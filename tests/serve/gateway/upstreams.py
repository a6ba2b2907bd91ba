"""Workers that do as they are told, a gateway before them, and clients of both, for tests here."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import uvloop

from triskele.serve.gateway import Gateway, Keys, Settings
from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.gateway.health import Patience, State
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.settings import Queueing
from triskele.serve.http import Application, HttpRequest, HttpServer, Origin, Reply, Response, fetch
from triskele.serve.journal import Record
from triskele.serve.routing.learned import LearnedGreedy
from triskele.serve.routing.named import Policy

CHAT = "/v1/chat/completions"
SECONDS = 10.0
# Generous: what has to happen at once may take so long on a machine that is busy.
SOON = 1.0
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 25},
}
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
Act = Application


def run(coroutine: Coroutine[Any, Any, None], *, on_uvloop: bool = False) -> None:
    """Run to the end; what the loop complains about, and any error in the log, fails the test."""
    complaints: list[object] = []
    factory = uvloop.new_event_loop if on_uvloop else asyncio.new_event_loop
    listener = Listener(complaints)
    logger = logging.getLogger("triskele")
    logger.addHandler(listener)
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            runner.run(asyncio.wait_for(coroutine, 3 * SECONDS))
    finally:
        logger.removeHandler(listener)
    assert complaints == []


class Listener(logging.Handler):
    """Keeps the errors that are logged."""

    def __init__(self, heard: list[object]) -> None:
        super().__init__(logging.ERROR)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())


async def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


# What workers do.


async def whole(request: HttpRequest, reply: Reply) -> None:
    """Answer at once."""
    reply.send(200, json.dumps({"choices": [], "usage": USAGE}).encode())


def answer(status: int, body: bytes = b"{}", *headers: tuple[bytes, bytes]) -> Act:
    """Return what answers so."""

    async def act(request: HttpRequest, reply: Reply) -> None:
        reply.send(status, body, headers=headers)

    return act


async def reset(request: HttpRequest, reply: Reply) -> None:
    """Break the connection before the answer begins."""
    reply.abort()


async def stall(request: HttpRequest, reply: Reply) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def stream(n_events: int = 3, *, gap: float = 0.0) -> Act:
    """Return what answers with events."""

    async def act(request: HttpRequest, reply: Reply) -> None:
        start_stream(reply)
        for _ in range(n_events):
            reply.write(EVENT)
            await asyncio.sleep(gap)
        reply.write(b'data: {"choices":[],"usage":%b}\n\n' % json.dumps(USAGE).encode())
        reply.write(DONE)
        reply.end()

    return act


async def break_off(request: HttpRequest, reply: Reply) -> None:
    """Break off after the first event."""
    start_stream(reply)
    reply.write(EVENT)
    await asyncio.sleep(0.02)
    reply.abort()


async def stall_after_first(request: HttpRequest, reply: Reply) -> None:
    """Stop after the first event."""
    start_stream(reply)
    reply.write(EVENT)
    await asyncio.Event().wait()


def in_turn(*acts: Act) -> Act:
    """Return what does one after the other, and the last for ever."""
    left = list(acts)

    async def act(request: HttpRequest, reply: Reply) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, reply)

    return act


def raw(data: bytes) -> Act:
    """Return what sends these bytes and closes."""

    async def act(request: HttpRequest, reply: Reply) -> None:
        transport = reply._transport
        transport.write(data)
        transport.close()
        reply.is_gone = True

    return act


def start_stream(reply: Reply) -> None:
    reply.start(200, [(b"content-type", b"text/event-stream; charset=utf-8")], length=None)


class Upstream:
    """A worker.

    Attributes
    ----------
    act
        What it does with a completion.
    is_well, is_awake
        What it says when it is asked how it is, and whether it says anything.
    requests
        The completions it was asked for.
    n_gone
        How many of those went away before their answers were whole, and ``gone_at`` when last.
    """

    def __init__(self, act: Act = whole, *, models: tuple[str, ...] = ("m",)) -> None:
        self.act = act
        self.models = models
        self.is_well = True
        self.is_awake = asyncio.Event()
        self.is_awake.set()
        self.requests: list[HttpRequest] = []
        self.n_running = 0
        self.n_gone = 0
        self.gone_at = 0.0
        self._port = 0
        self._server: HttpServer | None = None

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"http://{self.name}"

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]

    async def start(self) -> None:
        """Listen, again on the port of the first time."""
        self._server = HttpServer(self)
        await self._server.start("127.0.0.1", self._port)
        self._port = self._server.port

    async def stop(self) -> None:
        """Vanish, with everything under way."""
        if self._server is not None:
            await self._server.drain(0.0)
            self._server = None

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        if request.method == "GET":
            await self.is_awake.wait()
            self._page(request, reply)
            return
        self.requests.append(request)
        self.n_running += 1
        try:
            await self.act(request, reply)
        except asyncio.CancelledError:
            self.n_gone += 1
            self.gone_at = asyncio.get_running_loop().time()
            raise
        finally:
            self.n_running -= 1

    def _page(self, request: HttpRequest, reply: Reply) -> None:
        if request.path == "/health":
            reply.send(200 if self.is_well else 500, b"")
        elif request.path == "/v1/models":
            data = [{"id": model, "object": "model"} for model in self.models]
            reply.send(200, json.dumps({"object": "list", "data": data}).encode())
        else:
            reply.send(404, b"")


class Records(list[Record]):
    """A journal in memory."""

    n_dropped = 0
    directory = None


class Front:
    """A gateway, the journal it writes, and the routers that were replaced by :meth:`switch`."""

    def __init__(self, gateway: Gateway, records: Records) -> None:
        self.gateway = gateway
        self.records = records
        self.retired: list[Any] = []
        self.origin = Origin(f"http://127.0.0.1:{gateway.port}")

    async def ask(
        self,
        what: str | bytes = "hello",
        *,
        path: str = CHAT,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        **fields: Any,
    ) -> Response:
        """Send a body as it is, or a text to be completed, with more ``fields`` beside it."""
        sent = what if isinstance(what, bytes) else chat(what, **fields)
        return await fetch(self.origin, "POST", path, headers=headers, body=sent, seconds=SECONDS)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect a client of one's own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    def member(self, upstream: Upstream) -> Member:
        """Return a worker as the gateway knows it."""
        member = self.gateway.fleet.get(upstream.name)
        assert member is not None
        return member

    def state(self, upstream: Upstream) -> State:
        """Return what the gateway thinks of a worker."""
        return self.member(upstream).health.state

    def switch(self, policy: str) -> None:
        """Route by another policy."""
        self.retired += [pool.router for pool in self.gateway.fleet.pools]
        self.gateway.switch(policy)

    async def settled(self) -> None:
        """Wait until nothing is under way, and assert that nothing is kept for anybody."""
        gateway = self.gateway
        await until(lambda: not gateway._forwarder.journeys)
        self.check_at_rest()

    def check_at_rest(self) -> None:
        gateway = self.gateway
        assert gateway._admission.n_running == gateway._admission.n_waiting == 0
        for member in gateway.fleet:
            assert not member.exchanges
        for router in (*self.retired, *(pool.router for pool in gateway.fleet.pools)):
            router.check()
            assert n_reserved(router) == 0


def n_reserved(router: Any) -> int:
    """Return how many requests a router takes to be under way."""
    if isinstance(router, LearnedGreedy):
        return len(router._queues)
    load = router._trees.load if hasattr(router, "_trees") else router._load
    return int(load.counts.sum())


def chat(text: str = "hello", *, model: str | None = "m", **fields: Any) -> bytes:
    """Return the body of a chat completion."""
    messages = [{"role": "user", "content": text}]
    named = {} if model is None else {"model": model}
    return json.dumps({**named, "messages": messages, **fields}).encode()


def post(body: bytes, *lines: str, path: str = CHAT) -> bytes:
    """Return a request as bytes."""
    fields = "".join(f"{line}\r\n" for line in (*lines, f"Content-Length: {len(body)}"))
    return f"POST {path} HTTP/1.1\r\nHost: here\r\n{fields}\r\n".encode() + body


def quick(
    *,
    policy: str = "lbgr",
    n_attempts: int = 3,
    request_seconds: float = 30.0,
    worker_seconds: float = 5.0,
    n_per_worker: int = 1024,
    n_queued: int = 4096,
    queue_seconds: float = 5.0,
    check_seconds: float = 0.2,
    **others: Any,
) -> Settings:
    """Return settings with which things happen soon."""
    return Settings(
        policy=Policy(policy, "lru"),
        forwarding=Forwarding(
            n_attempts=n_attempts, request_seconds=request_seconds, worker_seconds=worker_seconds
        ),
        queueing=Queueing(
            n_per_worker=n_per_worker, n_queued=n_queued, queue_seconds=queue_seconds
        ),
        patience=Patience(
            check_seconds=check_seconds, first_seconds=0.05, eager_wait=0.1, longest_wait=0.2
        ),
        **others,
    )


@asynccontextmanager
async def fronted(
    *upstreams: Upstream,
    settings: Settings | None = None,
    keys: Callable[[], Keys | None] = lambda: None,
    credential: str | None = None,
) -> AsyncIterator[Front]:
    """Start workers and a gateway before them, that is ready; stop them all at the end."""
    async with AsyncExitStack() as stack:
        for upstream in upstreams:
            await upstream.start()
            stack.push_async_callback(upstream.stop)
        records = Records()
        gateway = Gateway(
            settings or quick(),
            keys=keys,
            journal=records,  # type: ignore[arg-type]
            credential=credential,
        )
        for upstream in upstreams:
            gateway.add(upstream.url)
        await gateway.start("127.0.0.1", 0)
        stack.push_async_callback(gateway.drain, 0.0)
        await gateway.ready(n_workers=len(upstreams), seconds=SECONDS)
        front = Front(gateway, records)
        stack.callback(front.origin.close)
        yield front
