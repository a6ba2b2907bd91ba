"""Bradley–Terry strengths: of one ranking with intervals, or of many tables of wins at once.

>>> fit = BradleyTerry(intervals="sandwich", level=0.9).fit(comparisons)
>>> fit.theta_, fit.lower_, fit.upper_, fit.rank().ties
>>> fit_counts(count_wins(comparisons), ridge=5.0)  # (n_models,)
"""

from triskele.evaluate.bradley_terry.counts import count_wins, wins_by_query
from triskele.evaluate.bradley_terry.estimator import BradleyTerry
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.bradley_terry.ranking import Ranking, rank_models

__all__ = [
    "BradleyTerry",
    "Ranking",
    "count_wins",
    "fit_counts",
    "rank_models",
    "wins_by_query",
]
