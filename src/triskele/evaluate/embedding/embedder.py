"""Embedders: what turns texts into unit vectors.

``tfidf`` has one that needs nothing but the texts, ``sentence_transformer`` one that runs a model,
``embedding_cache`` one that remembers what another has embedded.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class TextEmbedder(Protocol):
    """What turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a row per text, (n, d): of length 1, or of zeros for one that says nothing."""
        ...


def unit_rows(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return rows divided by their lengths; rows of zeros stay so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return units
