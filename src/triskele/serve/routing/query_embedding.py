"""Queries as vectors, from their words alone: fast enough for the path of a request.

Words and pairs of neighbouring words are hashed into a fixed number of signed places (the hashing
trick, Weinberger et al., 2009), counts are dampened by their logarithm, and the vector has length
1. Nothing is fitted, so that whoever learns from such vectors and whoever asks later agree without
sharing more than two numbers. What it does not know is meaning: texts without a word in common are
unrelated to it.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

WORD = re.compile(r"\w+|[^\w\s]")
HASHED = "hashed-words"
Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HashedWords:
    """Embeds texts by their words.

    Attributes
    ----------
    n_features
        Length of a vector.
    n_characters
        How much of a text is read: so much of its beginning and of its end.
    """

    n_features: int = 512
    n_characters: int = 2000

    def __post_init__(self) -> None:
        """Refuse vectors of nothing."""
        if self.n_features < 1 or self.n_characters < 1:
            raise ValueError(f"expected at least one feature and one character, got {self}")

    def embed(self, text: str) -> Vector:
        """Return the vector of a text, (n_features,); zeros if it has no word."""
        n = self.n_characters
        if len(text) > 2 * n:
            text = f"{text[:n]} {text[-n:]}"
        words = WORD.findall(text.lower())
        counts = Counter(words)
        counts.update(f"{left} {right}" for left, right in pairwise(words))
        vector = np.zeros(self.n_features, dtype=np.float32)
        digest, n_features = xxhash.xxh3_64_intdigest, self.n_features
        if counts:
            hashes = np.fromiter(
                (digest(term.encode("utf-8", "replace")) for term in counts), np.uint64, len(counts)
            )
            sizes = np.log1p(np.fromiter(counts.values(), np.float32, len(counts)))
            signs = np.where(hashes >> np.uint64(63), 1.0, -1.0).astype(np.float32)
            np.add.at(vector, (hashes % np.uint64(n_features)).astype(np.intp), signs * sizes)
            length = float(np.linalg.norm(vector))
            if length > 0:
                vector /= length
        return vector


def embedder(name: str) -> Callable[[str], Vector]:
    """Return what embeds texts, by the name that a capability table gives.

    Parameters
    ----------
    name
        ``hashed-words:N``, or the folder of a sentence-transformers model, which needs that
        library.

    Raises
    ------
    ValueError
        When there is no such thing.
    """
    kind, _, n_features = name.partition(":")
    if kind == HASHED:
        if not n_features.isdecimal():
            raise ValueError(f"expected {HASHED}:N, got {name!r}")
        return HashedWords(n_features=int(n_features)).embed
    if not Path(name).is_dir():
        raise ValueError(f"expected {HASHED}:N or the folder of a model, got {name!r}")
    try:
        library = import_module("sentence_transformers")
    except ImportError:
        raise ValueError(f"{name} needs sentence-transformers to be installed") from None
    model = library.SentenceTransformer(name, device="cpu")
    return lambda text: np.asarray(model.encode(text, normalize_embeddings=True), np.float32)
