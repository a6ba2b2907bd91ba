"""An embedder that remembers, on disk, what another has embedded.

The cache knows its embedder by a name only; it never looks into a model.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from os import fsync
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.embedding.embedder import TextEmbedder

KEY_BYTES = 16
TEXTS_PER_FILE = 4096
"""Texts that are embedded between two files of a cache: what an interruption can lose."""


class CachedEmbedder:
    """An embedder that remembers what it has embedded, on disk.

    Texts are known by a hash of the model's name and of their own bytes. Texts that are new are
    embedded in parts, and each part becomes a file of its own: it is written under another name and
    renamed when it is complete, so that a run that is interrupted goes on where it was.

    Parameters
    ----------
    embedder
        What embeds the texts that are new.
    folder
        Where the files are; it is made if it is not there.
    name
        What the embedder is, with all that changes its vectors: model, version, length.
    texts_per_file
        Texts that are embedded and written at a time.
    on_progress
        Called with the number of different texts done and of all of them, after each part.
    """

    def __init__(
        self,
        embedder: TextEmbedder,
        folder: Path,
        *,
        name: str,
        texts_per_file: int = TEXTS_PER_FILE,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if texts_per_file < 1:
            raise ValueError(f"expected texts_per_file of at least 1, got {texts_per_file}")
        self.embedder = embedder
        self.folder = folder
        self.name = name
        self.texts_per_file = texts_per_file
        self.on_progress = on_progress

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a row per text, (n, d), embedding those that no file of the cache has.

        Raises
        ------
        ValueError
            If a file of the cache is damaged, or holds vectors of another length.
        """
        keys = [self._key(text) for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        rows = self._known(set(wanted))
        new = [key for key in wanted if key not in rows]
        for begin in range(0, len(new), self.texts_per_file):
            part = new[begin : begin + self.texts_per_file]
            vectors = self.embedder.encode([wanted[key] for key in part])
            self._write(part, vectors)
            rows.update(zip(part, vectors, strict=True))
            if self.on_progress is not None:
                self.on_progress(len(rows), len(wanted))
        if not keys:
            return self.embedder.encode([])
        widths = {len(row) for row in rows.values()}
        if len(widths) > 1:
            raise ValueError(
                f"{self.folder}: expected vectors of one length under the name {self.name!r}, "
                f"got {sorted(widths)}: give each embedder a name of its own"
            )
        return np.stack([rows[key] for key in keys])

    def _key(self, text: str) -> bytes:
        name = self.name.encode()
        digest = blake2b(len(name).to_bytes(8, "little") + name, digest_size=KEY_BYTES)
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()

    def _known(self, wanted: set[bytes]) -> dict[bytes, NDArray[np.float32]]:
        rows: dict[bytes, NDArray[np.float32]] = {}
        for file in sorted(self.folder.glob("*.npz")):
            keys, vectors = _read(file)
            for place, key in enumerate(keys):
                if key in wanted:
                    rows[key] = vectors[place]
        return rows

    def _write(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = blake2b(b"".join(keys), digest_size=KEY_BYTES).hexdigest()
        partial = self.folder / f"{name}.partial"
        table = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES)
        with partial.open("wb") as file:
            np.savez(file, keys=table, vectors=vectors)
            file.flush()
            fsync(file.fileno())
        partial.replace(self.folder / f"{name}.npz")


def _read(file: Path) -> tuple[list[bytes], NDArray[np.float32]]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            keys, vectors = arrays["keys"], arrays["vectors"]
    except (ValueError, KeyError, EOFError, BadZipFile):
        raise ValueError(
            f"{file} is damaged: delete it, and its texts are embedded again"
        ) from None
    return [key.tobytes() for key in keys], vectors
