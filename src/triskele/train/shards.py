"""Token shards: flat files of token ids, memory-mapped, in the format of llm.c and modded-nanogpt.

A shard is a header of 256 int32 (magic, version, number of tokens, zeros) followed by the tokens,
little-endian: uint16 under magic 20240520 version 1, uint32 under magic 20240801 version 7. The
same format is written and read, so that a corpus tokenized here trains there and the other way
round. Shards know neither text nor batches.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 1024
SHARD_TOKENS = 100_000_000


@dataclass(frozen=True, slots=True)
class ShardFormat:
    """One of the two layouts in use."""

    magic: int
    version: int
    dtype: np.dtype[np.unsignedinteger]


NARROW = ShardFormat(20240520, 1, np.dtype("<u2"))
WIDE = ShardFormat(20240801, 7, np.dtype("<u4"))


class TokenShards:
    """The tokens of several shards as one long sequence, read through memory maps.

    Parameters
    ----------
    paths
        The shards, in order.
    start, stop
        The part of the sequence this object stands for, as in a slice; all of it by default.

    Raises
    ------
    ValueError
        If a file is no token shard or shorter than its header says.
    """

    def __init__(self, paths: Sequence[Path], *, start: int = 0, stop: int | None = None) -> None:
        self.paths = tuple(paths)
        self._maps = [open_shard(path) for path in self.paths]
        self._ends = np.cumsum([len(tokens) for tokens in self._maps], dtype=np.int64)
        n_all = int(self._ends[-1]) if self.paths else 0
        self._start, self._stop, _ = slice(start, stop).indices(n_all)

    def __len__(self) -> int:
        return max(0, self._stop - self._start)

    def read(self, start: int, n_tokens: int) -> NDArray[np.int64]:
        """Return ``n_tokens`` tokens from ``start`` on, across shard ends where need be.

        Raises
        ------
        ValueError
            If the range is not within the sequence.
        """
        if start < 0 or n_tokens < 0 or start + n_tokens > len(self):
            raise ValueError(
                f"tokens {start} to {start + n_tokens} are outside the {len(self)} there are"
            )
        out = np.empty(n_tokens, dtype=np.int64)
        at = start + self._start
        shard = int(np.searchsorted(self._ends, at, side="right"))
        filled = 0
        while filled < n_tokens:
            tokens = self._maps[shard]
            offset = at + filled - (int(self._ends[shard]) - len(tokens))
            taken = tokens[offset : offset + n_tokens - filled]
            out[filled : filled + len(taken)] = taken
            filled += len(taken)
            shard += 1
        return out

    def slice(self, start: int, stop: int) -> "TokenShards":
        """Return the part from ``start`` up to ``stop`` of this sequence."""
        first, last, _ = slice(start, stop).indices(len(self))
        return TokenShards(self.paths, start=self._start + first, stop=self._start + last)


class ShardWriter:
    """Writes tokens into ``NAME_000000.bin``, ``NAME_000001.bin`` … under one folder.

    A shard is complete once the writer has moved on from it or is closed; until then its header
    says that it holds no tokens, which readers refuse.
    """

    def __init__(
        self, folder: Path, name: str, *, vocab_size: int, shard_tokens: int = SHARD_TOKENS
    ) -> None:
        self.n_tokens = 0
        self.paths: list[Path] = []
        self._folder, self._name, self._shard_tokens = folder, name, shard_tokens
        self._format = NARROW if vocab_size <= 2**16 else WIDE
        self._stream: BinaryIO | None = None
        self._room = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, tokens: Sequence[int] | NDArray[np.integer]) -> None:
        """Append tokens, opening a new shard when one is full."""
        left = np.asarray(tokens, dtype=self._format.dtype)
        while len(left):
            if self._room == 0:
                self.close()
                self._open()
            assert self._stream is not None
            part, left = left[: self._room], left[self._room :]
            self._stream.write(part.tobytes())
            self._room -= len(part)
            self.n_tokens += len(part)

    def close(self) -> None:
        """Complete the shard being written."""
        if self._stream is None:
            return
        with self._stream as stream:
            self._stream = None
            n_tokens = self._shard_tokens - self._room
            self._room = 0
            stream.seek(0)
            stream.write(_header(self._format, n_tokens))
            stream.flush()
            os.fsync(stream.fileno())

    def _open(self) -> None:
        path = self._folder / f"{self._name}_{len(self.paths):06d}.bin"
        self._stream = path.open("wb")
        self._stream.write(_header(self._format, 0))
        self.paths.append(path)
        self._room = self._shard_tokens


def write_shard(path: Path, tokens: NDArray[np.integer], *, vocab_size: int) -> None:
    """Write one complete shard."""
    layout = NARROW if vocab_size <= 2**16 else WIDE
    with path.open("wb") as stream:
        stream.write(_header(layout, len(tokens)))
        stream.write(np.asarray(tokens, dtype=layout.dtype).tobytes())


def open_shard(path: Path) -> NDArray[np.unsignedinteger]:
    """Map the tokens of one shard.

    Raises
    ------
    ValueError
        If the header is not that of a token shard, or the file is shorter or longer than the
        header says.
    """
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise ValueError(f"{path} is no token shard: {size} bytes are less than its header")
    header = np.fromfile(path, dtype="<i4", count=HEADER_BYTES // 4)
    found = (int(header[0]), int(header[1]))
    layouts = [x for x in (NARROW, WIDE) if (x.magic, x.version) == found]
    if not layouts:
        raise ValueError(
            f"{path} is no token shard: expected magic {NARROW.magic} version {NARROW.version} "
            f"or {WIDE.magic} version {WIDE.version}, got magic {found[0]} version {found[1]}"
        )
    n_tokens, dtype = int(header[2]), layouts[0].dtype
    expected = HEADER_BYTES + n_tokens * dtype.itemsize
    if n_tokens <= 0 or size != expected:
        state = "truncated" if size < expected else "damaged"
        raise ValueError(
            f"{path} is {state}: its header promises {n_tokens} tokens, "
            f"the file holds {(size - HEADER_BYTES) // dtype.itemsize}"
        )
    return np.memmap(path, dtype=dtype, mode="r", offset=HEADER_BYTES, shape=(n_tokens,))


def _header(layout: ShardFormat, n_tokens: int) -> bytes:
    header = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    header[:3] = layout.magic, layout.version, n_tokens
    return header.tobytes()
