"""What makes embeddings of queries, by the name that a capability table carries.

The same name means the same embeddings to whoever fits a table and to the router that reads it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from triskele.evaluate.embedding.encoders import ModelFolder, encode
from triskele.loop.evidence import Floats
from triskele.serve.routing.query_embedding import embedder

Embed = Callable[[Sequence[str]], Floats]
"""Returns a row per text, (n, n_features)."""


def embedder_of(name: str) -> Embed:
    """Return what embeds texts.

    Parameters
    ----------
    name
        ``hashed-words:N`` for N features of the words, or the folder of a sentence-transformers
        model.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if Path(name).is_dir():
        # The same model as the router's, many texts at a time.
        folder = ModelFolder(name)
        return lambda texts: np.asarray(encode(folder, list(texts)), np.float64)
    embed = embedder(name)
    n_features = len(embed(""))
    return lambda texts: np.array([embed(text) for text in texts], np.float64).reshape(
        len(texts), n_features
    )
