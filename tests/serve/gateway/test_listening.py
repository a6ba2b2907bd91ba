"""What workers say of their caches reaches the router that sends to them, whichever that is."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq.asyncio
from tests.serve.gateway.openai_worker import MODEL, OpenAIWorker, until
from tests.serve.gateway.test_event_stream import Publisher
from tests.serve.gateway.test_events import pack, removed, stored
from tests.serve.gateway.test_tokens import WORDS, save_tiny

from triskele.serve.cache import chained_hashes, token_key
from triskele.serve.gateway import Gateway, Settings
from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.gateway.health import Patience, State
from triskele.serve.gateway.listening import EventSource, RouterOf
from triskele.serve.gateway.tokens import PromptTokens
from triskele.serve.http import Origin, fetch
from triskele.serve.launch.options import EngineOptions
from triskele.serve.launch.workers import Workers
from triskele.serve.routing.named import Policy

PAGE = 4
TOKENS = list(range(100, 116))
TEXT = "/v1/completions"
SOON = Patience(check_seconds=0.2, first_seconds=0.05, eager_wait=0.1, longest_wait=0.2)


class AsTheyAre:
    """Stands for a tokenizer where prompts are token ids already."""

    def of_text(self, text: str) -> bytes:
        raise ValueError("expected token ids")


def hashes_of(tokens: Sequence[int], page_size: int = PAGE) -> list[int]:
    return chained_hashes(token_key(tokens, 1), 4 * page_size)


def held(router: Any, hashes: Sequence[int]) -> dict[str, int]:
    """Return how many leading pages each worker holds, as a router knows it."""
    if hasattr(router, "_trees"):
        names, pages = router._trees.load.roster.names, router._trees.held(list(hashes))
    else:
        names, pages = router._roster.names, np.zeros(len(router._roster))
        router._mirror.n_pages(list(hashes), router._roster.mask, pages)
    return {name: int(n) for name, n in zip(names, pages, strict=False)}


class Hearing:
    """A gateway that hears workers, and what its router knows of them."""

    def __init__(self, gateway: Gateway, page_size: int) -> None:
        self.gateway = gateway
        self.page_size = page_size
        self.origin = Origin(f"http://127.0.0.1:{gateway.port}")

    @property
    def router(self) -> Any:
        (pool,) = self.gateway.fleet.pools
        return pool.router

    async def ask(self, tokens: Sequence[int] = (1, 2, 3), **fields: Any) -> dict[str, Any]:
        body = {"model": MODEL, "prompt": list(tokens), "max_tokens": 2, **fields}
        answer = await fetch(
            self.origin, "POST", TEXT, body=json.dumps(body).encode(), seconds=30.0
        )
        assert answer.status == 200, answer.body
        return json.loads(answer.body)  # type: ignore[no-any-return]

    def held(self, tokens: Sequence[int] = TOKENS) -> int:
        """Return how many leading pages of a prompt the one that has most of them holds."""
        found = held(self.router, hashes_of(tokens, self.page_size))
        return max(found.values(), default=0)

    async def hears(self, n_pages: int, tokens: Sequence[int] = TOKENS) -> None:
        try:
            await until(lambda: self.held(tokens) == n_pages, 10.0)
        except TimeoutError:
            assert self.held(tokens) == n_pages

    async def told(self, n_pages: int) -> None:
        """Wait for a router that learns with the requests that it gets."""
        async with asyncio.timeout(10.0):
            while self.held() != n_pages:
                await self.ask()


@asynccontextmanager
async def hearing(
    *workers: OpenAIWorker,
    sources: Iterable[EventSource | None],
    page_size: int = PAGE,
    policy: str = "lbgr",
) -> AsyncIterator[Hearing]:
    gateway = Gateway(
        Settings(
            policy=Policy(policy, "lru"),
            forwarding=Forwarding(page_size=page_size, worker_seconds=5.0),
            patience=SOON,
        ),
        tokens=AsTheyAre(),  # type: ignore[arg-type]
    )
    for worker, source in zip(workers, sources, strict=True):
        await worker.start()
        gateway.add(worker.url, worker.name, events=source)
    await gateway.start("127.0.0.1", 0)
    try:
        await gateway.ready(n_workers=len(workers), seconds=20.0)
        one = Hearing(gateway, page_size)
        yield one
        one.origin.close()
    finally:
        await gateway.drain(1.0)
        for worker in workers:
            await worker.kill()


Scene = Callable[[Hearing, Publisher, OpenAIWorker], Coroutine[Any, Any, None]]


def play(scene: Scene, *, replay: bool = False, before: tuple[Any, ...] = (), **how: Any) -> None:
    """Play a scene before one worker that publishes, and one that does not."""

    async def run() -> None:
        context = zmq.asyncio.Context()
        publisher = Publisher(context)
        for event in before:
            await publisher.publish(pack("maps", event), is_lost=True)
        events, again = publisher.endpoints
        repeating = asyncio.create_task(publisher.repeat())
        worker, silent = OpenAIWorker("loud"), OpenAIWorker("silent")
        sources = (EventSource(events, again if replay else None), None)
        try:
            async with hearing(worker, silent, sources=sources, **how) as one:
                if not before:
                    await subscribed(one, publisher)
                await scene(one, publisher, worker)
        finally:
            repeating.cancel()
            await asyncio.gather(repeating, return_exceptions=True)
            publisher.close()
            context.term()

    asyncio.run(run())


async def subscribed(one: Hearing, publisher: Publisher) -> None:
    """Publish until something is heard, and have the router know its workers."""
    await one.ask()
    translator, _ = one.gateway._listening._streams["loud"]
    async with asyncio.timeout(20.0):
        while not translator._blocks:
            await publisher.publish(pack("maps", stored([0], [9] * 4)))
            await asyncio.sleep(0.02)


FIRST, SECOND = stored([1, 2], TOKENS[:8]), stored([3, 4], TOKENS[8:], 2)


@pytest.mark.parametrize("policy", ["lbgr", "dynamo"])
def test_a_router_knows_what_a_worker_says_it_stored_and_evicted(policy: str) -> None:
    async def scene(one: Hearing, publisher: Publisher, _: OpenAIWorker) -> None:
        await publisher.publish(pack("maps", FIRST, SECOND))
        await one.hears(4)
        await publisher.publish(pack("maps", removed([4, 3])))
        await one.hears(2)
        assert held(one.router, hashes_of(TOKENS)) == {"loud": 2, "silent": 0}
        await publisher.publish(pack("maps", {"type": "AllBlocksCleared"}))
        await one.hears(0)

    play(scene, policy=policy)


@pytest.mark.parametrize(("page_size", "n_first", "n_both"), [(2, 4, 8), (8, 1, 2), (6, 1, 2)])
def test_pages_of_the_gateway_need_not_be_as_long_as_a_workers_blocks(
    page_size: int, n_first: int, n_both: int
) -> None:
    async def scene(one: Hearing, publisher: Publisher, _: OpenAIWorker) -> None:
        await publisher.publish(pack("maps", FIRST))
        await one.hears(n_first)
        await publisher.publish(pack("maps", SECOND))
        await one.hears(n_both)

    play(scene, page_size=page_size)


def test_what_was_said_before_the_first_request_is_told_with_it() -> None:
    async def scene(one: Hearing, publisher: Publisher, _: OpenAIWorker) -> None:
        translator, _ = one.gateway._listening._streams["loud"]
        await until(lambda: len(translator._blocks) == 4)
        await one.told(4)
        one.router.check()

    play(scene, replay=True, before=(FIRST, SECOND))


@pytest.mark.parametrize("policy", ["lbgr", "dynamo"])
def test_another_router_is_told_what_the_last_one_knew(policy: str) -> None:
    async def scene(one: Hearing, publisher: Publisher, _: OpenAIWorker) -> None:
        await publisher.publish(pack("maps", FIRST))
        await one.hears(2)
        one.gateway.switch("round-robin")
        await one.ask()
        await publisher.publish(pack("maps", SECOND))
        translator, _ = one.gateway._listening._streams["loud"]
        await until(lambda: len(translator._blocks) == 5)
        one.gateway.switch(policy)
        assert held(one.router, hashes_of(TOKENS)).get("loud", 0) == 0
        await one.told(4)
        await publisher.publish(pack("maps", removed([4])))
        await one.hears(3)
        one.router.check()

    play(scene, policy="lbgr-greedy")


def test_a_worker_that_comes_back_with_its_cache_is_known_again() -> None:
    async def scene(one: Hearing, publisher: Publisher, _: OpenAIWorker) -> None:
        await publisher.publish(pack("maps", FIRST, SECOND))
        await one.hears(4)
        one.gateway.change("loud", "drain")
        await one.ask()
        assert one.held() == 0, "to a router it has left"
        await publisher.publish(pack("maps", removed([4])))
        one.gateway.change("loud", "resume")
        await one.gateway.ready(n_workers=2)
        await one.told(3)

    play(scene)


def test_one_that_answers_for_long_is_enough_for_the_router_to_be_told() -> None:
    async def scene(one: Hearing, _: Publisher, worker: OpenAIWorker) -> None:
        translator, _ = one.gateway._listening._streams["loud"]
        await until(lambda: len(translator._blocks) == 4)
        worker.may_answer.clear()
        one.gateway.change("silent", "drain")
        under_way = asyncio.create_task(one.ask())
        await one.hears(4)
        worker.may_answer.set()
        await under_way

    play(scene, replay=True, before=(FIRST, SECOND))


def test_of_a_worker_that_went_down_nothing_is_believed_until_it_says_it_again() -> None:
    async def scene(one: Hearing, publisher: Publisher, worker: OpenAIWorker) -> None:
        await publisher.publish(pack("maps", FIRST))
        await one.hears(2)
        await worker.kill()
        member = one.gateway.fleet.get("loud")
        assert member is not None
        await until(lambda: member.health.state is State.DOWN)
        assert not one.gateway._listening._streams["loud"][0]._blocks
        await one.ask()
        assert one.held() == 0
        await worker.start()
        await one.gateway.ready(n_workers=2)
        await one.ask()
        assert one.held() == 0
        await publisher.publish(pack("maps", stored([7], TOKENS[:4])))
        await one.told(1)

    play(scene)


def test_a_worker_off_the_list_is_heard_no_more() -> None:
    async def scene(one: Hearing, publisher: Publisher, _: OpenAIWorker) -> None:
        await publisher.publish(pack("maps", FIRST))
        await one.hears(2)
        listening = one.gateway._listening
        _, task = listening._streams["loud"]
        one.gateway.change("loud", "remove")
        await asyncio.wait([task], timeout=10.0)
        assert task.cancelled()
        assert not listening._streams
        assert not listening._seen
        assert not listening._new_since
        assert not listening._listener._held
        await one.ask()
        assert one.held() == 0
        listening.doubt("loud")
        listening.forget("loud")

    play(scene)


def test_a_stream_that_cannot_be_heard_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        worker = OpenAIWorker("w")
        source = EventSource("tcp://nowhere")
        async with hearing(worker, sources=[source]) as one:
            await until(lambda: caplog.records)
            await one.ask()

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert caplog.messages == ["the events of w are heard no more"]


@pytest.mark.parametrize(
    ("text", "endpoint", "replay"),
    [
        ("tcp://10.0.0.5:5557", "tcp://10.0.0.5:5557", None),
        ("tcp://10.0.0.5:5557,", "tcp://10.0.0.5:5557", None),
        ("tcp://worker-3.local:1,tcp://worker-3.local:2", "tcp://worker-3.local:1", "2"),
        ("tcp://[::1]:5557,tcp://[::1]:5558", "tcp://[::1]:5557", "5558"),
        ("ipc:///run/events", "ipc:///run/events", None),
    ],
)
def test_where_events_are_published_is_read(text: str, endpoint: str, replay: str | None) -> None:
    source = EventSource.parse(text)
    assert source.endpoint == endpoint
    assert (source.replay or "").rpartition(":")[2] == (replay or "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.5:1",
        "http://a:1",
        "tcp://a",
        "tcp://a:b",
        "tcp://:1",
        "tcp://a:65536",
        "tcp://a:1,b",
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected tcp://HOST:PORT of key-value events, got"):
        EventSource.parse(text)


def test_nobody_is_told_while_nobody_routes() -> None:
    listener = RouterOf(lambda worker: None)
    listener.stored("w", [1, 2])
    listener.tell_again("w")
    listener.removed("w", [1])
    assert listener._held == {"w": {2}}
    listener.cleared("w")
    listener.tell_again("w")
    assert not listener._held


# With a real engine, whose pages are named by the very hashes that the gateway makes.


def test_the_gateway_hashes_the_pages_of_the_engines_cache_and_hears_of_its_evictions(
    tmp_path: Path,
) -> None:
    folder = save_tiny(tmp_path / MODEL)
    tokens = PromptTokens(folder)

    def pages(text: str) -> list[int]:
        return chained_hashes(tokens.of_text(text), 4 * 16)

    async def run() -> None:
        gateway = Gateway(
            Settings(forwarding=Forwarding(page_size=16, worker_seconds=20.0)), tokens=tokens
        )
        options = EngineOptions(workers=1, device="cpu", cache_tokens=40 * 16, threads=1)
        async with Workers(folder, options, "lru", gateway):
            await gateway.start("127.0.0.1", 0)
            await gateway.ready(seconds=30.0)
            one = Hearing(gateway, 16)
            try:
                await look(one)
            finally:
                one.origin.close()
                await gateway.drain(5.0)

    async def look(one: Hearing) -> None:
        async def ask(text: str) -> int:
            answer = await one.ask(prompt=text)
            return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

        def known(text: str) -> int:
            return held(one.router, pages(text))["worker-0"]

        first = "first " + WORDS * 10
        n = len(pages(first))
        assert n > 4
        # The subscription takes a moment, and nobody repeats what it has missed.
        translator, _ = one.gateway._listening._streams["worker-0"]
        async with asyncio.timeout(20.0):
            for number in range(1000):
                await ask(f"{number} {WORDS}")
                await asyncio.sleep(0.05)
                if translator._blocks:
                    break
        assert await ask(first) == 0
        await until(lambda: known(first) == n)
        assert translator._blocks.keys() >= set(pages(first)), "the engine's names are the hashes"
        assert await ask(first + " again") == n * 16
        # A key that ends within a page is not cut by what follows it.
        assert await ask(first) // 16 in (n, n - 1)
        one.gateway.switch("lbgr-greedy")
        await ask("another")
        await until(lambda: known(first) == n)
        for number in range(12):
            await ask(f"{number} others " + WORDS * 10)
        await until(lambda: known(first) == 0)
        assert await ask(first) == 0, "it was evicted indeed"
        one.router.check()

    asyncio.run(run())
