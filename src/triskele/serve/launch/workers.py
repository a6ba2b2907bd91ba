"""Workers of one's own: engine processes that are started, watched, and started again.

A worker that ends by itself is taken off the gateway's list and replaced, at first at once and
then after longer and longer waits. All of them end with the process that started them: they read
its standard input to the end, which comes even if it is killed.
"""

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from triskele.serve.gateway.gateway import Gateway
from triskele.serve.gateway.listening import EventSource
from triskele.serve.launch.options import EngineOptions

START_SECONDS = 300.0
STOP_SECONDS = 10.0
FIRST_WAIT, LONGEST_WAIT = 0.25, 30.0
# A worker that lived so long did not fail by being started.
STEADY_SECONDS = 60.0

logger = logging.getLogger(__name__)


class _Ready(msgspec.Struct):
    port: int
    kv_events: str | None = None


class Workers:
    """Engine processes behind a gateway, from entering to leaving the context.

    Parameters
    ----------
    model
        Folder of the checkpoint.
    options
        Of each worker.
    eviction
        Policy of their caches.
    gateway
        Where they are listed, as ``worker-0`` and so on.

    Raises
    ------
    ValueError
        On entering, when a worker does not start; its own words are on standard error.
    """

    def __init__(
        self, model: Path, options: EngineOptions, eviction: str, gateway: Gateway
    ) -> None:
        self._model = model
        self._options = options
        self._eviction = eviction
        self._gateway = gateway
        self._keepers: list[asyncio.Task[None]] = []
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        """Start all of them."""
        numbers = range(self._options.workers)
        try:
            results = await asyncio.gather(*map(self._start, numbers), return_exceptions=True)
        except asyncio.CancelledError:
            await self._stop_all()
            raise
        failures = [each for each in results if isinstance(each, BaseException)]
        if failures:
            await self._stop_all()
            raise failures[0]
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(number)) for number in numbers]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all of them."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await self._stop_all()

    async def _keep(self, number: int) -> None:
        """Start a worker again whenever it ends."""
        loop = asyncio.get_running_loop()
        wait = 0.0
        while True:
            began = loop.time()
            status = await self._processes[number].wait()
            logger.warning("worker %d ended with status %d; starting it again", number, status)
            with suppress(KeyError):
                self._gateway.change(_name(number), "remove")
            if loop.time() - began >= STEADY_SECONDS:
                wait = 0.0
            while True:
                await asyncio.sleep(wait)
                wait = min(max(2 * wait, FIRST_WAIT), LONGEST_WAIT)
                try:
                    await self._start(number)
                except (OSError, ValueError) as error:
                    logger.warning("worker %d did not start: %s", number, error)
                else:
                    break

    async def _start(self, number: int) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "triskele.serve.engine"),
            *self._arguments(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._processes[number] = process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await process.stdout.readline()
            ready = msgspec.json.decode(line, type=_Ready)
        except (TimeoutError, msgspec.MsgspecError) as error:
            await _stop(process)
            raise ValueError(f"worker {number} did not start; see what it said above") from error
        events = None if ready.kv_events is None else EventSource(ready.kv_events)
        try:
            self._gateway.add(f"http://127.0.0.1:{ready.port}", _name(number), events=events)
        except ValueError:
            # Somebody has listed another by that name: nobody would look after this one.
            await _stop(process)
            raise

    def _arguments(self) -> list[str]:
        options = self._options
        threads = options.threads or max(1, (os.cpu_count() or 1) // options.workers)
        given = {
            "--model": self._model,
            "--host": "127.0.0.1",
            "--port": 0,
            "--device": options.device,
            "--dtype": options.dtype,
            "--page-size": options.page_tokens,
            "--eviction": self._eviction,
            "--max-running": options.running,
            "--max-batch-tokens": options.batch_tokens,
            "--threads": threads,
            "--kv-events": "tcp://127.0.0.1:*",
        }
        if options.cache_tokens is not None:
            given["--n-pages"] = max(1, options.cache_tokens // options.page_tokens)
        words = [str(word) for pair in given.items() for word in pair]
        return [*words, "--follow-stdin"]

    async def _stop_all(self) -> None:
        await asyncio.gather(*map(_stop, self._processes.values()))


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process: by a word first, then for good."""
    with suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _name(number: int) -> str:
    return f"worker-{number}"
