"""Rows of small local tables (JSON lines, CSV, Parquet), each with the place it stands at.

Only the columns asked for are read, and their values are text: a number or a truth value becomes
what JSON would print, so that an identifier 007 in a CSV file stays 007.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
from pyarrow import csv, parquet

SUFFIXES = (".jsonl", ".csv", ".parquet")
CSV_BLOCK_BYTES = 1 << 26
"""A row of a CSV file must fit into a block."""

Row = dict[str, str]


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a table, each after its place for messages.

    Parameters
    ----------
    path
        A file that ends in ``.jsonl``, ``.csv`` (with a header) or ``.parquet``.
    columns
        Which columns to read. A row holds those of them that it has and that are not null.

    Raises
    ------
    ValueError
        If there is no such file, its ending is another, it is damaged, or a value is not plain.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"expected a file that ends in {', '.join(SUFFIXES)}, got {path}")
    if not path.is_file():
        raise ValueError(f"expected a file, there is none at {path}")
    raw = _lines(path) if path.suffix == ".jsonl" else _table(path, columns)
    for place, entry in raw:
        row = {name: entry[name] for name in columns if entry.get(name) is not None}
        yield place, {name: _text(value, f"{place}, {name}") for name, value in row.items()}


def _lines(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                entry = msgspec.json.decode(line.lstrip(b"\xef\xbb\xbf"), type=dict[str, object])
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ValueError(f"{place}: {error}") from None
            yield place, entry


def _table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        table = _csv(path, columns) if path.suffix == ".csv" else _parquet(path, columns)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    number = 0
    for batch in table.to_batches():
        for entry in batch.to_pylist():
            number += 1
            yield f"{path}, row {number}", entry


def _csv(path: Path, columns: Sequence[str]) -> pa.Table:
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
    )
    return table.select([name for name in columns if name in table.column_names])


def _parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    names = parquet.read_schema(path).names
    return parquet.read_table(path, columns=[name for name in columns if name in names])


def _text(value: object, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise ValueError(f"{place}: expected text or a number, got a {type(value).__name__}")
