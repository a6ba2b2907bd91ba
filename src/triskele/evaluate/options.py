"""What several commands of ``triskele evaluate`` have in common to be asked for.

The command line is derived from these records: a field's name is its option, its docstring the
help, its default the default.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """How comparisons are drawn where a data set has scores of each model instead of votes."""

    per_query: int = 7
    """Comparisons of each query; all pairs of models if there are fewer."""
    ties: Literal["drop", "half"] = "drop"
    """Whether a pair of equal scores is left out, or is a tie: half a win to each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How a fit is made."""

    embeddings: Path | None = None
    """File of embeddings, a row per query: .npy or .parquet. A data set's own are used if it has
    some and no embedder is named."""
    embedder: str | None = None
    """tfidf (by the words of the texts), or the folder of a sentence-transformers model. Never
    downloads one."""
    embedding_cache: Path | None = None
    """Folder where a model's embeddings are kept, so that no run computes one twice."""
    clusters: int | None = None
    """Kinds of queries to look for; about √(queries / 20), from 2 to 30, if not given."""
    seed: int = 0
    """Seed of all that is drawn."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.embeddings is not None and self.embedder is not None:
            raise ValueError("expected --embeddings or --embedder, got both")
        if self.clusters is not None and self.clusters < 1:
            raise ValueError(f"expected at least one cluster, got --clusters {self.clusters}")
        if self.seed < 0:
            raise ValueError(f"expected a seed of at least 0, got {self.seed}")
