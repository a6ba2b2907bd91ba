"""Which layout a file or folder has, told by its names and columns, and reading it.

Nothing is ever fetched: a path is local, and a data set on a hub has to be copied first.
"""

from collections.abc import Callable
from pathlib import Path

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.answers import PREFIX, read_answers
from triskele.evaluate.datasets.arena import read_arena
from triskele.evaluate.datasets.leaderboard import NAME, read_leaderboard
from triskele.evaluate.datasets.plain import find_table, read_plain
from triskele.evaluate.datasets.questions import TEXTS, is_headless, read_questions
from triskele.evaluate.datasets.routerbench import models_of as routerbench_models
from triskele.evaluate.datasets.routerbench import read_routerbench
from triskele.evaluate.datasets.sprout import SCORE, read_sprout
from triskele.evaluate.datasets.tables import columns_of, table_files

LAYOUTS: dict[str, Callable[[Path], Dataset]] = {
    "answers": read_answers,
    "arena": read_arena,
    "leaderboard": read_leaderboard,
    "plain": read_plain,
    "questions": read_questions,
    "routerbench": read_routerbench,
    "sprout": read_sprout,
}

MAX_SHOWN = 6
"""Columns that a message lists at most."""


def load(path: str | Path, layout: str | None = None) -> Dataset:
    """Read a data set from a local file or folder.

    Parameters
    ----------
    path
        Where it is.
    layout
        ``plain`` (a folder of our own tables), ``sprout``, ``routerbench``, ``leaderboard``
        (details of the Open LLM Leaderboard), ``questions`` (MMLU, MMLU-Pro or MATH), ``answers``
        (MMLU-Pro's ``eval_results``) or ``arena`` (LMArena's votes). Told by names and columns if
        not given.

    Returns
    -------
    Dataset
        What the reader of that layout makes of it.

    Raises
    ------
    ValueError
        If there is nothing at the path, its layout is none of these, or it is not as expected.

    Examples
    --------
    >>> dataset = load("mmlu-pro/eval_results")
    >>> dataset.scores.shape == (dataset.n_queries, dataset.n_models)
    """
    path = Path(path)
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"expected a layout of {', '.join(LAYOUTS)}, got {layout!r}")
    return LAYOUTS[layout or layout_of(path)](path)


def layout_of(path: Path) -> str:
    """Return the name of the layout that a file or folder has.

    Raises
    ------
    ValueError
        If it is none that is known.
    """
    if path.is_dir():
        if find_table(path, "queries") is not None:
            return "plain"
        names = [file for file in path.rglob("*") if file.is_file()]
        if any(NAME.fullmatch(file.stem) for file in names):
            return "leaderboard"
        if any(file.stem.startswith(PREFIX) or file.stem.endswith("_result") for file in names):
            return "answers"
    file = table_files(path)[0]
    if path.is_file() and file.suffix == ".zip":
        return "answers"
    layout = "questions" if is_headless(file) else _layout_of_columns(file)
    if layout is None:
        shown = ", ".join(list(columns_of(file))[:MAX_SHOWN])
        raise ValueError(
            f"{file}: expected a layout of {', '.join(LAYOUTS)}, got the columns {shown}"
        )
    return layout


def _layout_of_columns(file: Path) -> str | None:
    columns = columns_of(file)
    names = tuple(columns)
    if {"model_a", "model_b"} <= set(names):
        return "arena"
    if routerbench_models(names):
        return "routerbench"
    if "prompt" in names and any(SCORE in fields for fields in columns.values()):
        return "sprout"
    if "question_id" in names and {"pred", "model_outputs"} & set(names):
        return "answers"
    return "questions" if set(TEXTS) & set(names) else None
