"""The append-only log of a journal: lines into the active segment, rotation, recovery.

A line counts as written when the operating system has all of it: it then outlives the process, and
from the next rotation or :meth:`Log.close` on a failure of power too. What could not be written
stays here and is tried again, from the line that was cut short on, so that no line is lost and none
is there twice. Everything happens in the calling thread; ``now`` is a clock that does not run
backwards.
"""

import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from triskele.serve.journal.ownership import Ownership
from triskele.serve.journal.segments import (
    PRIVATE,
    Segment,
    press,
    segments,
    sync_directory,
    truncate_torn,
)


class Log:
    """Writes lines into a directory that no other process writes to.

    Parameters
    ----------
    directory
        Is made when it does not exist.
    max_bytes, max_seconds
        Length and age at which a segment is finished.
    keep_segments
        How many finished segments to keep, the newest; all if ``None``.

    Attributes
    ----------
    pending
        Lines that have been given and could not be written yet.
    n_written
        Lines written since the beginning.
    unpressed
        Finished segments that are not Parquet yet.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int, max_seconds: float, keep_segments: int | None
    ) -> None:
        if max_bytes < 1 or max_seconds <= 0 or (keep_segments is not None and keep_segments < 1):
            raise ValueError(
                "expected segments of at least a byte and some time, and to keep at least one, "
                f"got {max_bytes} bytes, {max_seconds} s, {keep_segments} to keep"
            )
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._keep_segments = keep_segments
        self._ownership: Ownership | None = None
        self._active: Segment | None = None
        self._file: int | None = None
        self._length = 0
        self._began = 0.0
        self.pending = b""
        self.n_written = 0
        self.unpressed: deque[Segment] = deque()

    def open(self, now: float) -> None:
        """Take the directory, put in order what is there, and go on with its last segment.

        Raises
        ------
        ValueError
            If another process writes there.
        OSError
            If it cannot be written to; try again later.
        """
        if self._file is not None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._ownership is None:
            self._ownership = Ownership(self._directory)
        self.unpressed.clear()
        last = 0
        for segment in segments(self._directory):
            last = segment.number
            self._recover(segment)
        if self.unpressed and self.unpressed[-1].number == last:
            self._begin(self.unpressed.pop(), now)
        else:
            self._begin(Segment(self._directory, last + 1), now)

    def write(self, lines: bytes, now: float) -> None:
        """Write whole lines, after those that are pending.

        Raises
        ------
        OSError
            If not all could be written; the rest is pending.
        """
        self.pending += lines
        self._check_still_there()
        if self._file is None:
            self.open(now)
        assert self._file is not None
        if not self._length:
            self._began = now
        data, n_done = memoryview(self.pending), 0
        try:
            while n_done < len(data):
                n_done += os.write(self._file, data[n_done:])
        finally:
            self._account(n_done)

    def rotate_if_due(self, now: float) -> None:
        """Finish the active segment if it is long or old enough.

        Raises
        ------
        OSError
            If no new one can be begun; the old one then stays active.
        """
        if self._file is None or not self._length:
            return
        if self._length < self._max_bytes and now - self._began < self._max_seconds:
            return
        assert self._active is not None
        finished = self._active
        os.fsync(self._file)
        self._begin(Segment(self._directory, finished.number + 1), now)
        self.unpressed.append(finished)

    def press(self) -> None:
        """Make the oldest unpressed segment Parquet, if there is one.

        Raises
        ------
        OSError
            If it cannot be made; the segment stays unpressed.
        """
        if not self.unpressed:
            return
        press(self.unpressed[0])
        self.unpressed.popleft()
        self._drop_oldest()

    def close(self) -> None:
        """Bring everything written to the disk and let go of the directory."""
        try:
            if self._file is not None:
                os.fsync(self._file)
        finally:
            self._let_go()

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        if self._file is not None and self._active is not None:
            assert self._active.lines.stat().st_size == self._length
            assert self._active not in self.unpressed
        assert not self.pending or self.pending.endswith(b"\n")

    def _recover(self, segment: Segment) -> None:
        """Put in order what a process has left that died at any moment."""
        with suppress(FileNotFoundError):
            segment.part.unlink()
        if segment.parquet.exists():
            with suppress(FileNotFoundError):
                segment.lines.unlink()
        elif segment.lines.exists():
            truncate_torn(segment.lines)
            self.unpressed.append(segment)

    def _begin(self, segment: Segment, now: float) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = os.open(segment.lines, flags, PRIVATE)
        try:
            sync_directory(self._directory)
            length = os.fstat(file).st_size
        except OSError:
            os.close(file)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self._active, self._began, self._length = file, segment, now, length

    def _account(self, n_done: int) -> None:
        """Take whole lines that were written out of ``pending``, and the rest off the file."""
        assert self._file is not None
        n_whole = self.pending.rfind(b"\n", 0, n_done) + 1
        self.n_written += self.pending.count(b"\n", 0, n_whole)
        self.pending = self.pending[n_whole:]
        self._length += n_whole
        if n_done > n_whole:
            try:
                os.ftruncate(self._file, self._length)
            except OSError:
                # Opened again it is put in order like one that a dead process has left.
                self._let_go()

    def _check_still_there(self) -> None:
        """Begin anew where somebody has removed the directory or the segment."""
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
        if self._ownership is not None:
            self._ownership.give_up()
        self._file, self._active, self._ownership = None, None, None

    def _drop_oldest(self) -> None:
        if self._keep_segments is None:
            return
        finished = [one for one in segments(self._directory) if one.parquet.exists()]
        for segment in finished[: -self._keep_segments]:
            segment.parquet.unlink()
