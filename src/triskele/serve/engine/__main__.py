"""``python -m triskele.serve.engine``: one engine, one process, one port.

Everything that belongs to a process and not to an engine is here: arguments, threads, signals, the
line on standard output, and exit statuses.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import msgspec
import torch
import tyro
import uvloop

from triskele import __version__
from triskele.serve.engine.config import EngineConfig
from triskele.serve.engine.driver import Driver
from triskele.serve.engine.kv_events import EventPublisher
from triskele.serve.engine.loading import assemble
from triskele.serve.engine.server import EngineServer
from triskele.serve.engine.step_log import StepLog

DONE, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    config = tyro.cli(EngineConfig, args=arguments, prog="python -m triskele.serve.engine")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    torch.set_num_threads(config.threads)
    try:
        return uvloop.run(_serve(config))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"triskele.serve.engine: {error}\n")
        return FAILED


async def _serve(config: EngineConfig) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopped.set)
    if config.follow_stdin:
        threading.Thread(target=_follow_stdin, args=(loop, stopped), daemon=True).start()
    engine, served = assemble(config)
    publisher = None
    if config.kv_events is not None:
        publisher = EventPublisher(config.kv_events, page_size=config.page_size)
        served = replace(served, kv_events=publisher.endpoint)
    steps = None if config.steps is None else StepLog(config.steps)
    driver = Driver(
        engine,
        on_changes=None if publisher is None else publisher.publish,
        on_step=None if steps is None else steps.add,
        cpu_share=config.cpu_share,
    )
    server = EngineServer(driver, served)
    try:
        await server.start(config.host, config.port)
        told = {
            "port": server.port,
            "model": served.name,
            "page_size": served.page_size,
            "n_pages": served.n_pages,
            "max_seq_len": served.max_seq_len,
            "kv_events": served.kv_events,
            "version": __version__,
        }
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        sys.stdout.flush()
        await stopped.wait()
        is_served = await server.drain(config.drain_seconds)
    finally:
        if publisher is not None:
            publisher.close()
        if steps is not None:
            steps.close()
    return DONE if is_served else FAILED


def _follow_stdin(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    """Wait for the end of standard input; what comes before it is dropped."""
    # Not through sys.stdin, whose lock would be held by this thread when the process ends.
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(stopped.set)


if __name__ == "__main__":
    sys.exit(main())
