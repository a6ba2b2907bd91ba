"""Asking workers how they are, what they serve, and how much they can cache.

A worker is well when ``/health`` says so, or, where there is none, ``/v1/models``. What it serves
is asked when it is first well, whenever it returns, and now and then. The capacity of its cache is
known of three kinds of engine: SGLang tells it at ``/get_server_info``, vLLM among its metrics,
triskele's own at ``/server_info``; of others the router assumes one.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.health import State
from triskele.serve.gateway.member import Member
from triskele.serve.http import Response, UpstreamError, fetch

TICK_SECONDS = 0.05
# How often a worker that is well is asked what it serves.
DESCRIBE_SECONDS = 60.0
VLLM_CACHE = re.compile(rb"^vllm:cache_config_info\{([^}]*)\}", re.MULTILINE)
LABEL = re.compile(rb'(\w+)="([^"]*)"')
N_BYTES = 4 << 20
# More than any cache holds; who says so is not believed.
MOST_TOKENS = 1 << 30
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Models(msgspec.Struct):
    data: list[msgspec.Raw]


class _Model(msgspec.Struct):
    id: str


class _ServerInfo(msgspec.Struct):
    max_total_num_tokens: int | None = None
    n_pages: int | None = None
    page_size: int | None = None


_MODELS = msgspec.json.Decoder(_Models)
_MODEL = msgspec.json.Decoder(_Model)
_SERVER_INFO = msgspec.json.Decoder(_ServerInfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How workers are asked.

    Attributes
    ----------
    path
        What is asked for to see whether a worker is well.
    seconds
        Longest time to wait for it.
    """

    path: str = "/health"
    seconds: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        path = self.path
        if not (path.startswith("/") and path.isascii() and path.isprintable() and " " not in path):
            raise ValueError(f"expected a path from / on, of printable ASCII, got {path!r}")
        if not self.seconds > 0:
            raise ValueError(f"expected seconds above 0, got {self.seconds}")


class Prober:
    """Checks the workers of a fleet when their health says that it is time.

    Parameters
    ----------
    fleet
        Whose workers.
    settings
        How they are asked.
    page_size
        Tokens per page of the routers' keys, in which capacities are told.
    now
        The clock.
    """

    def __init__(
        self, fleet: Fleet, settings: Probing, *, page_size: int, now: Callable[[], float]
    ) -> None:
        self._fleet = fleet
        self._settings = settings
        self._page_size = page_size
        self._now = now
        self._tasks: dict[Member, asyncio.Task[None]] = {}
        self._described: dict[Member, float] = {}

    async def run(self) -> None:
        """Check for ever; cancel it to stop."""
        try:
            while True:
                self.start_due()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def start_due(self) -> None:
        """Start the checks for which it is time."""
        now, listed = self._now(), set(self._fleet)
        self._described = {m: at for m, at in self._described.items() if m in listed}
        for member in listed - self._tasks.keys():
            if member.health.next_check(now) <= now:
                task = asyncio.get_running_loop().create_task(self.check(member))
                self._tasks[member] = task
                task.add_done_callback(partial(self._checked, member))

    async def check(self, member: Member) -> None:
        """Check a worker once."""
        error = None
        try:
            await self._ask(member)
        except TimeoutError:
            error = f"no answer within {self._settings.seconds:g} s"
        except (UpstreamError, ValueError) as problem:
            error = str(problem)
        member.health.checked(error is None, self._now(), error=error)
        self._fleet.look(member)

    def _checked(self, member: Member, task: "asyncio.Task[None]") -> None:
        del self._tasks[member]

    async def _ask(self, member: Member) -> None:
        path = self._settings.path
        answer = await self._get(member, path)
        if answer.status == 404 and path == "/health":
            path = "/v1/models"
            answer = await self._get(member, path)
        if answer.status != 200:
            raise ValueError(f"{path} answered {answer.status}")
        is_new = member.health.state in (State.STARTING, State.DOWN)
        since = self._now() - self._described.get(member, -DESCRIBE_SECONDS)
        if is_new or since >= DESCRIBE_SECONDS:
            await self._describe(member)
            self._described[member] = self._now()

    async def _describe(self, member: Member) -> None:
        answer = await self._get(member, "/v1/models")
        if answer.status != 200:
            raise ValueError(f"/v1/models answered {answer.status}")
        try:
            entries = _MODELS.decode(answer.body).data
            catalogue = {_MODEL.decode(entry).id: entry for entry in entries}
        except MALFORMED as error:
            raise ValueError(f"/v1/models did not list models: {_what(error)}") from None
        if not catalogue:
            raise ValueError("/v1/models listed no model")
        n_tokens = await self._cache_tokens(member)
        n_pages = n_tokens // self._page_size if n_tokens is not None else None
        self._fleet.describe(member, catalogue, n_pages)

    async def _cache_tokens(self, member: Member) -> int | None:
        """Return how many tokens a worker's cache holds, if it says."""
        for path, read in (
            ("/server_info", _read_server_info),
            ("/get_server_info", _read_server_info),
            ("/metrics", _read_vllm_metrics),
        ):
            try:
                answer = await self._get(member, path)
            except (UpstreamError, TimeoutError):
                return None
            n_tokens = read(answer.body) if answer.status == 200 else None
            if n_tokens is not None and self._page_size <= n_tokens <= MOST_TOKENS:
                return n_tokens
        return None

    async def _get(self, member: Member, path: str) -> Response:
        return await fetch(
            member.origin,
            "GET",
            path,
            headers=member.authorization,
            seconds=self._settings.seconds,
            n_bytes=N_BYTES,
        )


def _read_server_info(body: bytes) -> int | None:
    try:
        info = _SERVER_INFO.decode(body)
    except MALFORMED:
        return None
    if info.n_pages is not None and info.page_size is not None:
        return info.n_pages * info.page_size
    return info.max_total_num_tokens


def _read_vllm_metrics(body: bytes) -> int | None:
    found = VLLM_CACHE.search(body)
    if found is None:
        return None
    labels = dict(LABEL.findall(found.group(1)))
    try:
        return int(labels[b"block_size"]) * int(labels[b"num_gpu_blocks"])
    except (KeyError, ValueError):
        return None


def _what(error: Exception) -> str:
    """Return in one line what was wrong with an answer."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
