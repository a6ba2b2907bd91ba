"""Files of lines that several processes add to, each line whole whatever ends a process.

A line is added under a lock, at the end of what is there. If whoever wrote last died within a line,
that piece is closed off first, so that it spoils itself and not the next one.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

PRIVATE = 0o600
NEWLINE = b"\n"


def append_line(path: Path, line: bytes) -> None:
    """Add a line and bring it to the disk: some milliseconds, so not for an event loop's thread.

    Parameters
    ----------
    path
        Is made, with its folder, when it does not exist; readable by its owner only.
    line
        Without its end.

    Raises
    ------
    ValueError
        If it is more than one line.
    OSError
        If not all of it could be written; then nothing of it is there.
    """
    if NEWLINE in line:
        raise ValueError("expected one line, got several")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        length = os.fstat(file).st_size
        is_torn = length > 0 and os.pread(file, 1, length - 1) != NEWLINE
        left = memoryview((NEWLINE if is_torn else b"") + line + NEWLINE)
        try:
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, length)
            raise
    finally:
        os.close(file)


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file and their numbers, from 1; none if there is no such file.

    Blank lines are left out, and a last one without its end: it is being written.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(NEWLINE):
                return
            if line.strip():
                yield number, line[:-1]
