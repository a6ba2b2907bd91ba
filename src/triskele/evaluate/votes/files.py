"""Columns of local files of votes, batch by batch: Parquet, CSV, JSON lines, a JSON list.

Only the columns that are wanted are read. No row is visited in Python, except those of a JSON list,
and to find the line that is wrong once something is. Pickles are never read: reading one runs
whatever is in it.
"""

import csv
import gzip
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

LINES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (".parquet", ".csv", *LINES)
BLOCK = 1 << 26
"""Bytes that are read at once, and so the longest that a row may be."""
N_SNIFFED = 100
"""Lines by which it is seen what kind of values a JSON file has."""
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
BLOCKS = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
MESSAGE_OF_BLOCKS = pa.struct([("role", pa.string()), ("content", BLOCKS)])


@dataclass(frozen=True, slots=True)
class VoteFile:
    """A file whose rows are votes.

    Parameters
    ----------
    path
        Its name ends in one of ``SUFFIXES``; a text file may be compressed: ``.csv.gz``.

    Raises
    ------
    ValueError
        If there is no such file, or it is of another kind.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise ValueError(f"expected a file of votes, there is none at {self.path}")
        if kind_of(self.path) not in SUFFIXES:
            raise ValueError(f"{self.path}: expected a file of {', '.join(SUFFIXES)}")

    def batches(
        self, *, texts: Collection[str], numbers: Collection[str], talks: Collection[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the columns of these names that the file has, some rows at a time.

        Parameters
        ----------
        texts
            Names, or what numbers them.
        numbers
            Read as text where the file knows nothing but text.
        talks
            Conversations: lists of messages, or the JSON of such a list.

        Raises
        ------
        ValueError
            If the file is damaged, naming the line.
        """
        kind = kind_of(self.path)
        names = (*texts, *numbers, *talks)
        try:
            if kind == ".parquet":
                yield from self._parquet(names)
            elif kind == ".csv":
                yield from self._csv(names)
            elif self._is_list():
                yield from self._json_list(names)
            else:
                yield from self._json_lines(texts, numbers, talks)
        except pa.ArrowInvalid as error:
            where = self._damage(names) if kind in LINES else None
            raise ValueError(where or f"{self.path}: {str(error).splitlines()[0]}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{self.path}: {error}") from None

    def place(self, row: int) -> str:
        """Return where a row stands, for messages: its line, or its number from 1."""
        kind = kind_of(self.path)
        if kind == ".csv":
            with self._open() as file:
                lines = csv.reader(line.decode("utf-8", "replace") for line in file)
                begin, n_rows = 1, -2
                for fields in lines:
                    n_rows += bool(fields)
                    if n_rows == row:
                        return f"{self.path}, line {begin}"
                    begin = lines.line_num + 1
        elif kind in LINES and not self._is_list():
            for number, (line, _) in enumerate(self._lines()):
                if number == row:
                    return f"{self.path}, line {line}"
        return f"{self.path}, row {row + 1}"

    def _parquet(self, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path) as file:
            present = [name for name in file.schema_arrow.names if name in names]
            yield from file.iter_batches(columns=present)

    def _csv(self, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            header = next(csv.reader([file.readline().decode("utf-8-sig", "replace")]), [])
        present = [name for name in header if name in names]
        with self._stream() as file:
            yield from pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(block_size=BLOCK),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    include_columns=present, column_types=dict.fromkeys(present, pa.string())
                ),
            )

    def _json_list(self, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            try:
                rows = msgspec.json.decode(file.read(), type=list[dict[str, object]])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ValueError(f"{self.path}: {error}") from None
        present = [name for name in names if any(name in row for row in rows)]
        columns = {name: pa.array([row.get(name) for row in rows]) for name in present}
        yield pa.RecordBatch.from_pydict(columns)

    def _json_lines(
        self, texts: Collection[str], numbers: Collection[str], talks: Collection[str]
    ) -> Iterator[pa.RecordBatch]:
        seen: dict[str, object] = {}
        for _, (_, line) in zip(range(N_SNIFFED), self._lines(), strict=False):
            row = _decoded(line)
            if isinstance(row, dict):
                seen |= {name: value for name, value in row.items() if value is not None}
        fields = [(name, pa.float64()) for name in numbers]
        for name in texts:
            fields.append((name, pa.int64() if isinstance(seen.get(name), int) else pa.string()))
        fields += [(name, _talk_type(seen.get(name))) for name in talks]
        parsing = pa_json.ParseOptions(
            explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore"
        )
        reading = pa_json.ReadOptions(block_size=BLOCK)
        with self._stream() as file:
            yield from pa_json.open_json(file, read_options=reading, parse_options=parsing)

    def _damage(self, names: Collection[str]) -> str | None:
        """Return which line of a file of JSON lines is wrong, and why."""
        kinds: dict[str, tuple[str, int]] = {}
        for line, text in self._lines():
            row = _decoded(text)
            if not isinstance(row, dict):
                reason = row if isinstance(row, str) else "expected an object"
                return f"{self.path}, line {line}: {reason}"
            for name in names:
                if row.get(name) is None:
                    continue
                kind, first = kinds.setdefault(name, (_kind(row[name]), line))
                if _kind(row[name]) != kind:
                    return (
                        f"{self.path}, line {line}: expected {name} to be a {kind} as in line "
                        f"{first}, got a {_kind(row[name])}"
                    )
        return None

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self._open() as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line

    def _is_list(self) -> bool:
        if kind_of(self.path) != ".json":
            return False
        with self._open() as file:
            return file.read(1024).lstrip().startswith(b"[")

    def _stream(self) -> pa.NativeFile:
        return pa.input_stream(str(self.path), compression="detect")

    def _open(self) -> BinaryIO:
        if self.path.suffix == ".gz":
            return cast(BinaryIO, gzip.open(self.path))
        return self.path.open("rb")


def kind_of(path: Path) -> str:
    """Return what a file's name ends in, without its compression."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def _decoded(line: bytes) -> object:
    """Return what a line holds, or a message."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return str(error)


def _kind(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
    return "record"


def _talk_type(value: object) -> pa.DataType:
    match value:
        case [{"content": list()}, *_]:
            return pa.list_(MESSAGE_OF_BLOCKS)
        case list():
            return pa.list_(MESSAGE)
    return pa.string()
