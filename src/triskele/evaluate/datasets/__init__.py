"""Data sets in local files, each in the layout in which it is published, as one record.

>>> dataset = load("routerbench_0shot.parquet")
>>> dataset.scores.shape == (dataset.n_queries, dataset.n_models)
>>> read_sprout(Path("SPROUT"), prices={"openai-gpt-4o": (2.5, 10.0)}).prices
"""

from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets.answers import read_answers
from triskele.evaluate.datasets.arena import read_arena
from triskele.evaluate.datasets.layouts import LAYOUTS, layout_of, load
from triskele.evaluate.datasets.leaderboard import read_leaderboard
from triskele.evaluate.datasets.plain import read_plain
from triskele.evaluate.datasets.questions import read_questions
from triskele.evaluate.datasets.routerbench import read_routerbench
from triskele.evaluate.datasets.sprout import read_sprout

__all__ = [
    "Dataset",
    "LAYOUTS",
    "layout_of",
    "load",
    "read_answers",
    "read_arena",
    "read_leaderboard",
    "read_plain",
    "read_questions",
    "read_routerbench",
    "read_sprout",
]
