"""How many requests are let in: so many at once, so many that wait, and no more.

What waits is let in first come, first served. A request that finds the queue full, or waits too
long, is turned away with a time after which to try again, which is better for everybody than a
queue that grows.
"""

import asyncio
from collections import deque


class Overloaded(Exception):
    """There is no room; ``seconds`` says when to try again."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Admission:
    """Counts requests in and out.

    Parameters
    ----------
    n_queued
        Most requests that wait.
    queue_seconds
        Longest time that one waits.

    Attributes
    ----------
    n_running
        Requests that were let in and are not done.
    n_most
        Most of them at once; it follows the fleet.
    """

    def __init__(self, *, n_queued: int, queue_seconds: float) -> None:
        self.n_running = 0
        self.n_most = 0
        self._n_queued = n_queued
        self._queue_seconds = queue_seconds
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def n_waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def enter(self) -> bool:
        """Let a request in if there is room and nobody waits; else it has to :meth:`wait`."""
        if self._waiting or self.n_running >= self.n_most:
            return False
        self.n_running += 1
        return True

    async def wait(self) -> None:
        """Wait for room.

        Raises
        ------
        Overloaded
            When too many wait, or there is no room in time.
        """
        if len(self._waiting) >= self._n_queued:
            raise Overloaded(f"{len(self._waiting)} requests are waiting already", seconds=1.0)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._queue_seconds):
                await turn
        except TimeoutError:
            self._forget(turn)
            message = f"no worker was free within {self._queue_seconds:g} seconds"
            raise Overloaded(message, seconds=self._queue_seconds) from None
        except asyncio.CancelledError:
            self._forget(turn)
            raise

    def leave(self) -> None:
        """Let a request out, and the next in."""
        self.n_running -= 1
        self.admit()

    def resize(self, n_most: int) -> None:
        """Let so many in at once from now on."""
        self.n_most = n_most
        self.admit()

    def admit(self) -> None:
        """Let in who waits, as far as there is room."""
        while self._waiting and self.n_running < self.n_most:
            turn = self._waiting.popleft()
            if not turn.done():
                self.n_running += 1
                turn.set_result(None)

    def _forget(self, turn: "asyncio.Future[None]") -> None:
        """Take back a turn that nobody waits for any more, used or not."""
        if turn.done() and not turn.cancelled():
            self.leave()
        elif turn in self._waiting:
            self._waiting.remove(turn)
