"""Turning again and again: an error of one turn is told, and the next one comes all the same."""

import logging
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, Self

_logger = logging.getLogger(__name__)


class Stop(Protocol):
    """What says that it is enough; ``threading.Event`` does."""

    def is_set(self) -> bool:
        """Return whether it is."""

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether it is, after so many seconds or as soon as it is."""


class PipeStop:
    """A stop that a signal's handler may set at any moment, for it takes no lock.

    Examples
    --------
    >>> with PipeStop() as stop:
    ...     signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ...     stop.wait(600.0)
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read)
        os.close(self._write)

    def set(self) -> None:
        """Stop."""
        # Where the pipe is full it has been said often enough.
        with suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def is_set(self) -> bool:
        """Return whether it was set."""
        return self.wait(0.0)

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether it was set, after so many seconds or as soon as it is."""
        return bool(select.select([self._read], [], [], timeout)[0])


def repeated(
    step: Callable[[], object],
    *,
    every: float,
    stop: Stop,
    clock: Callable[[], float],
    on_error: Callable[[Exception], None] | None = None,
) -> int:
    """Call a step until told to stop, and return how often it failed.

    Parameters
    ----------
    step
        What is done.
    every
        Seconds from the beginning of one to that of the next; a longer step is followed at once.
    stop
        Ends it: not in the middle of a step.
    clock
        Seconds that do not run backwards.
    on_error
        Hears what a step raised.
    """
    n_failed = 0
    while not stop.is_set():
        began = clock()
        try:
            step()
        except Exception as error:
            n_failed += 1
            _logger.debug("a turn failed", exc_info=True)
            if on_error is not None:
                on_error(error)
        stop.wait(max(0.0, every - (clock() - began)))
    return n_failed
