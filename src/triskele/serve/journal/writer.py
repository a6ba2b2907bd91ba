"""The journal: takes records without ever waiting, and writes them in a thread of its own.

What :meth:`Journal.append` costs is a look at the length of a queue and an append to it. Twice a
second the thread writes what has come; where it cannot, because the disk is full or the directory
may not be written to, it says so in :attr:`Journal.error`, keeps what it has and tries again, and
what the queue has no room for meanwhile is dropped and counted.
"""

import logging
import threading
import time
from collections import deque
from math import inf
from pathlib import Path

from triskele.serve.journal.log import Log
from triskele.serve.journal.record import Record, encode_line

RECORDS_PER_WRITE = 1000
PRESS_AGAIN_SECONDS = 30.0
MAX_TEXT = 1 << 28
"""Characters of prompts and answers in the queue beyond which records are dropped."""

_logger = logging.getLogger(__name__)


class Journal:
    """Keeps one record per request in a directory.

    Parameters
    ----------
    directory
        Is made when it does not exist. Prompts may be in it: its files are readable by their owner
        only.
    max_bytes, max_seconds
        Length in bytes and age in seconds at which a segment is finished and becomes Parquet.
    flush_seconds
        How long a record is held before it is written.
    n_queued
        Most records that wait to be written.
    keep_segments
        How many finished segments to keep, the newest; all if ``None``.

    Attributes
    ----------
    directory
        As given.
    error
        Why the last attempt to write failed; ``None`` if it did not.
    n_errors
        How many attempts have failed.

    Raises
    ------
    ValueError
        If another process writes to the directory. That it cannot be written to at all is no
        reason not to serve: it is in ``error``.

    Examples
    --------
    >>> journal = Journal(Path("journal"))
    >>> journal.append(record)
    >>> journal.close()
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = 64 << 20,
        max_seconds: float = 3600.0,
        flush_seconds: float = 0.5,
        n_queued: int = 100_000,
        keep_segments: int | None = None,
    ) -> None:
        if flush_seconds <= 0 or n_queued < 1:
            raise ValueError(
                f"expected to hold at least a record for some time, got {n_queued} records and "
                f"{flush_seconds} s"
            )
        self.error: str | None = None
        self.n_errors = 0
        self.directory = directory
        self._log = Log(
            directory, max_bytes=max_bytes, max_seconds=max_seconds, keep_segments=keep_segments
        )
        self._flush_seconds = flush_seconds
        self._n_queued = n_queued
        self._queue: deque[Record] = deque()
        # Each of these is changed by one side only: those that append, or the thread.
        self._n_refused = self._n_taken = self._text_in = 0
        self._n_unwritable = self._text_out = 0
        self._press_from = -inf
        self._is_closing = False
        self._deadline = inf
        self._wake = threading.Event()
        self._progress = threading.Condition()
        try:
            self._log.open(time.monotonic())
        except OSError as error:
            self._note(error)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def n_written(self) -> int:
        """Records that the operating system has."""
        return self._log.n_written

    @property
    def n_dropped(self) -> int:
        """Records for which there was no room, or that could not be written as JSON."""
        return self._n_refused + self._n_unwritable

    @property
    def n_waiting(self) -> int:
        """Records that have been taken and not been written yet."""
        return self._n_taken - self._n_unwritable - self._log.n_written

    def append(self, record: Record) -> None:
        """Take a record; never waits and never raises. For one thread, such as an event loop's."""
        if len(self._queue) >= self._n_queued or self._is_closing:
            self._n_refused += 1
            return
        if record.prompt is not None or record.query is not None or record.answer is not None:
            self._text_in += _n_text(record)
            if self._text_in - self._text_out > MAX_TEXT:
                self._text_in -= _n_text(record)
                self._n_refused += 1
                return
        self._n_taken += 1
        self._queue.append(record)

    def flush(self, seconds: float = 5.0) -> bool:
        """Have everything written that has been appended; return whether it was done in time."""
        n_taken = self._n_taken
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(
                lambda: self.n_written + self._n_unwritable >= n_taken, timeout=seconds
            )

    def close(self, seconds: float = 5.0) -> bool:
        """Write what is there, bring it to the disk, and let go of the directory.

        Returns
        -------
        bool
            Whether all of it was written within ``seconds``. What was not is lost.
        """
        self._deadline = time.monotonic() + seconds
        self._is_closing = True
        is_done = self.flush(seconds)
        self._thread.join(timeout=max(0.1, seconds) if is_done else 0.1)
        return is_done and not self._thread.is_alive()

    def _run(self) -> None:
        """Write until closed; whatever goes wrong, go on."""
        is_last = False
        while not is_last:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            is_last = self._is_closing
            try:
                self._write()
                if not is_last and time.monotonic() >= self._press_from:
                    self._press()
                    self._note(None)
            except Exception as error:
                self._note(error)
                is_last = is_last and time.monotonic() >= self._deadline
        try:
            self._log.close()
        except OSError as error:
            self._note(error)

    def _write(self) -> None:
        """Write all that waits."""
        now, log = time.monotonic(), self._log
        try:
            log.open(now)
            # Also when nothing has come: there may be lines from before.
            while log.pending or self._queue:
                log.write(b"" if log.pending else self._take_lines(), now)
                log.rotate_if_due(now)
            log.rotate_if_due(now)
        finally:
            with self._progress:
                self._progress.notify_all()

    def _take_lines(self) -> bytes:
        """Take the next records from the queue."""
        lines: list[bytes] = []
        for _ in range(min(len(self._queue), RECORDS_PER_WRITE)):
            record = self._queue.popleft()
            self._text_out += _n_text(record)
            try:
                lines.append(encode_line(record))
            except ValueError as error:
                self._n_unwritable += 1
                _logger.warning("Journal: a record is dropped: %s", error)
        return b"".join(lines)

    def _press(self) -> None:
        """Make finished segments Parquet, writing in between what has come."""
        while self._log.unpressed and not self._is_closing:
            # What fails is not begun again at once, for it is much work.
            self._press_from = time.monotonic() + PRESS_AGAIN_SECONDS
            self._log.press()
            self._press_from = -inf
            self._write()

    def _note(self, error: Exception | None) -> None:
        """Show what went wrong or that it went well again; say so once."""
        if error is None:
            if self.error is not None:
                _logger.info("Journal: %s is written to again", self.directory)
            self.error = None
            return
        self.n_errors += 1
        message = f"{self.directory} cannot be written to: {error}"
        if message != self.error:
            _logger.warning("Journal: %s", message)
        self.error = message


def _n_text(record: Record) -> int:
    return len(record.prompt or "") + len(record.query or "") + len(record.answer or "")
