"""The gateway: every part of it put together, and its life from start to drain."""

import asyncio
import random
import ssl as tls
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from triskele import __version__
from triskele.serve.gateway.access import Access
from triskele.serve.gateway.administration import Administration, is_loopback
from triskele.serve.gateway.admission import Admission
from triskele.serve.gateway.choosing import ModelChooser
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.forwarding import Forwarder
from triskele.serve.gateway.health import Health
from triskele.serve.gateway.intake import Intake
from triskele.serve.gateway.journey import Journey
from triskele.serve.gateway.keys import Keys
from triskele.serve.gateway.learned import LearnedFile
from triskele.serve.gateway.listening import EventSource, Listening, RouterOf
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.metrics import Metrics
from triskele.serve.gateway.overview import Overview
from triskele.serve.gateway.pages import Pages
from triskele.serve.gateway.probing import Prober
from triskele.serve.gateway.records import record_of
from triskele.serve.gateway.settings import Settings
from triskele.serve.gateway.statistics import Statistics
from triskele.serve.gateway.tokens import PromptTokens
from triskele.serve.http import HttpServer, Origin
from triskele.serve.journal import Journal
from triskele.serve.routing import Router
from triskele.serve.routing.capability_table import Shelf
from triskele.serve.routing.latency import Diligence
from triskele.serve.routing.named import ROUTERS, Policy
from triskele.serve.routing.query_embedding import embedder

TICK_SECONDS = 0.25
SECOND = 1.0
# Of a worker that answers thousands of requests a second, these tell as much as all.
DILIGENCE = Diligence(lessons=50.0, refresh=0.005)


class Gateway:
    """One OpenAI-compatible address before many workers.

    Made inside a running event loop.

    Parameters
    ----------
    settings
        How it works.
    keys
        Returns the API keys that are valid now; ``None`` where everybody may.
    journal
        Takes a record of every request; ``None`` for none.
    admin_token
        Opens the admin API beyond this machine.
    credential
        The authorization of workers that are added.
    learned
        Where what the routers learn is kept over restarts; ``None`` for nowhere.
    tokens
        Makes the tokens that workers will see; without it, prompts are hashed as text.
    capability
        Folder of the capability table, by which ``auto`` chooses models; ``None`` for no ``auto``.

    Examples
    --------
    >>> gateway = Gateway(Settings())
    >>> gateway.add("http://127.0.0.1:8001")
    >>> await gateway.start("127.0.0.1", 8000)
    """

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Callable[[], Keys | None] = lambda: None,
        journal: Journal | None = None,
        admin_token: str | None = None,
        credential: str | None = None,
        learned: Path | None = None,
        tokens: PromptTokens | None = None,
        capability: Path | None = None,
    ) -> None:
        self._settings = settings
        self._policy = settings.policy
        self._journal = journal
        self._admin_token = admin_token
        self._credential = credential
        self._learned = None if learned is None else LearnedFile(learned)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._rng = random.Random()
        self._is_draining = False
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._listed: list[str] = []
        queueing, forwarding = settings.queueing, settings.forwarding
        self._admission = Admission(
            n_queued=queueing.n_queued, queue_seconds=queueing.queue_seconds
        )
        self.fleet = Fleet(self._make_router, self._changed)
        self.statistics = Statistics()
        self._access = Access(keys)
        self._chooser = None
        if capability is not None:
            rng = np.random.default_rng(settings.seed)
            self._chooser = ModelChooser(Shelf(capability), embedder, settings.choosing, rng)
        self._listening = Listening(RouterOf(self.fleet.router_of), page_size=forwarding.page_size)
        intake = Intake(
            self.fleet,
            page_size=forwarding.page_size,
            worker_seconds=forwarding.worker_seconds,
            now=self._loop.time,
            tokens=tokens,
            chooser=self._chooser,
        )
        self._forwarder = Forwarder(
            self.fleet,
            self._access,
            self._admission,
            settings=forwarding,
            intake=intake,
            policy=lambda: self._policy.router,
            ended=self._ended,
        )
        self._overview = Overview(
            self.fleet, self._admission, self.statistics, page_size=forwarding.page_size
        )
        self._prober = Prober(
            self.fleet, settings.probing, page_size=forwarding.page_size, now=self._loop.time
        )
        if self._learned is not None:
            self.fleet.remember(self._learned.load(self._policy.label))
        self._server: HttpServer | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return self._server.port

    async def start(self, host: str, port: int, *, ssl: tls.SSLContext | None = None) -> None:
        """Listen, and look after the workers; port 0 takes a free one.

        Raises
        ------
        OSError
            When the address cannot be listened on.
        """
        administration = Administration(
            self,
            describe=self._describe,
            token=self._admin_token,
            is_local=is_loopback(host),
            allowed=(*self._listed, *self._settings.allow_upstream),
        )
        journal = self._journal
        n_dropped = None if journal is None else lambda: journal.n_dropped
        chosen = None if self._chooser is None else self._chooser.router
        pages = Pages(
            self._forwarder,
            administration,
            self.fleet,
            Metrics(
                self.fleet, self._admission, self.statistics, n_dropped=n_dropped, chosen=chosen
            ),
            self._access,
            is_draining=lambda: self._is_draining,
            feedback=None if journal is None else journal.directory,
            has_auto=self._chooser is not None,
            version=__version__,
        )
        self._server = HttpServer(pages, limits=self._settings.limits)
        await self._server.start(host, port, ssl=ssl)
        start = self._loop.create_task
        self._tasks = [start(self._prober.run()), start(self._tick())]
        if self._learned is not None:
            keeping = self._learned.keep(self.fleet, lambda: self._policy.label, self._stopping)
            self._keeper = start(keeping)

    async def ready(self, *, n_workers: int = 1, seconds: float = 60.0) -> None:
        """Wait until so many workers may be used.

        Raises
        ------
        TimeoutError
            When that takes too long.
        """
        async with asyncio.timeout(seconds):
            while self.fleet.n_usable < n_workers:
                await asyncio.sleep(0.01)

    async def drain(self, seconds: float) -> bool:
        """Take no new connections, finish what is here for ``seconds``, then stop.

        Returns
        -------
        bool
            Whether every request was finished.
        """
        self._is_draining = True
        assert self._server is not None
        is_served = await self._server.drain(seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listening.stop()
        if self._chooser is not None:
            self._chooser.close()
        self._stopping.set()
        if self._keeper is not None:
            await self._keeper
        for member in self.fleet:
            member.origin.close()
        return is_served

    # What the admin API may do.

    def status(self) -> dict[str, object]:
        """Return all that the dashboard shows."""
        now = self._loop.time()
        everything = self._overview.everything(now=now, wall=time.time())
        return {
            "policy": self._policy.router,
            "policies": list(ROUTERS),
            "uptime": now - self._began,
            "version": __version__,
            **everything,
        }

    def add(
        self, url: str, name: str | None = None, *, events: EventSource | None = None
    ) -> Member:
        """List a worker; it is used once it has been found well.

        Parameters
        ----------
        url
            Its address.
        name
            By which it is known; from its address if not given.
        events
            Where it tells what its cache holds, if it does; prompts must then be hashed as tokens.

        Raises
        ------
        ValueError
            When the URL is none, or it or the name is listed already.
        """
        origin = Origin(url)
        parts = urlsplit(origin.url)
        health = Health(rng=self._rng, now=self._loop.time(), patience=self._settings.patience)
        known_as = name or parts.netloc + parts.path
        member = Member(known_as, origin, health, credential=self._credential)
        self.fleet.add(member)
        if self._server is None:
            port = parts.port or (80 if parts.scheme == "http" else 443)
            self._listed.append(f"{parts.hostname}:{port}")
        if events is not None:
            self._listening.listen(member.name, events)
        return member

    def change(self, name: str, what: str) -> Member:
        """``drain``, ``resume`` or ``remove`` a worker.

        Raises
        ------
        KeyError
            When there is none of the name.
        """
        if what == "remove":
            member = self.fleet.remove(name)
            member.origin.close()
            self._listening.forget(name)
            return member
        found = self.fleet.get(name)
        if found is None:
            raise KeyError(name)
        now = self._loop.time()
        if what == "drain":
            found.health.drain(now)
        else:
            found.health.resume(now)
        self.fleet.look(found)
        return found

    def switch(self, policy: str) -> None:
        """Route by another policy from now on, which begins cold.

        Raises
        ------
        ValueError
            When nobody knows it.
        """
        switched = Policy.parse(policy, eviction=self._policy.eviction)
        if switched != self._policy:
            self._policy = switched
            self.fleet.use(self._make_router)
            self._listening.look(self.fleet, self._loop.time())

    # The gateway's own.

    def _describe(self, member: Member) -> dict[str, object]:
        return self._overview.worker(member, now=self._loop.time(), wall=time.time())

    def _make_router(self) -> Router:
        settings = self._settings
        page_size = settings.forwarding.page_size
        return self._policy.route(settings.seed, page_size=page_size, diligence=DILIGENCE)

    def _changed(self) -> None:
        """Hear that other workers may be used than before."""
        self._listening.look(self.fleet, self._loop.time())
        # While there is no worker some are let in all the same: they wait for one to return.
        n_usable = max(1, self.fleet.n_usable)
        self._admission.resize(n_usable * self._settings.queueing.n_per_worker)

    async def _tick(self) -> None:
        """Watch over deadlines, and close the seconds."""
        last_second = self._loop.time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._loop.time()
            self._forwarder.expire(now)
            self._listening.chosen(self._forwarder.journeys)
            if now - last_second >= SECOND:
                self.statistics.tick(time.time(), now - last_second)
                last_second = now
                if self._chooser is not None:
                    self._chooser.refresh()

    def _ended(self, journey: Journey) -> None:
        """Count a request that has ended, and write it down."""
        now = self._loop.time()
        self.statistics.add(journey, now)
        self._listening.chosen((journey,))
        if self._journal is not None:
            policy = journey.policy or self._policy.router
            record = record_of(journey, now, policy=policy, keeps_text=self._settings.keeps_text)
            self._journal.append(record)
