"""Listening to a worker's key-value events over ZeroMQ.

The publisher sends ``topic, number, batch`` from a PUB socket, numbers as eight bytes with the
highest first. A ROUTER socket beside it, if there is one, repeats the last batches from a number on
and ends with an empty one. ZeroMQ connects again by itself, for as long as it takes.
"""

import asyncio
import logging
from contextlib import suppress

import zmq
import zmq.asyncio

from triskele.serve.gateway.events import EventTranslator

N_QUEUED = 100_000
"""Batches that may wait to be read before ZeroMQ drops some."""
NUMBER_BYTES = 8
REPLAY_SECONDS = 2.0
QUIET_MILLISECONDS = 50

_logger = logging.getLogger(__name__)


class EventStream:
    """Carries what a worker publishes to a translator.

    Parameters
    ----------
    translator
        Who takes the batches.
    endpoint
        Of the publisher, such as ``tcp://10.0.0.7:5557``.
    replay
        Of the socket that repeats; ``None`` if there is none, and what is missed stays missing.
    topic
        What to subscribe to; everything if empty.
    """

    def __init__(
        self,
        translator: EventTranslator,
        endpoint: str,
        *,
        replay: str | None = None,
        topic: bytes = b"",
    ) -> None:
        self._translator = translator
        self._endpoint = endpoint
        self._replay = replay
        self._topic = topic

    async def run(self) -> None:
        """Listen until cancelled."""
        context = zmq.asyncio.Context()
        try:
            with context.socket(zmq.SUB) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                socket.setsockopt(zmq.RCVHWM, N_QUEUED)
                socket.setsockopt(zmq.SUBSCRIBE, self._topic)
                socket.connect(self._endpoint)
                # What it holds already; what it publishes meanwhile waits in the socket.
                await self._ask(context, 0)
                while await socket.poll(QUIET_MILLISECONDS):
                    await self._hear(context, await socket.recv_multipart())
                self._translator.caught_up()
                while True:
                    await self._hear(context, await socket.recv_multipart())
        finally:
            context.term()

    async def _hear(self, context: zmq.asyncio.Context, frames: list[bytes]) -> None:
        if len(frames) != 3 or len(frames[1]) != NUMBER_BYTES:
            _logger.warning("%s sends what is no event: %d frames", self._endpoint, len(frames))
            return
        number = int.from_bytes(frames[1], "big")
        first = self._translator.missing(number)
        if first is not None:
            await self._ask(context, first)
        self._translator.apply(number, frames[2])
        # A socket with much to read never waits, and others want their turn.
        await asyncio.sleep(0)

    async def _ask(self, context: zmq.asyncio.Context, first: int) -> None:
        """Have batches repeated from number ``first`` on, as far as that is possible."""
        if self._replay is None:
            return
        # One socket per question: a late answer to an earlier one cannot be mistaken.
        with context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVHWM, N_QUEUED)
            socket.connect(self._replay)
            with suppress(TimeoutError):
                async with asyncio.timeout(REPLAY_SECONDS):
                    await socket.send_multipart([b"", first.to_bytes(NUMBER_BYTES, "big")])
                    while True:
                        *_, number, payload = await socket.recv_multipart()
                        if not payload:
                            return
                        self._translator.apply(int.from_bytes(number, "big"), payload)
                        await asyncio.sleep(0)
            _logger.warning("%s does not repeat events in time", self._replay)
