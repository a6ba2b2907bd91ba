"""``python -m triskele.serve`` as a process, for tests."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

SECONDS = 30.0


class Process:
    """A server that listens."""

    def __init__(self, process: asyncio.subprocess.Process, said: dict[str, Any]) -> None:
        self.process = process
        self.url: str = said["url"]
        self.port: int = said["port"]

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; return the status, and what it said on standard error."""
        out, said = await asyncio.wait_for(self.process.communicate(), SECONDS)
        assert out == b"", "standard output has one line"
        assert self.process.returncode is not None
        return self.process.returncode, said.decode()


async def start(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "triskele.serve", "--port", "0", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environ or {})},
    )


@asynccontextmanager
async def running(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Start a server with these arguments, on a free port, and end it."""
    process = await start(*arguments, environ=environ)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
        if not line:
            _, said = await process.communicate()
            raise AssertionError(said.decode())
        yield Process(process, json.loads(line))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def failing(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return the status and the words of a server that does not start."""
    process = await start(*arguments, environ=environ)
    out, said = await asyncio.wait_for(process.communicate(), SECONDS)
    assert out == b""
    assert process.returncode is not None
    return process.returncode, said.decode()
