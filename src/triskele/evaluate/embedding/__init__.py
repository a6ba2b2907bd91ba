"""Texts as directions: by their words, by a local model, or read from a file (``embedding.files``).

>>> embedder = TfidfEmbedder(n_components=256).fit(texts)
>>> embedder.encode(new_texts)  # (n_texts, n_features), rows of length one
>>> CachedEmbedder(embedder, Path("cache"), name="words").encode(texts)
"""

from triskele.evaluate.embedding.cache import CachedEmbedder
from triskele.evaluate.embedding.embedder import TextEmbedder
from triskele.evaluate.embedding.tfidf import TfidfEmbedder

__all__ = ["CachedEmbedder", "TextEmbedder", "TfidfEmbedder"]
