"""The engine's thread, and the bridge between it and an event loop.

The engine computes in one dedicated thread; the loop never waits for it. What the loop wants goes
over in a thread-safe queue and is done between steps; what a step brought comes back in one call
per step. Whoever asked for a sequence gives a sink, which is called on the loop.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue

from triskele.serve.engine.batching import Work
from triskele.serve.engine.changes import Removed, Stored
from triskele.serve.engine.engine import Engine, Piece
from triskele.serve.engine.sampling import SamplingParams

logger = logging.getLogger(__name__)

Sink = Callable[[Piece | None], None]
"""Takes the next piece; ``None`` if the engine has failed and there will be no more."""


@dataclass(frozen=True, slots=True)
class _Add:
    id: str
    prompt: Sequence[int]
    params: SamplingParams


@dataclass(frozen=True, slots=True)
class _Cancel:
    id: str


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Driver:
    """Drives an engine.

    Parameters
    ----------
    engine
        Owned by the driver's thread from :meth:`start` on.
    on_changes
        Called in that thread with what happened to pages, for engines that tell.
    on_step
        Called in that thread with what a step has computed, and the seconds that it took, all
        that is done between steps included.
    cpu_share
        Share of a processor that the thread takes at most: it rests after each step.

    Raises
    ------
    ValueError
        When the share is not above 0 and at most 1.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        on_changes: Callable[[list[Stored | Removed]], None] | None = None,
        on_step: Callable[[Work, float], None] | None = None,
        cpu_share: float = 1.0,
    ) -> None:
        if not 0 < cpu_share <= 1:
            raise ValueError(f"expected a share of a processor above 0, at most 1, got {cpu_share}")
        self.engine = engine
        self._on_changes = on_changes
        self._on_step = on_step
        self._cpu_share = cpu_share
        self._wishes: SimpleQueue[_Add | _Cancel | _Stop] = SimpleQueue()
        self._sinks: dict[str, Sink] = {}
        self._numbers = count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = self._spent = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def n_open(self) -> int:
        """Sequences that somebody waits for."""
        return len(self._sinks)

    def start(self) -> None:
        """Begin; called on the loop on which sinks are to be called."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, prompt: Sequence[int], params: SamplingParams, sink: Sink) -> str:
        """Ask for a sequence, and return its id.

        Raises
        ------
        ValueError
            As :meth:`Engine.add`.
        """
        self.engine.require_servable(prompt, params)
        id = str(next(self._numbers))
        self._sinks[id] = sink
        self._wishes.put(_Add(id, prompt, params))
        return id

    def cancel(self, id: str) -> None:
        """Forget a sequence; its sink is not called again."""
        if self._sinks.pop(id, None) is not None:
            self._wishes.put(_Cancel(id))

    def stop(self) -> None:
        """End the thread after the step under way; what is open gets no more pieces."""
        if self._thread.is_alive():
            self._wishes.put(_Stop())
            self._thread.join()

    def _run(self) -> None:
        while self._take_wishes():
            try:
                pieces = self._step()
            except Exception:
                logger.exception("a step failed; everything under way is given up")
                failed = self.engine.abort()
                self._call(self._fail, failed)
            else:
                if pieces:
                    self._call(self._deliver, pieces)
            if self._on_changes is not None and (changes := self.engine.changes()):
                self._on_changes(changes)

    def _step(self) -> list[Piece]:
        """Step, and rest for as long as the share asks; what came is told after the rest."""
        pieces = self.engine.step()
        if self._cpu_share < 1:
            seconds = (time.thread_time() - self._spent) / self._cpu_share
            time.sleep(max(0.0, self._began + seconds - time.perf_counter()))
        began = self._began
        self._begin()
        if self._on_step is not None:
            self._on_step(self.engine.work(), self._began - began)
        return pieces

    def _begin(self) -> None:
        """Note when the next step begins: with the end of the last, unless there was none to do."""
        self._began, self._spent = time.perf_counter(), time.thread_time()

    def _take_wishes(self) -> bool:
        """Do what the loop wants, waiting for it when there is nothing else to do."""
        engine = self.engine
        while True:
            has_work = bool(engine.n_running or engine.n_waiting)
            try:
                wish = self._wishes.get(block=not has_work)
            except Empty:
                return True
            if not has_work:
                self._begin()
            if isinstance(wish, _Stop):
                return False
            if isinstance(wish, _Cancel):
                engine.cancel(wish.id)
            else:
                engine.add(wish.id, wish.prompt, wish.params)

    def _call(self, function: Callable[..., None], argument: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:
            logger.debug("the loop is closed: nobody waits for answers any more")

    def _deliver(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            sink = self._sinks.get(piece.id)
            if piece.finish is not None:
                self._sinks.pop(piece.id, None)
            if sink is not None:
                sink(piece)

    def _fail(self, ids: list[str]) -> None:
        for id in ids:
            sink = self._sinks.pop(id, None)
            if sink is not None:
                sink(None)
