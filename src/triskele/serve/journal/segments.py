"""The files of a journal: numbered segments, each of them JSON lines first and Parquet in the end.

``journal-0000000007.jsonl`` is written or finished; once ``journal-0000000007.parquet`` exists it
holds the same and all of it, and the lines are removed. ``….parquet.part`` is half made. So what a
process leaves that dies at any moment can be told from the names alone: where there is a Parquet
file the lines do not count, and no part ever does.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from triskele.serve.journal.columns import SCHEMA, to_batch
from triskele.serve.journal.record import Record, decode_line

NAME = re.compile(r"journal-(\d{10})\.(jsonl|parquet|parquet\.part)")
CHUNK_BYTES = 1 << 16
CHUNKS_PER_ROW_GROUP = 256
PRIVATE = 0o600

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """The files of one number in a directory, whether they exist or not."""

    directory: Path
    number: int

    @property
    def lines(self) -> Path:
        """Where its lines are until they are Parquet."""
        return self.directory / f"journal-{self.number:010d}.jsonl"

    @property
    def parquet(self) -> Path:
        """Where it ends up."""
        return self.directory / f"journal-{self.number:010d}.parquet"

    @property
    def part(self) -> Path:
        """Where its Parquet file is made."""
        return self.directory / f"journal-{self.number:010d}.parquet.part"


def segments(directory: Path) -> list[Segment]:
    """Return the segments of which there is any file, the oldest first."""
    matches = (NAME.fullmatch(path.name) for path in directory.iterdir())
    numbers = sorted({int(match[1]) for match in matches if match})
    return [Segment(directory, number) for number in numbers]


def whole_lines(path: Path, *, n_bytes: int = CHUNK_BYTES) -> Iterator[list[Record]]:
    """Yield the records of a file of lines, about ``n_bytes`` of it at a time.

    A last line without its end is left out: it is being written, or was when the process died.
    Damaged lines are left out and logged.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    number = 0
    with path.open("rb") as file:
        while lines := file.readlines(n_bytes):
            records = []
            for line in lines:
                number += 1
                if not line.endswith(b"\n"):
                    break
                record = decode_line(line)
                if record is None:
                    _logger.warning("%s, line %d is damaged and left out", path, number)
                else:
                    records.append(record)
            yield records
            if not lines[-1].endswith(b"\n"):
                return


def press(segment: Segment) -> Iterator[None]:
    """Make a finished segment's Parquet file and remove its lines; yields after each small step.

    Whoever stops in the middle leaves the segment as it was.
    """
    with suppress(FileNotFoundError):
        segment.part.unlink()
    try:
        descriptor = os.open(segment.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with (
            os.fdopen(descriptor, "wb") as file,
            parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer,
        ):
            for group in _row_groups(segment.lines):
                if group is None:
                    yield
                else:
                    writer.write_table(group)
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        segment.part.replace(segment.parquet)
        sync_directory(segment.directory)
        segment.lines.unlink()
    finally:
        with suppress(OSError):
            segment.part.unlink()


def truncate_torn(path: Path) -> int:
    """Cut off a last line that has no end; return the length that remains in bytes."""
    with path.open("r+b") as file:
        length = at = file.seek(0, os.SEEK_END)
        while at:
            start = max(0, at - CHUNK_BYTES)
            file.seek(start)
            end = file.read(at - start).rfind(b"\n")
            if end >= 0:
                at = start + end + 1
                break
            at = start
        if at < length:
            file.truncate(at)
            os.fsync(file.fileno())
        return at


def sync_directory(directory: Path) -> None:
    """Make new names and removals in a directory last."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _row_groups(path: Path) -> Iterator[pa.Table | None]:
    """Yield the row groups of a file of lines, and ``None`` after each chunk of work."""
    batches = []
    for records in whole_lines(path):
        batches.append(to_batch(records))
        yield None
        if len(batches) == CHUNKS_PER_ROW_GROUP:
            yield pa.Table.from_batches(batches, SCHEMA)
            batches = []
    yield pa.Table.from_batches(batches, SCHEMA)
