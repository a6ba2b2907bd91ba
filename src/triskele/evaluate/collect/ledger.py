"""What was asked and what came back: one line of JSON per call, appended and never changed.

A line is on the disk before the next call begins. A process that is killed may leave a last line
that is torn: it is cut off when the ledger is opened again, and its call counts as never made. One
process at a time writes; the lock goes with it.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec

Kind = Literal["answer", "verdict"]
Status = Literal["done", "failed", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A call and what became of it.

    ``key`` tells the request from all others. ``done``: the text came. ``failed``: it never will,
    ``reason`` says why. ``lost``: an attempt went wrong that the endpoint may have billed; it
    settles nothing. ``model`` is the label of the model asked; a verdict is on the answers of
    ``first`` and ``second``, shown in that order, and None where it could not be read. Tokens are
    the endpoint's count, or estimates where ``is_counted`` is false; ``estimated_in`` is always
    the estimate. ``at`` is Unix time, ``seconds`` how long the call took.
    """

    key: str
    kind: Kind
    status: Status
    question_id: str
    model: str
    at: float
    seconds: float
    tokens_in: int
    tokens_out: int
    is_counted: bool
    estimated_in: int
    text: str = ""
    finish: str | None = None
    reason: str | None = None
    first: str | None = None
    second: str | None = None
    verdict: Literal["A", "B", "T"] | None = None


class Settled:
    """What calls came to, by their keys: what was done stays, what failed may still be done.

    Parameters
    ----------
    entries
        In the order in which they were made.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            self.add(entry)

    def get(self, key: str) -> Entry | None:
        """Return what a call came to, done or failed; None if it is open."""
        return self._entries.get(key)

    def done(self, key: str) -> Entry | None:
        """Return what came back from a call, None if nothing has."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry.status == "done" else None

    def add(self, entry: Entry) -> None:
        """Note an entry."""
        if entry.status != "lost" and self.done(entry.key) is None:
            self._entries[entry.key] = entry


class Ledger:
    """The entries of a file, and the way to add to them.

    Parameters
    ----------
    path
        The file; made if there is none.

    Attributes
    ----------
    settled
        What the calls came to.

    Raises
    ------
    ValueError
        If another process writes to it, or a line that is not the last is not an entry.
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        is_new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._lock()
            self._history, length, is_whole = _read(path)
            if length < os.fstat(self._file).st_size:
                os.ftruncate(self._file, length)
            if not is_whole:
                self._write(b"\n")
            if is_new:
                _sync_folder(path.parent)
        except BaseException:
            os.close(self._file)
            raise
        self.settled = Settled(self._history)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._history)

    def append(self, entry: Entry) -> None:
        """Add an entry and wait until it is on the disk.

        Raises
        ------
        OSError
            If the disk is full or refuses; the file is then as it was.
        """
        assert self.settled.done(entry.key) is None, "asked twice"
        self._write(msgspec.json.encode(entry) + b"\n")
        self._history.append(entry)
        self.settled.add(entry)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        on_disk, _, is_whole = _read(self._path)
        assert on_disk == self._history
        assert is_whole
        for entry in self._history:
            assert entry.status == "lost" or self.settled.get(entry.key) is not None

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is writing to {self._path}") from None

    def _write(self, line: bytes) -> None:
        length = os.fstat(self._file).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, length)
            raise


def read_entries(path: Path) -> list[Entry]:
    """Return the entries of a ledger without changing it, a torn last line left out.

    Raises
    ------
    ValueError
        If a line that is not the last is not an entry.
    """
    return _read(path)[0] if path.exists() else []


def _read(path: Path) -> tuple[list[Entry], int, bool]:
    """Return the entries, the bytes they take, and whether the last line is ended."""
    decoder = msgspec.json.Decoder(Entry)
    entries: list[Entry] = []
    length, is_whole = 0, True
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            is_whole = line.endswith(b"\n")
            try:
                entries.append(decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                if is_whole:
                    raise ValueError(f"{path}, line {number}: {error}") from None
                return entries, length, True
            length += len(line)
    return entries, length, is_whole


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
