"""How wrong predictions were, and what the mean of that is worth.

The loss of a prediction is the negative log likelihood of the outcome; an outcome between 0 and 1
is a share of both.
"""

import numpy as np

from triskele.evaluate.columns import Floats, Integers

SMALLEST = 1e-15
"""A chance of zero is taken for so much, so that a wrong prediction has a finite loss."""


def losses_of_chances(chance: Floats, outcome: Floats) -> Floats:
    """Return the loss of each chance that b beats a, (n,)."""
    p = np.clip(chance, SMALLEST, 1 - SMALLEST)
    return np.asarray(-(outcome * np.log(p) + (1 - outcome) * np.log1p(-p)))


def losses_of_odds(log_odds: Floats, outcome: Floats) -> Floats:
    """Return the loss of each log odds that b beats a, (n,)."""
    return np.asarray(np.logaddexp(0.0, log_odds) - outcome * log_odds)


def mean_by_query(
    value: Floats, weight: Floats, query: Integers, n_queries: int
) -> tuple[float, float]:
    """Return a weighted mean and its standard error, whole queries being independent.

    Both are 0 if nothing has any weight.
    """
    total = float(weight.sum())
    if total == 0:
        return 0.0, 0.0
    share = weight / total
    mean = float(share @ value)
    away = np.bincount(query, share * (value - mean), n_queries)
    return mean, float(np.sqrt(np.square(away).sum()))
