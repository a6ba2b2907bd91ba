"""What turns the texts of queries into embeddings, now and when a fit is used again.

Words need nothing but the texts; a sentence-transformers model is a folder on disk, remembered by
its path and opened when it is needed; embeddings that came from a file cannot be made again here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.embedding.cache import CachedEmbedder
from triskele.evaluate.embedding.embedder import TextEmbedder
from triskele.evaluate.embedding.tfidf import TfidfEmbedder

TFIDF = "tfidf"

OnProgress = Callable[[int, int], None]
"""Hears how many texts are done, and of how many."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A sentence-transformers model on disk."""

    path: str


Encoder = TfidfEmbedder | ModelFolder
"""What can embed other texts in the same space."""


def fit_encoder(name: str, texts: Sequence[str]) -> Encoder:
    """Return the encoder of a name, fitted to texts where it has to be.

    Parameters
    ----------
    name
        ``tfidf``, or the folder of a sentence-transformers model.
    texts
        Those that are to be embedded.

    Raises
    ------
    ValueError
        If there is no such folder, or no text has any word.
    """
    if not any(text.strip() for text in texts):
        raise ValueError("expected queries with texts, got none: give their --embeddings")
    if name == TFIDF:
        return TfidfEmbedder().fit(texts)
    if not Path(name).is_dir():
        raise ValueError(f"expected an embedder of {TFIDF!r} or the folder of a model, got {name}")
    return ModelFolder(str(Path(name).resolve()))


def encode(
    encoder: Encoder | None,
    texts: Sequence[str],
    *,
    cache: Path | None = None,
    on_progress: OnProgress | None = None,
) -> NDArray[np.floating[Any]]:
    """Return a row per text, (n, n_features), of length 1 or 0.

    Parameters
    ----------
    encoder
        ``None`` if the embeddings came from a file.
    texts
        (n,).
    cache
        Folder in which a model's embeddings are kept, so that none is computed twice.
    on_progress
        Hears how far a model is.

    Raises
    ------
    ValueError
        If texts cannot be embedded, or sentence-transformers is not installed.
    """
    if encoder is None:
        raise ValueError(
            "the fit knows embeddings from a file and no embedder: "
            "expected --embeddings with those of these queries"
        )
    if isinstance(encoder, TfidfEmbedder):
        return encoder.encode(texts)
    model = _model(encoder, on_progress if cache is None else None)
    embedder: TextEmbedder = model
    if cache is not None:
        embedder = CachedEmbedder(model, cache, name=model.name, on_progress=on_progress)
    return embedder.encode(texts)


def _model(folder: ModelFolder, on_progress: OnProgress | None) -> Any:
    """Return the embedder of a folder; its module, and torch with it, is imported only here."""
    try:
        module = import_module("triskele.evaluate.embedding.sentence_transformer")
    except ModuleNotFoundError as error:
        if error.name != "sentence_transformers":
            raise
        raise ValueError(
            "such an embedder needs sentence-transformers: pip install 'triskele[embed]'"
        ) from None
    return module.SentenceTransformerEmbedder(folder.path, on_progress=on_progress)
