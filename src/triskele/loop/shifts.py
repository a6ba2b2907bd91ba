"""How models have moved against a forecast: one shift of the log odds of each.

P(b beats a) = σ(z + δ_b − δ_a) with z the forecast's log odds and δ ~ N(0, 1/ridge), found by
Newton's method. A model that has become worse on all queries is one shift, whatever the forecast
says of each query.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from triskele.evaluate import Comparisons
from triskele.loop.evidence import Floats

RIDGE = 1.0
MAX_ROUNDS, SMALL_STEP = 30, 1e-8
CHANCE = 0.01
"""That a model is said to have changed which has not, all models together."""
LEAST_CHANGE = 0.08
"""Of the share of wins, below which no change is worth forgetting for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shifts:
    """Where models have moved to.

    Attributes
    ----------
    shift
        δ of each model, (M,); 0 for par.
    odds
        Log odds of each comparison with them, (n,).
    design
        +1 for model b and −1 for model a, (n, M).
    """

    shift: Floats
    odds: Floats
    design: Floats


def fit_shifts(odds: Floats, comparisons: Comparisons, *, par: int) -> Shifts:
    """Return the shifts that comparisons tell of.

    Parameters
    ----------
    odds
        Forecast, (n,).
    comparisons
        In the same order.
    par
        The model that does not move.
    """
    n = len(comparisons)
    design = np.zeros((n, comparisons.n_models))
    rows = np.arange(n)
    design[rows, comparisons.model_b] = 1.0
    design[rows, comparisons.model_a] = -1.0
    design[:, par] = 0.0
    shift = np.zeros(comparisons.n_models)
    for _ in range(MAX_ROUNDS):
        p = expit(odds + design @ shift)
        gradient = design.T @ (comparisons.weight * (comparisons.outcome - p)) - RIDGE * shift
        curvature = (design.T * (comparisons.weight * p * (1 - p))) @ design
        curvature[np.diag_indices_from(curvature)] += RIDGE
        step = np.linalg.solve(curvature, gradient)
        # The curvature changes by at most e per unit of log odds: no step is longer.
        shift = shift + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < SMALL_STEP:
            break
    return Shifts(shift=shift, odds=odds + design @ shift, design=design)


def changed_models(odds: Floats, comparisons: Comparisons, *, par: int) -> tuple[str, ...]:
    """Return the models that win more or less than forecast, by more than chance and by much.

    Parameters
    ----------
    odds, comparisons, par
        As for :func:`fit_shifts`.
    """
    surplus = comparisons.outcome - expit(odds)
    found = []
    limit = float(norm.isf(CHANCE / 2 / max(1, comparisons.n_models - 1)))
    for model, name in enumerate(comparisons.models):
        is_b, is_a = comparisons.model_b == model, comparisons.model_a == model
        away = np.concatenate([surplus[is_b], -surplus[is_a]])
        if model == par or len(away) < 2:
            continue
        error = float(np.sqrt(np.square(away).sum())) / len(away)
        mean = float(away.mean())
        if abs(mean) > max(limit * error, LEAST_CHANGE):
            found.append(name)
    return tuple(found)
