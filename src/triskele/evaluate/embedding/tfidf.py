"""Embeddings from the words of the texts alone: no model, no download.

TF-IDF of words and pairs of words with sublinear counts, reduced by a truncated singular value
decomposition: latent semantic analysis (Deerwester et al., 1990). What it does not know is meaning:
texts without a word in common are unrelated to it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Tags
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.validation import check_is_fitted

from triskele.evaluate.embedding.embedder import unit_rows

N_ITERATIONS = 2
"""Power iterations of the decomposition; more change the neighbours of a text no longer."""


class TfidfEmbedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embeds texts by their words, as a scikit-learn transformer.

    Parameters
    ----------
    n_components
        Features at most; fewer where there are fewer texts or words to tell apart.
    max_terms
        Words and pairs of words at most, the most frequent ones; all if ``None``.
    random_state
        Seed of the decomposition.

    Attributes
    ----------
    components_
        Directions in the space of terms, orthonormal: (n_features, n_terms).
    vectorizer_
        The fitted ``TfidfVectorizer``, or ``None`` where the texts have no words.
    n_features_out_
        Features of a text: at least 1.

    Examples
    --------
    >>> embedder = TfidfEmbedder(n_components=2).fit(["red apple", "green apple", "prime number"])
    >>> embedder.encode(["an apple"]).shape
    (1, 2)
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        max_terms: int | None = 1 << 16,
        random_state: int | None = 0,
    ) -> None:
        self.n_components = n_components
        self.max_terms = max_terms
        self.random_state = random_state

    def fit(self, X: Sequence[str], y: object = None) -> "TfidfEmbedder":
        """Learn the words and directions of some texts.

        Parameters
        ----------
        X
            Texts, (n,); they may be empty.
        y
            Nothing; here because transformers have it.

        Raises
        ------
        ValueError
            If there is no text, or ``n_components`` is not positive.
        """
        texts = _texts(X)
        if not texts:
            raise ValueError("expected at least one text, got none")
        if self.n_components < 1:
            raise ValueError(f"expected n_components of at least 1, got {self.n_components}")
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, max_features=self.max_terms, dtype=np.float32
        )
        words = vectorizer.build_analyzer()
        self.vectorizer_ = vectorizer if any(words(text) for text in texts) else None
        if self.vectorizer_ is None:
            self.components_: NDArray[np.float32] = np.zeros((1, 0), np.float32)
        else:
            terms = self.vectorizer_.fit_transform(texts)
            n_features = min(self.n_components, *terms.shape)
            _, _, directions = randomized_svd(
                terms, n_features, n_iter=N_ITERATIONS, random_state=self.random_state
            )
            self.components_ = directions.astype(np.float32)
        self.n_features_out_ = len(self.components_)
        return self

    def transform(self, X: Sequence[str]) -> NDArray[np.float32]:
        """Return a row of length 1 per text, (n, n_features); of zeros if no word is known."""
        check_is_fitted(self)
        texts = _texts(X)
        if self.vectorizer_ is None or not texts:
            return np.zeros((len(texts), self.n_features_out_), np.float32)
        terms: sparse.csr_matrix = self.vectorizer_.transform(texts)
        return unit_rows(terms @ self.components_.T)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what :meth:`transform` does, as a :class:`TextEmbedder`."""
        return self.transform(texts)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def _texts(X: Iterable[str]) -> list[str]:
    """Return texts as a list; one text in place of several is a mistake that is easy to make."""
    if isinstance(X, str):
        raise ValueError(f"expected several texts, got one: {X[:40]!r}")
    texts = list(X)
    strange = next((text for text in texts if not isinstance(text, str)), None)
    if strange is not None:
        raise ValueError(f"expected texts, got {type(strange).__name__}: {strange!r}")
    return texts
