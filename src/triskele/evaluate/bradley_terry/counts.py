"""Comparisons added up: how much model i has won against model j.

The Bradley–Terry likelihood depends on the comparisons only through these counts, so that a million
of them is as quick to fit as a thousand. A tie is half a win to each, a share of 0.8 is 0.8 of a
win and 0.2 of a loss.
"""

import numpy as np
from scipy import sparse

from triskele.evaluate.columns import Floats
from triskele.evaluate.comparisons import Comparisons


def count_wins(comparisons: Comparisons, *, weight: Floats | None = None) -> Floats:
    """Return the weight of the wins of each model over each other one.

    Parameters
    ----------
    comparisons
        In any order.
    weight
        Other weights than those of the comparisons, (n,).

    Returns
    -------
    Array
        (n_models, n_models): entry (i, j) is what i won against j. The diagonal is zero.
    """
    n_models = comparisons.n_models
    a, b, outcome = comparisons.model_a, comparisons.model_b, comparisons.outcome
    of_b = outcome * (comparisons.weight if weight is None else weight)
    of_a = (1 - outcome) * (comparisons.weight if weight is None else weight)
    n_cells = n_models * n_models
    won_by_a = np.bincount(a * n_models + b, of_a, minlength=n_cells)
    won_by_b = np.bincount(b * n_models + a, of_b, minlength=n_cells)
    return np.add(won_by_a, won_by_b, dtype=np.float64).reshape(n_models, n_models)


def wins_by_query(comparisons: Comparisons) -> sparse.csr_array:
    """Return the wins of each query as the columns of a sparse matrix.

    One product with it counts the wins of many weightings of the queries at once, such as the
    responsibilities of K clusters, R of (n_queries, K)::

        wins = (wins_by_query(comparisons) @ R).T.reshape(K, n_models, n_models)

    Returns
    -------
    Matrix
        (n_models², n_queries), where row i · n_models + j holds what i won against j.
    """
    n_models = comparisons.n_models
    a, b, query = comparisons.model_a, comparisons.model_b, comparisons.query
    won = np.concatenate(
        [comparisons.weight * (1 - comparisons.outcome), comparisons.weight * comparisons.outcome]
    )
    cell = np.concatenate([a * n_models + b, b * n_models + a])
    is_won = won > 0
    entries = (won[is_won], (cell[is_won], np.concatenate([query, query])[is_won]))
    return sparse.csr_array(entries, shape=(n_models * n_models, comparisons.n_queries))
