"""Text on disk as a stream of documents, each either for training or held out.

A source is one text file, plain or compressed (.gz, .bz2, .xz), or a folder of them (source code,
Markdown, anything that decodes; binaries and hidden files are left out). A line that holds only
``<|endoftext|>`` ends a document, and so does the end of a file. Long documents come in pieces cut
at line ends, so that nothing needs to fit in memory and a single book can still be split.

Which pieces are held out is decided by a hash of their text alone: the split is the same on every
machine, and two copies of one document fall on the same side. The corpus knows no tokens.
"""

import bz2
import gzip
import hashlib
import io
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

SEPARATOR = "<|endoftext|>"
PIECE_CHARACTERS = 65_536
PROBE_BYTES = 8_192
OPENERS = cast(
    dict[str, Callable[[Path], BinaryIO]],
    {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile},
)
ASSUMED_COMPRESSION = 4
"""How many bytes of text a byte of compressed file is taken for, in progress and sampling."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A document, or a part of a long one.

    ``ends_document`` tells whether the separator token follows; ``position`` is how much of the
    source, in bytes of ``Corpus.n_bytes``, has been read up to here.
    """

    text: str
    ends_document: bool
    position: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """The text files of a source, in a fixed order.

    ``n_bytes`` is the size of the text; for compressed files an estimate.
    """

    files: tuple[Path, ...]
    n_bytes: int

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces of all documents in order.

        Raises
        ------
        ValueError
            If a compressed file is damaged.
        """
        before = 0
        for path in self.files:
            size = _text_bytes(path)
            read = 0
            try:
                with _open_text(path) as stream:
                    for text, ends in _pieces(stream):
                        read += len(text)
                        yield Piece(text, ends, before + min(read, size))
            except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
                raise ValueError(f"{path} is damaged: {error}") from None
            before += size

    def fingerprint(self) -> str:
        """Return a digest that changes when files are added, resized or edited at either end."""
        digest = hashlib.blake2b(digest_size=16)
        for path in self.files:
            size = path.stat().st_size
            with path.open("rb") as stream:
                head = stream.read(PROBE_BYTES)
                stream.seek(max(0, size - PROBE_BYTES))
                tail = stream.read()
            digest.update(f"{path.name}\0{size}\0".encode())
            digest.update(head)
            digest.update(tail)
        return digest.hexdigest()


def open_corpus(path: Path, *, leave_out: Path | None = None) -> Corpus:
    """Find the text at ``path``.

    Parameters
    ----------
    path
        A file or a folder, searched to its depth.
    leave_out
        A folder that is not read although it may lie inside ``path``: the run's own output.

    Raises
    ------
    ValueError
        If nothing is there, or no text is in it.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_file():
        if not _is_text(path):
            raise ValueError(f"{path} is not text: it holds zero bytes or does not decompress")
        files = [path]
    else:
        found = (p for p in path.rglob("*") if p.is_file() and _is_visible(p.relative_to(path)))
        if leave_out is not None:
            own = leave_out.resolve()
            found = (p for p in found if not p.resolve().is_relative_to(own))
        files = sorted((p for p in found if _is_text(p)), key=lambda p: p.parts)
        if not files:
            raise ValueError(f"{path} holds no text files")
    n_bytes = sum(_text_bytes(p) for p in files)
    if n_bytes == 0:
        raise ValueError(f"{path} is empty: there is no text to train on")
    return Corpus(tuple(files), n_bytes)


def is_held_out(text: str, share: float) -> bool:
    """Tell whether a piece belongs to the validation set, by its text alone."""
    return uniform(text, salt=b"held out") < share


def uniform(text: str, *, salt: bytes) -> float:
    """Return a number in [0, 1) drawn from the text itself, differently for every salt."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=salt)
    return int.from_bytes(digest.digest(), "big") / 2.0**64


def _pieces(stream: TextIO) -> Iterator[tuple[str, bool]]:
    """Cut a file at separators and, where a document is long, at line ends."""
    lines: list[str] = []
    length = 0
    while line := stream.readline(PIECE_CHARACTERS):
        ends = line.rstrip("\n") == SEPARATOR
        if length and (ends or length >= PIECE_CHARACTERS):
            yield "".join(lines), ends
            lines, length = [], 0
        if not ends:
            lines.append(line)
            length += len(line)
    if length:
        yield "".join(lines), True


def _open_text(path: Path) -> TextIO:
    return io.TextIOWrapper(_open_bytes(path), encoding="utf-8", errors="replace")


def _open_bytes(path: Path) -> BinaryIO:
    opener = OPENERS.get(path.suffix)
    return path.open("rb") if opener is None else opener(path)


def _is_text(path: Path) -> bool:
    """Text is what has no zero byte near its beginning and, if compressed, decompresses."""
    try:
        with _open_bytes(path) as stream:
            return b"\0" not in stream.read(PROBE_BYTES)
    except PermissionError:
        raise
    except (OSError, EOFError, lzma.LZMAError):
        return False


def _is_visible(path: Path) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _text_bytes(path: Path) -> int:
    size = path.stat().st_size
    return size * ASSUMED_COMPRESSION if path.suffix in OPENERS else size
