"""The process of ``triskele serve``: secrets, signals, the gateway, and the workers it starts.

This is the one place where the environment is read. Standard output has one line, of JSON, when
the gateway listens; what a person should know goes to standard error.
"""

import asyncio
import gc
import logging
import os
import signal
import ssl as tls
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from triskele.serve.gateway.choosing import Choosing
from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.gateway.gateway import Gateway
from triskele.serve.gateway.keys import KeyFile, Keys, keys_from_environment
from triskele.serve.gateway.listening import EventSource
from triskele.serve.gateway.probing import Probing
from triskele.serve.gateway.settings import Queueing, Settings
from triskele.serve.gateway.tokens import TOKENIZER, PromptTokens
from triskele.serve.http import Limits
from triskele.serve.journal import Journal
from triskele.serve.launch.options import GatewayOptions, ServeConfig
from triskele.serve.launch.workers import Workers
from triskele.serve.routing.capability import Preference
from triskele.serve.routing.named import Policy

ADMIN_TOKEN = "TRISKELE_ADMIN_TOKEN"
UPSTREAM_KEY = "TRISKELE_UPSTREAM_KEY"
TOKENIZER_THREADS = "TOKENIZERS_PARALLELISM"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
SHORTEST_TOKEN = 16
# Collections that look at young objects only after so many: requests leave no cycles.
YOUNG_OBJECTS = 50_000
KEYS_SECONDS = 1.0
SERVED, CUT_OFF = 0, 1

logger = logging.getLogger(__name__)


def run(config: ServeConfig) -> int:
    """Serve until told to stop; return the exit status: 1 if requests had to be cut off."""
    logging.basicConfig(level=config.log_level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    gc.set_threshold(YOUNG_OBJECTS, 20, 100)
    # A prompt alone has nothing to share out, and its threads would be lost to those who fork.
    os.environ.setdefault(TOKENIZER_THREADS, "false")
    return uvloop.run(_serve(config, os.environ))


async def _serve(config: ServeConfig, environ: Mapping[str, str]) -> int:
    options = config.gateway
    keys, reload_keys = _keys(options.keys, environ)
    stopped = _stop_signal()
    async with AsyncExitStack() as stack:
        journal = None
        if options.journal is not None:
            journal = Journal(options.journal)
            stack.callback(journal.close)
        # Workers of our own have the model's tokenizer, if it is in a file.
        tokenizer = options.tokenizer
        if tokenizer is None and config.model is not None and (config.model / TOKENIZER).is_file():
            tokenizer = config.model
        gateway = Gateway(
            _settings(config),
            keys=keys,
            journal=journal,
            admin_token=_secret(options.admin_token, environ.get(ADMIN_TOKEN), ADMIN_TOKEN),
            credential=_secret(options.upstream_key, environ.get(UPSTREAM_KEY), UPSTREAM_KEY),
            learned=options.learned,
            tokens=None if tokenizer is None else PromptTokens(tokenizer),
            capability=config.choice.capability,
        )
        events = options.events_by_url()
        for url in config.upstream:
            source = EventSource.parse(events[url]) if url in events else None
            gateway.add(url, events=source)
        if config.model is not None:
            workers = Workers(config.model, config.engine, config.eviction, gateway)
            if not await _unless(stopped, stack.enter_async_context(workers)):
                return SERVED
        await gateway.start(config.host, config.port, ssl=_tls(options))
        _announce(config, gateway)
        watch = asyncio.create_task(_watch_keys(reload_keys))
        await stopped.wait()
        watch.cancel()
        logger.info("draining")
        is_served = await gateway.drain(options.drain_seconds)
    return SERVED if is_served else CUT_OFF


def _stop_signal() -> asyncio.Event:
    """Return what is set by SIGTERM or Ctrl-C; the second ends the process at once."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        if stopped.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopped


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Wait for work to be done, which may take minutes, or break it off when told to stop."""
    task, stop = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        task.cancel()
        stop.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)


def _settings(config: ServeConfig) -> Settings:
    options, choice = config.gateway, config.choice
    return Settings(
        policy=Policy(config.router, config.eviction),
        keeps_text=options.keep_text,
        allow_upstream=options.allow_upstream,
        choosing=Choosing(
            preference=Preference(
                margin=choice.margin,
                price=choice.price_weight,
                latency=choice.latency_weight,
                quality=choice.quality_weight,
                explore=choice.explore,
            ),
            embed_seconds=choice.embed_seconds,
        ),
        forwarding=Forwarding(
            n_attempts=options.attempts,
            hedge_seconds=options.hedge_seconds,
            request_seconds=options.request_seconds,
            page_size=options.prefix_tokens if config.model is None else config.engine.page_tokens,
        ),
        queueing=Queueing(n_per_worker=options.per_worker, n_queued=options.queue),
        probing=Probing(path=options.health_path),
        limits=Limits(body_bytes=options.body_mib << 20),
    )


def _keys(
    path: Path | None, environ: Mapping[str, str]
) -> tuple[Callable[[], Keys | None], Callable[[], object]]:
    """Return what tells the valid keys, and what looks whether they have changed."""
    if path is not None:
        file = KeyFile(path)
        return lambda: file.keys, file.reload
    fixed = keys_from_environment(environ)
    return lambda: fixed, lambda: None


async def _watch_keys(reload_keys: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(KEYS_SECONDS)
        reload_keys()


def _secret(path: Path | None, value: str | None, variable: str) -> str | None:
    """Return a secret from its file, or else from the environment."""
    secret = value or None if path is None else path.read_text(encoding="utf-8").strip()
    if secret is None:
        return None
    where = variable if path is None else str(path)
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError(f"{where}: expected one word of printable ASCII")
    if variable == ADMIN_TOKEN and len(secret) < SHORTEST_TOKEN:
        raise ValueError(f"{where}: expected a token of at least {SHORTEST_TOKEN} characters")
    return secret


def _tls(options: GatewayOptions) -> tls.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = tls.create_default_context(tls.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except tls.SSLError as error:
        files = f"{options.tls_cert} and {options.tls_key}"
        raise ValueError(f"expected a certificate chain and its key in {files}") from error
    return context


def _announce(config: ServeConfig, gateway: Gateway) -> None:
    scheme = "http" if config.gateway.tls_cert is None else "https"
    host = f"[{config.host}]" if ":" in config.host else config.host
    url = f"{scheme}://{host}:{gateway.port}"
    sys.stdout.write(msgspec.json.encode({"port": gateway.port, "url": url}).decode() + "\n")
    sys.stdout.flush()
    n = len(gateway.fleet)
    sys.stderr.write(
        f"triskele serve: {url}/v1, dashboard {url}/dashboard, "
        f"{n} worker{'s' if n != 1 else ''}; Ctrl-C stops\n"
    )
