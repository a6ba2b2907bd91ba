"""Real sockets: a publisher that may lose batches, and one that repeats them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import zmq
import zmq.asyncio
from tests.serve.gateway.test_events import PAGE, TOKENS, Holder, pack, pages, stored

from triskele.serve.gateway import event_stream
from triskele.serve.gateway.event_stream import EventStream
from triskele.serve.gateway.events import EventTranslator

END = (-1).to_bytes(8, "big", signed=True)


class Publisher:
    """Publishes as vLLM does, and repeats where it is asked to."""

    def __init__(self, context: zmq.asyncio.Context, *, topic: bytes = b"") -> None:
        self.topic = topic
        self.buffer: list[tuple[int, bytes]] = []
        self.asked: list[int] = []
        self.events = context.socket(zmq.PUB)
        self.replies = context.socket(zmq.ROUTER)
        self.ports = [one.bind_to_random_port("tcp://127.0.0.1") for one in self.sockets]

    @property
    def sockets(self) -> tuple[zmq.asyncio.Socket, zmq.asyncio.Socket]:
        return self.events, self.replies

    @property
    def endpoints(self) -> list[str]:
        return [f"tcp://127.0.0.1:{port}" for port in self.ports]

    async def publish(self, payload: bytes, *, is_lost: bool = False) -> None:
        number = self.buffer[-1][0] + 1 if self.buffer else 0
        self.buffer.append((number, payload))
        if not is_lost:
            await self.events.send_multipart([self.topic, number.to_bytes(8, "big"), payload])

    async def repeat(self) -> None:
        while True:
            who, empty, first = await self.replies.recv_multipart()
            assert empty == b""
            self.asked.append(int.from_bytes(first, "big"))
            for number, payload in self.buffer:
                if number >= self.asked[-1]:
                    await self.replies.send_multipart(
                        [who, b"", number.to_bytes(8, "big"), payload]
                    )
            await self.replies.send_multipart([who, b"", END, b""])

    def close(self) -> None:
        for socket in self.sockets:
            socket.close(linger=0)


class Listening:
    """A publisher, a stream that listens to it, and what came of it."""

    def __init__(self, publisher: Publisher, *, replay: bool, topic: bytes = b"") -> None:
        events, replies = publisher.endpoints
        self.publisher = publisher
        self.holder = Holder()
        self.translator = EventTranslator("w", self.holder, page_size=PAGE)
        self.stream = EventStream(
            self.translator, events, replay=replies if replay else None, topic=topic
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20.0):
            while not condition():
                await asyncio.sleep(0.005)

    async def connected(self) -> None:
        """Publish until something arrives: a subscription takes a moment."""
        n_calls = self.holder.n_calls
        async with asyncio.timeout(20.0):
            while self.holder.n_calls == n_calls:
                await self.publisher.publish(pack("maps", stored([0], [9] * 4)))
                await asyncio.sleep(0.02)


def play(
    scene: Callable[[Listening], Coroutine[Any, Any, None]],
    *,
    replay: bool = True,
    repeats: bool = True,
    topic: bytes = b"",
) -> None:
    async def run() -> None:
        context = zmq.asyncio.Context()
        publisher = Publisher(context, topic=topic)
        listening = Listening(publisher, replay=replay, topic=topic)
        tasks = [asyncio.create_task(listening.stream.run())]
        if repeats:
            tasks.append(asyncio.create_task(publisher.repeat()))
        try:
            await scene(listening)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            publisher.close()
            context.term()
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)

    asyncio.run(run())


@pytest.mark.parametrize("topic", [b"", b"kv-events"])
def test_what_is_published_is_heard(topic: bytes) -> None:
    async def scene(one: Listening) -> None:
        await one.connected()
        await one.publisher.publish(pack("maps in an array", stored([1, 2], TOKENS[:8])))
        await one.until(lambda: one.holder.held == pages(TOKENS[:8]) | pages([9] * 4))

    play(scene, replay=False, topic=topic)


def test_what_was_published_before_is_asked_for() -> None:
    async def scene(one: Listening) -> None:
        await one.until(lambda: one.holder.held == pages(TOKENS[:8]))
        assert one.publisher.asked == [0]

    async def run() -> None:
        context = zmq.asyncio.Context()
        publisher = Publisher(context)
        await publisher.publish(pack("maps", stored([1], TOKENS[:4])), is_lost=True)
        await publisher.publish(pack("maps", stored([2], TOKENS[4:8], 1)), is_lost=True)
        one = Listening(publisher, replay=True)
        tasks = [asyncio.create_task(one.stream.run()), asyncio.create_task(publisher.repeat())]
        await scene(one)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        publisher.close()
        context.term()

    asyncio.run(run())


def test_what_is_lost_is_asked_for_and_nothing_is_doubted() -> None:
    async def scene(one: Listening) -> None:
        await one.connected()
        await one.publisher.publish(pack("maps", stored([1], TOKENS[:4])), is_lost=True)
        await one.publisher.publish(pack("maps", stored([2], TOKENS[4:8], 1)), is_lost=True)
        await one.publisher.publish(pack("maps", stored([3], TOKENS[8:12], 2)))
        await one.until(lambda: one.holder.held == pages(TOKENS[:12]) | pages([9] * 4))
        assert one.translator.n_gaps == 0
        assert len(one.publisher.asked) >= 2

    play(scene)


def test_what_is_lost_for_good_leaves_nothing_certain() -> None:
    async def scene(one: Listening) -> None:
        await one.connected()
        await one.publisher.publish(pack("maps", stored([1], TOKENS[:4])), is_lost=True)
        await one.publisher.publish(pack("maps", stored([3], TOKENS[8:12])))
        await one.until(lambda: one.holder.held == pages(TOKENS[8:12]))
        assert one.translator.n_gaps == 1

    play(scene, replay=False)


def test_a_socket_that_does_not_answer_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_stream, "REPLAY_SECONDS", 0.05)

    async def scene(one: Listening) -> None:
        await one.connected()
        await one.publisher.publish(pack("maps", stored([1], TOKENS[:4])))
        await one.until(lambda: one.holder.held >= pages(TOKENS[:4]))

    with caplog.at_level(logging.WARNING):
        play(scene, repeats=False)
    assert "does not repeat events in time" in caplog.text


def test_what_is_no_event_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(one: Listening) -> None:
        await one.connected()
        await one.publisher.events.send_multipart([b"", b"short", b""])
        await one.publisher.events.send_multipart([b"alone"])
        await one.publisher.publish(pack("maps", stored([1], TOKENS[:4])))
        await one.until(lambda: one.holder.held >= pages(TOKENS[:4]))

    with caplog.at_level(logging.WARNING):
        play(scene, replay=False)
    assert caplog.text.count("sends what is no event") == 2


def test_a_publisher_that_is_not_there_yet_is_waited_for() -> None:
    async def run() -> None:
        context = zmq.asyncio.Context()
        publisher = Publisher(context)
        endpoint = publisher.endpoints[0]
        publisher.events.unbind(endpoint)
        one = Listening(publisher, replay=False)
        task = asyncio.create_task(one.stream.run())
        await asyncio.sleep(0.05)
        publisher.events.bind(endpoint)
        await one.connected()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        publisher.close()
        context.term()

    asyncio.run(run())
