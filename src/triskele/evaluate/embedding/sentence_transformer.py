"""Embeddings by a sentence-transformers model in a local folder.

The model is never fetched: a path that is not there is an error. Importing this module imports
sentence_transformers and with it torch; nothing else in the room does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from triskele.evaluate.embedding.embedder import unit_rows

BATCHES_PER_CALL = 16
"""Batches between two reports of progress."""


class SentenceTransformerEmbedder:
    """Embeds texts with a local model.

    Parameters
    ----------
    model_path
        Folder of the model, as ``SentenceTransformer.save`` writes it.
    batch_size
        Texts that the model reads at a time.
    max_length
        Tokens of a text that are read at most; what the model says if not given.
    device
        Where the model runs, as torch names it; the processor if not given.
    on_progress
        Called with the number of texts done and of all that are not blank.

    Raises
    ------
    ValueError
        If there is no such model, or a number is not positive.
    """

    def __init__(
        self,
        model_path: str | Path,
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        device: str = "cpu",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        path = Path(model_path)
        if not (path / "modules.json").is_file() and not (path / "config.json").is_file():
            raise ValueError(f"expected a folder with a sentence-transformers model, got {path}")
        for name, value in (("batch_size", batch_size), ("max_length", max_length)):
            if value is not None and value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")
        try:
            self.model = SentenceTransformer(str(path), device=device, local_files_only=True)
        except (OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{path} cannot be read as a model: {reason}") from None
        if max_length is not None:
            self.model.max_seq_length = max_length
        self.path = path
        self.batch_size = batch_size
        self.on_progress = on_progress

    @property
    def name(self) -> str:
        """What the vectors depend on, for a cache: the model's folder and the length it reads."""
        return f"{self.path.resolve()}@{self.model.max_seq_length}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a row of length 1 per text, of zeros for a blank one: (n, d).

        Texts of similar length are read together, the longest first, so that what does not fit
        into memory fails at once.
        """
        longest_first = sorted(
            (row for row, text in enumerate(texts) if text.strip()),
            key=lambda row: -len(texts[row]),
        )
        n_features = self._encode(["a"]).shape[1]
        vectors = np.zeros((len(texts), n_features), np.float32)
        step = self.batch_size * BATCHES_PER_CALL
        for begin in range(0, len(longest_first), step):
            rows = longest_first[begin : begin + step]
            vectors[rows] = unit_rows(self._encode([texts[row] for row in rows]))
            if self.on_progress is not None:
                self.on_progress(begin + len(rows), len(longest_first))
        return vectors

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        return self.model.encode(
            texts, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True
        )
