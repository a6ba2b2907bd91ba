"""Clients: one that sends requests at given times, and one that keeps workers busy."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from triskele.serve.gateway.usage import read_event_usage
from triskele.serve.http import Flow, Headers, Origin, UpstreamError, request_head

PATH = "/v1/completions"
FIELDS = ((b"content-type", b"application/json"), (b"x-triskele-explain", b"1"))
WORKER = b"x-triskele-worker"
# Before the first request, for whatever a start still has to do.
LEAD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered; times in seconds.

    Attributes
    ----------
    planned, sent
        When it should have been sent, and was.
    first, last
        When the first token came, and the end.
    n_prompt, n_cached, n_output
        Tokens, as the worker tells.
    worker
        Who answered, if the gateway said.
    """

    planned: float
    sent: float
    first: float
    last: float
    n_prompt: int
    n_cached: int
    n_output: int
    worker: str


class _Stream:
    """An answer as it comes: the time of its first byte, and all of it."""

    def __init__(self) -> None:
        self.status = 0
        self.worker = ""
        self.first: float | None = None
        self.pieces: list[bytes] = []

    def on_head(self, status: int, headers: Headers, length: int | None, flow: Flow) -> None:
        self.status = status
        self.worker = next((value for name, value in headers if name == WORKER), b"").decode()

    def on_body(self, data: bytes) -> None:
        if self.first is None:
            self.first = asyncio.get_running_loop().time()
        self.pieces.append(data)


async def send_at(
    url: str, times: Sequence[float], bodies: Sequence[bytes], *, seconds: float
) -> list[Answered]:
    """Send each request at its time, however many are under way, and wait for all answers.

    Raises
    ------
    RuntimeError
        When a request is not answered with status 200.
    TimeoutError
        When they take longer than ``seconds`` after the last was sent.
    """
    origin = Origin(url, n_idle=len(times))
    start = asyncio.get_running_loop().time() + LEAD_SECONDS
    try:
        async with (
            asyncio.timeout(LEAD_SECONDS + times[-1] + seconds),
            asyncio.TaskGroup() as group,
        ):
            tasks = [
                group.create_task(_ask(origin, body, start + time, start))
                for time, body in zip(times, bodies, strict=True)
            ]
    finally:
        origin.close()
    return [task.result() for task in tasks]


async def keep_busy(urls: Sequence[str], bodies: Sequence[bytes], *, n_each: int) -> None:
    """Send requests so that each worker has ``n_each`` until they run out."""
    left = iter(bodies)

    async def ask_on(origin: Origin) -> None:
        loop = asyncio.get_running_loop()
        for body in left:
            await _ask(origin, body, loop.time(), 0.0)

    origins = [Origin(url) for url in urls]
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(n_each):
                for origin in origins:
                    group.create_task(ask_on(origin))
    finally:
        for origin in origins:
            origin.close()


async def _ask(origin: Origin, body: bytes, at: float, start: float) -> Answered:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at - loop.time())
    stream, sent = _Stream(), loop.time()
    head = request_head(origin, "POST", PATH, headers=FIELDS, length=len(body))
    try:
        await origin.exchange(head, body, stream)
    except UpstreamError as error:
        raise RuntimeError(f"{origin.url} broke off: {error}") from error
    text = b"".join(stream.pieces)
    usage = read_event_usage(text, 0)
    if stream.status != 200 or stream.first is None or usage.n_prompt is None:
        raise RuntimeError(f"{origin.url} answered {stream.status}: {text[:200]!r}")
    return Answered(
        planned=at - start,
        sent=sent - start,
        first=stream.first - start,
        last=loop.time() - start,
        n_prompt=usage.n_prompt,
        n_cached=usage.n_cached or 0,
        n_output=usage.n_output or 0,
        worker=stream.worker,
    )
