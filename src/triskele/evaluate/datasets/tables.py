"""Tables in local files: Parquet, CSV, JSON lines and lists, read by column or entry by entry.

Whatever is wrong with a file is a ``ValueError`` of one line that names the file and, where there
is one, the column and the row. Pickles are never read: reading one runs whatever is in it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

T = TypeVar("T")

SUFFIXES = (".parquet", ".csv", ".json", ".jsonl", ".ndjson")
PICKLES = (".pkl", ".pickle")
CSV_BLOCK = 1 << 26
"""Bytes from which the types of a CSV file's columns are guessed, and the most a row may have."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns of a file.

    Parameters
    ----------
    path
        Where they are from, for messages.
    columns
        The columns themselves.
    """

    path: Path
    columns: pa.Table

    @classmethod
    def read(cls, path: Path, *, header: Sequence[str] | None = None) -> "Table":
        """Read a file whose name ends in one of ``SUFFIXES``; JSON must be lines or one list.

        Parameters
        ----------
        path
            The file.
        header
            Names of the columns of a CSV file that does not begin with them.

        Raises
        ------
        ValueError
            If there is no such file, it is of another kind, or it is damaged.
        """
        kind = _kind_of(path)
        if kind == ".parquet":
            return cls(path, _or_complain(path, lambda: pq.read_table(path)))
        if kind == ".csv":
            reading = pa_csv.ReadOptions(column_names=header, block_size=CSV_BLOCK)
            parsing = pa_csv.ParseOptions(newlines_in_values=True)
            return cls(path, _or_complain(path, lambda: pa_csv.read_csv(path, reading, parsing)))
        rows = [row for _, row in entries_of(path, dict[str, object])]
        names = dict.fromkeys(name for row in rows for name in row)
        return cls(
            path, pa.table({name: _column([row.get(name) for row in rows]) for name in names})
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.columns.column_names)

    def __len__(self) -> int:
        return cast(int, self.columns.num_rows)

    def first_of(self, names: Sequence[str]) -> str | None:
        """Return the first of some names that is a column here."""
        return next((name for name in names if name in self.names), None)

    def fields(self, name: str) -> tuple[str, ...]:
        """Return the names of a column's fields; none if it is not made of records."""
        return _fields_of(self._column(name).type)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a column as text: ``""`` where there is nothing."""
        return tuple("" if value is None else str(value) for value in self.values(name))

    def values(self, name: str) -> list[object]:
        """Return a column as Python has it: ``None`` where there is nothing."""
        return cast(list[object], self._column(name).to_pylist())

    def numbers(self, name: str, *, field: str | None = None) -> NDArray[np.float64]:
        """Return a column of numbers, or one field of a column of records: (n,).

        Numbers written as text are read, yes and no are 1 and 0, and nothing is NaN.

        Raises
        ------
        ValueError
            If a value is no number, naming its row.
        """
        column = self._column(name)
        if field is not None:
            if field not in self.fields(name):
                raise ValueError(
                    f"{self.path}: expected a field {field!r} in the column {name!r}, "
                    f"got {', '.join(self.fields(name)) or column.type}"
                )
            column = pc.struct_field(column, field)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            numbers = _without_blanks(column).cast(pa.float64())
        except pa.ArrowInvalid:
            raise ValueError(self._complaint(name, field, column)) from None
        except pa.ArrowNotImplementedError:
            where = f"the column {name!r}"
            raise ValueError(
                f"{self.path}: expected numbers in {where}, got {column.type}"
            ) from None
        values: NDArray[np.float64] = pc.fill_null(numbers, np.nan).to_numpy()
        return values

    def place(self, row: int) -> str:
        """Return where a row stands, for messages; the first is row 1."""
        return f"{self.path}, row {row + 1}"

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self.names:
            raise ValueError(
                f"{self.path}: expected a column {name!r}, got {', '.join(self.names) or 'none'}"
            )
        return self.columns.column(name)

    def _complaint(self, name: str, field: str | None, column: pa.ChunkedArray) -> str:
        """Say which row of a column is no number."""
        shown = name if field is None else f"{name}.{field}"
        for row, value in enumerate(column.to_pylist()):
            try:
                float(value or 0)
            except (TypeError, ValueError):
                return (
                    f"{self.place(row)}: expected a number in the column {shown!r}, got {value!r}"
                )
        return f"{self.path}: expected numbers in the column {shown!r}, got {column.type}"


def table_files(path: Path, *, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Return a file itself, or the files of one kind in a folder and those below, by name.

    The kind is the first of the suffixes that any file ends in: where there is Parquet, JSON is
    about it and not of it.

    Raises
    ------
    ValueError
        If there is nothing at the path, or no such file in the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"expected a file or a folder, there is none at {path}")
    for suffix in suffixes:
        files = sorted(file for file in path.rglob(f"*{suffix}") if file.is_file())
        if files:
            return files
    raise ValueError(f"{path}: expected files that end in {', '.join(suffixes)}, got none")


def columns_of(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the columns of a file, and the fields of those made of records.

    The file is not read to its end: of CSV and JSON, what the first rows show.
    """
    kind = _kind_of(path)
    if kind == ".parquet":
        schema = _or_complain(path, lambda: pq.read_schema(path))
        return {field.name: _fields_of(field.type) for field in schema}
    if kind == ".csv":
        return dict.fromkeys(_or_complain(path, lambda: pa_csv.open_csv(path).schema).names, ())
    for _, entry in entries_of(path, dict[str, object]):
        return {
            name: tuple(value) if isinstance(value, dict) else () for name, value in entry.items()
        }
    return {}


def entries_of(path: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield the entries of JSON lines, of one JSON list or of one object, each after its place.

    Parameters
    ----------
    path
        The file.
    kind
        What each entry must be.

    Raises
    ------
    ValueError
        If there is no such file, or an entry is not JSON or not of this kind.
    """
    _require_file(path)
    with path.open("rb") as file:
        yield from entries_in(file, kind, name=str(path))


def entries_in(lines: Iterable[bytes], kind: type[T], *, name: str) -> Iterator[tuple[str, T]]:
    """Yield what :func:`entries_of` does, of the lines of a file of that name."""
    decoder = msgspec.json.Decoder(kind)
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    number, line = next(numbered, (0, b""))
    first = line.removeprefix(BYTE_ORDER_MARK).strip()
    if not first:
        return
    if first.startswith(b"["):
        whole = b"".join([first, *(more for _, more in numbered)])
        entries = _decoded(name, whole, msgspec.json.Decoder(list[msgspec.Raw]))
        for number, entry in enumerate(entries, start=1):
            yield f"{name}, entry {number}", _decoded(f"{name}, entry {number}", entry, decoder)
        return
    if not _is_json(first):
        whole = b"".join([first, *(more for _, more in numbered)])
        place = name if _is_json(whole) else f"{name}, line {number}"
        yield place, _decoded(place, whole, decoder)
        return
    yield f"{name}, line {number}", _decoded(f"{name}, line {number}", first, decoder)
    for number, line in numbered:
        yield f"{name}, line {number}", _decoded(f"{name}, line {number}", line, decoder)


def _column(values: list[object]) -> pa.Array:
    """Return values as a column; as text where they are of several kinds."""
    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([None if value is None else str(value) for value in values])


def _fields_of(kind: pa.DataType) -> tuple[str, ...]:
    return tuple(field.name for field in kind) if pa.types.is_struct(kind) else ()


def _without_blanks(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column in which blank text is nothing."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    is_blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    return pc.if_else(is_blank, pa.scalar(None, column.type), column)


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    return True


def _decoded(place: str, text: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[T]") -> T:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{place}: {error}") from None


def _kind_of(path: Path) -> str:
    """Return what a file is by its name, one of ``SUFFIXES`` but with one word for JSON lines."""
    if path.suffix in PICKLES:
        raise ValueError(
            f"{path} is a pickle, and reading one runs whatever is in it: where you trust it, "
            "export it with pandas.read_pickle(…).to_parquet(…) and give that"
        )
    if path.suffix not in SUFFIXES:
        raise ValueError(f"expected a file that ends in {', '.join(SUFFIXES)}, got {path}")
    _require_file(path)
    return path.suffix


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"expected a file, there is none at {path}")


def _or_complain(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read: {reason}") from None
