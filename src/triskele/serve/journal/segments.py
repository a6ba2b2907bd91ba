"""The files of a journal: numbered segments, each of them JSON lines first and Parquet in the end.

``journal-0000000007.jsonl`` is written or finished; once ``journal-0000000007.parquet`` exists it
holds the same and all of it, and the lines are removed. ``….parquet.part`` is half made. So what a
process leaves that dies at any moment can be told from the names alone: where there is a Parquet
file the lines do not count, and no part ever does.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json, parquet

from triskele.serve.journal.columns import SCHEMA, to_batch
from triskele.serve.journal.record import Record, decode_line

NAME = re.compile(r"journal-(\d{10})\.(jsonl|parquet|parquet\.part)")
CHUNK_BYTES = 1 << 16
PRESSED_BYTES = 1 << 20
ABSENT = {"n_retries": 0, "stream": False}
"""Columns of which lines leave out the defaults, other than those that may be null."""
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
    n_before = 0
    with path.open("rb") as file:
        while lines := file.readlines(n_bytes):
            yield _decoded(lines, path, n_before)
            n_before += len(lines)
            # Not the last alone: the rest of a line may come while its beginning is being read.
            if not all(line.endswith(b"\n") for line in lines):
                return


def press(segment: Segment, *, n_bytes: int = PRESSED_BYTES) -> None:
    """Make a finished segment's Parquet file and remove its lines.

    About ``n_bytes`` at a time, so that a server's memory stays as it is, and in Arrow, which lets
    the interpreter go on with other threads. Whatever ends it in the middle leaves the segment as
    it was.
    """
    try:
        descriptor = os.open(segment.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            with parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
                for table in _tables(segment.lines, n_bytes):
                    writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        segment.part.replace(segment.parquet)
        sync_directory(segment.directory)
        segment.lines.unlink()
    finally:
        with suppress(OSError):
            segment.part.unlink()
        pa.default_memory_pool().release_unused()


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


def _decoded(lines: Sequence[bytes], path: Path, n_before: int) -> list[Record]:
    """Return the records of lines of which so many came before."""
    records = []
    for number, line in enumerate(lines, n_before + 1):
        if not line.endswith(b"\n"):
            break
        record = decode_line(line)
        if record is None:
            _logger.warning("%s, line %d is damaged and left out", path, number)
        else:
            records.append(record)
    return records


def _tables(path: Path, n_bytes: int) -> Iterator[pa.Table]:
    """Yield the records of a file of lines, ``n_bytes`` and the rest of a line at a time."""
    n_before = 0
    with path.open("rb") as file:
        while piece := file.read(n_bytes):
            piece += file.readline()
            table = _table(piece)
            if table is None:
                # There are damaged lines. It takes longer to leave them out.
                batch = to_batch(_decoded(BytesIO(piece).readlines(), path, n_before))
                table = pa.Table.from_batches([batch], SCHEMA)
            yield table
            n_before += piece.count(b"\n")


def _table(lines: bytes) -> pa.Table | None:
    """Return the records of lines, or ``None`` if some are damaged."""
    try:
        table = json.read_json(
            pa.BufferReader(lines),
            read_options=json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=json.ParseOptions(
                explicit_schema=pa.schema([field.with_nullable(True) for field in SCHEMA]),
                unexpected_field_behavior="ignore",
            ),
        ).select(SCHEMA.names)
        for name, default in ABSENT.items():
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, pc.fill_null(table.column(at), default))
        table = pa.table(table.columns, schema=SCHEMA)
        table.validate(full=True)
    except pa.ArrowInvalid:
        return None
    required = (field.name for field in SCHEMA if not field.nullable)
    return None if any(table.column(name).null_count for name in required) else table
