"""LMArena's votes, and whatever else ``triskele.evaluate.votes.reading`` understands."""

from pathlib import Path

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.votes.reading import read_votes


def read_arena(path: Path) -> Dataset:
    """Read votes from a Parquet, CSV or JSON file or a folder of them; there are no scores.

    Raises
    ------
    ValueError
        Where :func:`~triskele.evaluate.votes.reading.read_votes` does.
    """
    votes = read_votes(path)
    return Dataset(
        ids=votes.ids,
        texts=votes.texts,
        models=votes.comparisons.models,
        comparisons=votes.comparisons,
    )
