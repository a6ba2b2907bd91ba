"""Lines and JSON entries of local files, plain or compressed, each with the place it stands at."""

import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import msgspec

T = TypeVar("T")


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines that are not blank, each after its place for messages.

    Parameters
    ----------
    path
        A text file; one that ends in ``.gz`` or ``.xz`` is decompressed.

    Raises
    ------
    ValueError
        If there is no such file, it holds no such line, or its compression is damaged.
    """
    if not path.is_file():
        raise ValueError(f"expected a file, there is none at {path}")
    is_empty = True
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    is_empty = False
                    yield f"{path}, line {number}", line
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if is_empty:
        raise ValueError(f"expected at least one line, {path} is empty")


def entries_of(path: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield the entries of a file of JSON lines, or of one JSON list, each after its place.

    Parameters
    ----------
    path
        A text file; one that ends in ``.gz`` or ``.xz`` is decompressed.
    kind
        What each entry must be: a ``msgspec.Struct``.

    Raises
    ------
    ValueError
        If an entry is not JSON or not of this kind, and where :func:`lines_of` does.
    """
    decoder = msgspec.json.Decoder(kind)
    for place, entry in _raw_entries(path):
        try:
            decoded = decoder.decode(entry)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"{place}: {error}") from None
        yield place, decoded


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path))
    if path.suffix == ".xz":
        return cast(BinaryIO, lzma.open(path))
    return path.open("rb")


def _raw_entries(path: Path) -> Iterator[tuple[str, bytes | msgspec.Raw]]:
    lines = lines_of(path)
    place, line = next(lines)
    if not line.lstrip().startswith(b"["):
        yield place, line
        yield from lines
        return
    whole = b"".join([line, *(line for _, line in lines)])
    try:
        entries = msgspec.json.decode(whole, type=list[msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from None
    if not entries:
        raise ValueError(f"expected at least one entry, the list in {path} is empty")
    yield from ((f"{path}, entry {number}", entry) for number, entry in enumerate(entries, 1))
