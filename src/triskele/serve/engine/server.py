"""One engine behind OpenAI's HTTP API: the worker that gateways route to.

``/v1/chat/completions``, ``/v1/completions``, ``/v1/models``, and for those who look after it
``/health``, ``/ready``, ``/metrics`` and ``/server_info``. A client that goes away frees its pages
at once. Texts are tokenized on the loop: long prompts on a helper thread, so that streams flow on.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from triskele import __version__
from triskele.serve.chat_template import ChatTemplate
from triskele.serve.engine.answers import Answers, Kind
from triskele.serve.engine.driver import Driver, Sink
from triskele.serve.engine.engine import Piece, TooLong
from triskele.serve.engine.exposition import CONTENT_TYPE, expose
from triskele.serve.engine.protocol import (
    BadRequest,
    ChatRequest,
    CompletionRequest,
    chat_params,
    completion_params,
    conversation,
    read_chat,
    read_completion,
)
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.http import HttpRequest, HttpServer, Limits, Reply, json_error

EVENT_STREAM = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))
PROMPTS: dict[Kind, str] = {"chat": "messages", "completion": "prompt"}
RETRY = ((b"retry-after", b"1"),)
LONG_BODY = 20_000
"""Bytes whose tokenization would hold the loop up for a millisecond or more."""


class Codec(Protocol):
    """Texts to tokens and back; the tokenizers of ``triskele.model`` are ones."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a rendered conversation."""
        ...

    def encode_prompt(self, text: str) -> list[int]:
        """Return the tokens of a bare prompt, with what the model expects before one."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served, under which name, and how much at once.

    Attributes
    ----------
    name
        Of the model, towards clients.
    codec, template
        Its texts and conversations.
    page_size, n_pages, max_seq_len
        As in the engine, for whoever asks.
    kv_events
        Where changes of the cache are published, if they are.
    max_waiting
        Sequences that may be open at once; beyond it requests are answered with 429.
    """

    name: str
    codec: Codec
    template: ChatTemplate
    page_size: int
    n_pages: int
    max_seq_len: int
    kv_events: str | None = None
    max_waiting: int = 1024


class EngineServer:
    """Serves an engine.

    Parameters
    ----------
    driver
        Of the engine; started and stopped with the server.
    served
        What clients see of it.
    limits
        What clients may do.
    now
        Unix seconds, for answers to say when they were made.
    """

    def __init__(
        self,
        driver: Driver,
        served: Served,
        *,
        limits: Limits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._driver = driver
        self._served = served
        self._now = now
        self._is_draining = False
        self._started = int(now())
        self._http = HttpServer(self.answer, limits=limits)
        self._routes: dict[str, tuple[str, Callable[[HttpRequest, Reply], Awaitable[None]]]] = {
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/completions": ("POST", self._complete),
            "/v1/models": ("GET", self._models),
            "/health": ("GET", self._health),
            "/ready": ("GET", self._ready),
            "/metrics": ("GET", self._metrics),
            "/server_info": ("GET", self._server_info),
        }

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._http.port

    async def start(self, host: str, port: int) -> None:
        """Serve; port 0 takes a free one."""
        await self._http.start(host, port)
        self._driver.start()

    async def drain(self, seconds: float) -> bool:
        """Take nothing new, finish what is under way, stop; tells whether all was finished."""
        self._is_draining = True
        is_served = await self._http.drain(seconds)
        await asyncio.to_thread(self._driver.stop)
        return is_served

    async def answer(self, request: HttpRequest, reply: Reply) -> None:
        """Answer one request; cancelled when its client goes away."""
        found = self._routes.get(request.path)
        if found is None:
            reply.send(404, json_error(404, f"there is no {request.path}"))
            return
        method, respond = found
        if request.method not in (method, "HEAD" if method == "GET" else method):
            allowed = ((b"allow", method.encode()),)
            reply.send(405, json_error(405, f"{request.path} takes {method}"), headers=allowed)
            return
        try:
            await respond(request, reply)
        except BadRequest as error:
            body = json_error(error.status, str(error), code=error.code, param=error.param)
            reply.send(error.status, body, headers=RETRY if error.status == 429 else ())

    async def _chat(self, request: HttpRequest, reply: Reply) -> None:
        asked = read_chat(request.body)
        messages = conversation(asked.messages)
        served = self._served

        def encode() -> list[list[int]]:
            try:
                return [served.codec.encode(served.template.render(messages))]
            except ValueError as error:
                raise BadRequest(str(error), param="messages") from error

        self._require_room(asked, n_prompts=1)
        (prompt,) = await _beside(encode, is_long=len(request.body) > LONG_BODY)
        params = chat_params(asked, n_left=self._n_left(prompt))
        await self._serve("chat", asked, [(prompt, params)], reply)

    async def _complete(self, request: HttpRequest, reply: Reply) -> None:
        asked = read_completion(request.body)
        prompts, codec = asked.prompts(), self._served.codec

        def encode() -> list[list[int]]:
            return [codec.encode_prompt(p) if isinstance(p, str) else p for p in prompts]

        self._require_room(asked, n_prompts=len(prompts))
        encoded = await _beside(encode, is_long=len(request.body) > LONG_BODY)
        sequences = [
            (prompt, completion_params(asked, n_left=self._n_left(prompt))) for prompt in encoded
        ]
        await self._serve("completion", asked, sequences, reply)

    async def _serve(
        self,
        kind: Kind,
        asked: ChatRequest | CompletionRequest,
        sequences: list[tuple[list[int], SamplingParams]],
        reply: Reply,
    ) -> None:
        """Have sequences computed and tell what comes."""
        n_choices = asked.n_choices
        answers = Answers(
            kind,
            id=uuid.uuid4().hex,
            created=int(self._now()),
            model=self._served.name,
            n_choices=n_choices,
            n_prompts=len(sequences),
            spell=lambda token: self._served.codec.decode([token]),
        )
        came: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue()
        ids: list[str] = []
        try:
            for prompt, params in sequences:
                for n in range(n_choices):
                    ids.append(
                        self._submit(prompt, _varied(params, n), _sink(came, len(ids)), kind)
                    )
            await self._tell(answers, came, asked, reply)
        finally:
            for id in ids:
                self._driver.cancel(id)

    def _submit(self, prompt: Sequence[int], params: SamplingParams, sink: Sink, kind: Kind) -> str:
        try:
            return self._driver.submit(prompt, params, sink)
        except TooLong as error:
            code = "context_length_exceeded"
            raise BadRequest(str(error), code=code, param=PROMPTS[kind]) from error
        except ValueError as error:
            raise BadRequest(str(error), param=PROMPTS[kind]) from error

    async def _tell(
        self,
        answers: Answers,
        came: "asyncio.Queue[tuple[int, Piece | None]]",
        asked: ChatRequest | CompletionRequest,
        reply: Reply,
    ) -> None:
        while answers.n_open:
            index, piece = await came.get()
            if piece is None:
                if reply.started:
                    reply.abort()
                else:
                    reply.send(500, json_error(500, "the engine failed"))
                return
            if not asked.stream:
                answers.take(index, piece)
                continue
            event = answers.event(index, piece)
            if not reply.started:
                reply.start(200, EVENT_STREAM, length=None)
                event = answers.opening() + event
            if not answers.n_open:
                event += answers.closing(tells_usage=asked.tells_usage)
            reply.write(event)
            await reply.drain()
        if asked.stream:
            reply.end()
        else:
            reply.send(200, answers.whole())

    def _n_left(self, prompt: Sequence[int]) -> int:
        """Return how long an answer may be; 1 where there is no room, which is refused later."""
        return max(1, self._driver.engine.max_tokens - len(prompt))

    def _require_room(self, asked: ChatRequest | CompletionRequest, *, n_prompts: int) -> None:
        """Refuse other models, and more than may wait; before anything is tokenized."""
        name, served = asked.model, self._served
        if name not in (None, "", served.name):
            raise BadRequest(
                f"there is no model {name!r}, only {served.name!r}",
                status=404,
                code="model_not_found",
                param="model",
            )
        n_asked = n_prompts * asked.n_choices
        if n_asked > served.max_waiting:
            raise BadRequest(f"at most {served.max_waiting} answers at once, got {n_asked}")
        if self._driver.n_open + n_asked > served.max_waiting:
            raise BadRequest("too many requests are waiting", status=429, code="queue_full")

    async def _models(self, request: HttpRequest, reply: Reply) -> None:
        model = {
            "id": self._served.name,
            "object": "model",
            "created": self._started,
            "owned_by": "triskele",
            "max_model_len": self._driver.engine.max_tokens,
        }
        reply.send(200, msgspec.json.encode({"object": "list", "data": [model]}))

    async def _health(self, request: HttpRequest, reply: Reply) -> None:
        reply.send(200, b'{"status":"ok"}')

    async def _ready(self, request: HttpRequest, reply: Reply) -> None:
        if self._is_draining:
            reply.send(503, json_error(503, "draining"))
        else:
            reply.send(200, b'{"status":"ready"}')

    async def _metrics(self, request: HttpRequest, reply: Reply) -> None:
        body = expose(self._driver.engine, model=self._served.name)
        reply.send(200, body, content_type=CONTENT_TYPE)

    async def _server_info(self, request: HttpRequest, reply: Reply) -> None:
        served = self._served
        info = {
            "model": served.name,
            "page_size": served.page_size,
            "n_pages": served.n_pages,
            "max_seq_len": served.max_seq_len,
            "kv_events": served.kv_events,
            "version": __version__,
        }
        reply.send(200, msgspec.json.encode(info))


async def _beside(encode: Callable[[], list[list[int]]], *, is_long: bool) -> list[list[int]]:
    """Encode here, or on a helper thread if that takes long."""
    return await asyncio.to_thread(encode) if is_long else encode()


def _sink(came: "asyncio.Queue[tuple[int, Piece | None]]", index: int) -> Sink:
    return lambda piece: came.put_nowait((index, piece))


def _varied(params: SamplingParams, n: int) -> SamplingParams:
    """Give the further answers to a prompt seeds of their own."""
    if n == 0 or params.seed is None:
        return params
    return replace(params, seed=params.seed + n)
