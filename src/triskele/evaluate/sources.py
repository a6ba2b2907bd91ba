"""Comparisons and the queries they are about, from votes or from a data set with scores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.datasets import layout_of, load
from triskele.evaluate.options import ScoreOptions
from triskele.evaluate.sampling import sample_comparisons
from triskele.evaluate.votes.files import SUFFIXES, kind_of
from triskele.evaluate.votes.reading import read_votes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """What there is to fit or to report on."""

    name: str
    ids: tuple[str, ...]
    """(n_queries,)."""
    texts: tuple[str, ...]
    """(n_queries,), empty where a text is unknown."""
    comparisons: Comparisons
    embeddings: NDArray[np.float32] | None
    """(n_queries, n_features), where a data set has some."""
    is_sampled: bool
    """Whether the comparisons were drawn from scores."""


def read_source(path: Path, *, options: ScoreOptions, seed: int) -> Source:
    """Read votes or a data set.

    Parameters
    ----------
    path
        A file or a folder of votes, or a data set in one of the layouts of ``datasets``.
    options
        How comparisons are drawn from scores.
    seed
        Of the draw.

    Raises
    ------
    ValueError
        If it can be read as neither, or there is nothing to compare in it.
    """
    if not path.exists():
        raise ValueError(f"expected votes or a data set, there is nothing at {path}")
    if _holds_votes(path):
        votes = read_votes(path)
        return _compared(
            Source(
                name=path.name,
                ids=votes.ids,
                texts=votes.texts,
                comparisons=votes.comparisons,
                embeddings=None,
                is_sampled=False,
            )
        )
    dataset = load(path)
    comparisons = dataset.comparisons
    if comparisons is None:
        if dataset.scores is None:
            raise ValueError(f"{path}: expected votes or scores of models, there are none")
        comparisons = sample_comparisons(
            dataset.scores,
            per_query=options.per_query,
            ties=options.ties,
            models=dataset.models,
            rng=np.random.default_rng(seed),
        )
    return _compared(
        Source(
            name=path.name,
            ids=dataset.ids,
            texts=dataset.texts,
            comparisons=comparisons,
            embeddings=dataset.embeddings,
            is_sampled=dataset.comparisons is None,
        )
    )


def _holds_votes(path: Path) -> bool:
    """Tell votes from other layouts; what the layouts do not know may still be votes."""
    try:
        return layout_of(path) == "arena"
    except ValueError:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return any(kind_of(file) in SUFFIXES for file in files)


def _compared(source: Source) -> Source:
    if not source.comparisons.weight.any():
        raise ValueError(f"expected comparisons of models, {source.name} holds none that count")
    return source
