"""What a capability table says of comparisons, made before they were.

The log odds of a table are those against par, so the log odds that b beats a are their difference.
A model that the table does not know is taken for one in the middle of those that it knows.

Shape suffixes: Q queries, D features, L landmarks, M models and par.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from triskele.evaluate import Comparisons
from triskele.loop.evidence import PAR, Flags, Floats
from triskele.serve.routing.capability_table import CapabilityTable

BLOCK = 8192
"""Queries at a time, which bounds the memory."""


def kernel(x_QD: Floats, z_LD: Floats, gamma: float) -> Floats:
    """Return exp(−γ‖x − z‖²), (Q, L)."""
    distance = np.square(x_QD).sum(1)[:, None] + np.square(z_LD).sum(1) - 2 * (x_QD @ z_LD.T)
    return np.asarray(np.exp(-gamma * np.maximum(distance, 0.0)))


def odds_of(table: CapabilityTable, x_QD: Floats) -> Floats:
    """Return the log odds of each of the table's models on each query."""
    odds = np.tile(table.bias.astype(np.float64), (len(x_QD), 1))
    if len(table.points):
        points, weights = table.points.astype(np.float64), table.weights.astype(np.float64)
        for first in range(0, len(x_QD), BLOCK):
            block = slice(first, first + BLOCK)
            odds[block] += kernel(x_QD[block], points, table.gamma) @ weights
    return odds


def aligned_odds(table: CapabilityTable, x_QD: Floats, models: Sequence[str]) -> Floats:
    """Return the log odds of other models, par among them, on each query: (Q, M)."""
    known = odds_of(table, x_QD)
    middle = np.median(known, axis=1)
    place = {name: index for index, name in enumerate(table.models)}
    columns = [known[:, place[name]] if name in place else middle for name in models]
    odds = np.column_stack(columns)
    odds[:, [name == PAR for name in models]] = 0.0
    return odds


def log_odds(table: CapabilityTable, x_QD: Floats, comparisons: Comparisons) -> Floats:
    """Return the log odds that b beats a, (n,)."""
    odds = aligned_odds(table, x_QD, comparisons.models)
    query = comparisons.query
    return np.asarray(odds[query, comparisons.model_b] - odds[query, comparisons.model_a])


def is_known(table: CapabilityTable, comparisons: Comparisons) -> Flags:
    """Return which comparisons are of models that the table knows, (n,)."""
    known = np.array([name in table.models or name == PAR for name in comparisons.models])
    return np.asarray(known[comparisons.model_a] & known[comparisons.model_b])


def excess(odds: Floats, outcome: Floats) -> Floats:
    """Return by how much each loss is above what a forecast expects of itself, (n,).

    The log-loss of log odds z is expected to be the entropy of σ(z); what is above it is
    (p − y) z, whose mean is zero if the forecast is calibrated.
    """
    return np.asarray((expit(odds) - outcome) * odds)
