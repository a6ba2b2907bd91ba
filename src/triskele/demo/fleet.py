"""What serves: for each model its workers, and before all of them one gateway, each a process.

The commands are those that anybody would type: ``python -m triskele.serve.engine`` and
``triskele serve``. All of them end with the demonstration.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triskele.demo.config import Hardware
from triskele.demo.models import LOGS
from triskele.demo.watching import Watcher
from triskele.serve.http import Origin, UpstreamError, fetch

JOURNAL, CAPABILITY = "journal", "capability"
START_SECONDS = 120.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.1
STAGE = "workers and gateway"


@dataclass(frozen=True, slots=True)
class Fleet:
    """What takes requests: its address, and the folders of its journal and its capability table."""

    url: str
    journal: Path
    capability: Path


@asynccontextmanager
async def fleet(
    checkpoints: Mapping[str, Path],
    tokenizer: Path,
    out: Path,
    hardware: Hardware,
    *,
    seed: int,
    watcher: Watcher,
) -> AsyncIterator[Fleet]:
    """Start all processes, and end them afterwards.

    Parameters
    ----------
    checkpoints
        Folders of the models, by name.
    tokenizer
        Folder of the tokenizer that all of them share.
    out
        Where journal, capability table and logs go.
    hardware
        How many workers, and of what kind.
    seed
        Of the workers.
    watcher
        Shown how many are there.

    Raises
    ------
    ValueError
        If one does not start; what it said is in its log.
    """
    (out / LOGS).mkdir(parents=True, exist_ok=True)
    names = [(name, number) for name in checkpoints for number in range(hardware.workers)]
    watcher.begin(STAGE, len(names) + 1)
    processes: list[_Process] = []
    try:
        for place, (name, number) in enumerate(names):
            command = _worker_command(checkpoints[name], name, hardware, seed + place)
            processes.append(await _started(command, out / LOGS / f"{name}-{number}.log"))
        told = []
        for done, worker in enumerate(processes):
            told.append(await worker.first_line())
            watcher.advance(STAGE, done + 1)
        command = _gateway_command(told, tokenizer, out, hardware)
        gateway = await _started(command, out / LOGS / "gateway.log")
        processes.append(gateway)
        url = str((await gateway.first_line())["url"])
        await _ready(url, len(names))
        watcher.advance(STAGE, len(names) + 1)
        yield Fleet(url, out / JOURNAL, out / CAPABILITY)
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


def _worker_command(checkpoint: Path, name: str, hardware: Hardware, seed: int) -> list[str]:
    given = {
        "--model": checkpoint,
        "--served-name": name,
        "--device": "cpu",
        "--threads": 1,
        "--cpu-share": hardware.cpu_share,
        "--n-pages": hardware.cache_pages,
        "--page-size": hardware.page_tokens,
        "--kv-events": "tcp://127.0.0.1:*",
        "--seed": seed,
    }
    words = [str(word) for pair in given.items() for word in pair]
    return ["-m", "triskele.serve.engine", *words, "--follow-stdin"]


def _gateway_command(
    workers: Sequence[Mapping[str, Any]], tokenizer: Path, out: Path, hardware: Hardware
) -> list[str]:
    words = ["-m", "triskele", "serve", "--port", "0", "--keep-text", "--embed-seconds", "0"]
    words += ["--journal", str(out / JOURNAL), "--capability", str(out / CAPABILITY)]
    words += ["--tokenizer", str(tokenizer), "--prefix-tokens", str(hardware.page_tokens)]
    for worker in workers:
        url = f"http://127.0.0.1:{worker['port']}"
        words += ["--upstream", url, "--kv-events", f"{url}={worker['kv_events']}"]
    return words


class _Process:
    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def first_line(self) -> dict[str, Any]:
        """Return the line of JSON by which a process says that it is ready."""
        assert self._process.stdout is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                if line := await self._process.stdout.readline():
                    return dict(json.loads(line))
        raise ValueError(f"a process did not start; see {self._log}")

    async def stop(self) -> None:
        """End it: by a word first, then for good."""
        with suppress(ProcessLookupError):
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.communicate()
            except TimeoutError:
                self._process.kill()
        await self._process.communicate()


async def _started(words: list[str], log: Path) -> _Process:
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            # Ctrl-C is for the demonstration alone, which ends them in its own order.
            start_new_session=True,
        )
    return _Process(process, log)


async def _ready(url: str, n_workers: int) -> None:
    """Wait until the gateway has found all workers well."""
    origin = Origin(url)
    try:
        async with asyncio.timeout(START_SECONDS):
            while True:
                with suppress(UpstreamError):
                    status = json.loads((await fetch(origin, "GET", "/admin/status")).body)
                    states = [worker["state"] for worker in status["workers"]]
                    if states.count("ready") == n_workers:
                        return
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise ValueError(f"expected {n_workers} workers to be ready, not all are") from None
    finally:
        origin.close()
