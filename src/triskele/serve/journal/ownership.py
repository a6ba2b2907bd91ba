"""The right to write into a directory, which one process has at a time.

It is a lock of the operating system on a file, so it ends with the process, however that ends. A
forked child shares it and keeps it alive; a program started by the process does not.
"""

import fcntl
import os
from pathlib import Path

LOCK = "lock"
PRIVATE = 0o600


class Ownership:
    """Holds the lock of a directory from its making to :meth:`give_up`.

    Raises
    ------
    ValueError
        If another has it.
    OSError
        If the lock file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._file, 20, 0).decode(errors="replace").strip()
            os.close(self._file)
            if not isinstance(error, BlockingIOError):
                raise
            by = f"process {owner}" if owner else "another process"
            raise ValueError(f"expected a journal of our own, {by} writes to {directory}") from None
        # Only for the message of the next one; the lock does not depend on it.
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass

    def give_up(self) -> None:
        """Let another have it."""
        os.close(self._file)
