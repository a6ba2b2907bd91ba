"""A client that sends requests at their times, however many are under way, and takes the times."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from triskele.serve.http import Flow, Headers, Origin, UpstreamError, request_head

PATH = "/v1/completions"
ID, EXPLAIN = b"x-request-id", b"x-triskele-explain"
MODEL, DECISION = b"x-triskele-model", b"x-triskele-decision"
LEAD_SECONDS = 0.2
"""Before the first request, for whatever a start still has to do."""
PATIENCE = 120.0
"""Seconds that answers may take after the last request was due."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: its id, when it is due, which model is asked for, and what."""

    id: str
    at: float
    model: str
    prompt: str
    n_output: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered.

    Attributes
    ----------
    id
        Of the request.
    model
        Who answered.
    reason
        Why that model, where the gateway chose.
    ttft, latency
        Seconds from when the request was due to the first token and to the end.
    n_prompt, n_cached
        Tokens of the prompt, and those of them that the worker had in its cache.
    """

    id: str
    model: str
    reason: str
    ttft: float
    latency: float
    n_prompt: int
    n_cached: int


class _Stream:
    """An answer as it comes: the time of its first byte, and all of it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.first: float | None = None
        self.pieces: list[bytes] = []

    def on_head(self, status: int, headers: Headers, length: int | None, flow: Flow) -> None:
        self.status, self.headers = status, headers

    def on_body(self, data: bytes) -> None:
        if self.first is None:
            self.first = asyncio.get_running_loop().time()
        self.pieces.append(data)

    def header(self, name: bytes) -> str:
        return next((value for each, value in self.headers if each == name), b"").decode()


async def drive(
    url: str, asks: Sequence[Ask], *, on_answer: Callable[[Answered], None]
) -> list[Answered]:
    """Send each request at its time, and wait for all answers.

    Parameters
    ----------
    url
        Of the gateway.
    asks
        In the order of their times.
    on_answer
        Hears of each answer when it has come.

    Raises
    ------
    ValueError
        If a request is not answered as it should be.
    """
    origin = Origin(url, n_idle=len(asks))
    start = asyncio.get_running_loop().time() + LEAD_SECONDS
    last = max(ask.at for ask in asks)

    async def take(ask: Ask) -> Answered:
        answer = await _sent(origin, ask, start)
        on_answer(answer)
        return answer

    tasks = [asyncio.create_task(take(ask)) for ask in asks]
    try:
        async with asyncio.timeout(LEAD_SECONDS + last + PATIENCE):
            return await asyncio.gather(*tasks)
    except TimeoutError:
        raise ValueError(f"requests took longer than {PATIENCE:g} s") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        origin.close()


async def _sent(origin: Origin, ask: Ask, start: float) -> Answered:
    loop = asyncio.get_running_loop()
    due = start + ask.at
    await asyncio.sleep(due - loop.time())
    body = _body(ask)
    fields = [(b"content-type", b"application/json"), (ID, ask.id.encode()), (EXPLAIN, b"1")]
    stream = _Stream()
    head = request_head(origin, "POST", PATH, headers=fields, length=len(body))
    try:
        await origin.exchange(head, body, stream)
    except UpstreamError as error:
        raise ValueError(f"the gateway broke off: {error}") from error
    ended = loop.time()
    text = b"".join(stream.pieces)
    usage = _usage(text)
    if stream.status != 200 or stream.first is None or usage is None:
        said = text[:200].decode("utf-8", "replace")
        raise ValueError(f"the gateway answered with status {stream.status}: {said}")
    decision = json.loads(stream.header(DECISION) or "{}")
    return Answered(
        id=ask.id,
        model=stream.header(MODEL) or ask.model,
        reason=decision.get("reason", ""),
        ttft=stream.first - due,
        latency=ended - due,
        n_prompt=usage[0],
        n_cached=usage[1],
    )


def _body(ask: Ask) -> bytes:
    return json.dumps(
        {
            "model": ask.model,
            "prompt": ask.prompt,
            "max_tokens": ask.n_output,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            # Half a character is no text; so every token is an event all the same.
            "logprobs": 0,
        }
    ).encode()


def _usage(text: bytes) -> tuple[int, int] | None:
    """Return the tokens of the prompt, and those that were cached, as the last event tells."""
    for line in reversed(text.splitlines()):
        if line.startswith(b"data: {"):
            usage = json.loads(line.removeprefix(b"data: ")).get("usage")
            if usage is None:
                return None
            return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    return None
