"""How good a fit's predictions are on queries it has not seen.

Some queries are set aside, the same kind of fit is made of the others, and asked who wins the
comparisons of those set aside, of which it is shown none. One ranking for all queries is asked the
same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import clone

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.losses import losses_of_chances, mean_by_query
from triskele.evaluate.sampling import split_queries

TEST_SHARE = 0.2
FEWEST = 25
"""Compared queries below which nothing is set aside."""
N_BINS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Predictions of similar probability."""

    predicted: float
    """Mean chance of the favourite."""
    observed: float
    """Share of them that the favourite won; ties are half."""
    error: float
    """Standard error of that share."""
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """Predictions against outcomes."""

    n_queries: int
    n_comparisons: int
    global_loss: float
    """Mean negative log likelihood of one ranking for all queries."""
    loss: float
    """That of the fit."""
    gain: float
    """Their difference, positive if the fit is better."""
    gain_error: float
    """Its standard error, whole queries being independent."""
    global_accuracy: float
    """Share of comparisons, ties apart, whose winner was the favourite."""
    accuracy: float
    bins: tuple[Bin, ...]
    """Of as many predictions each, by rising probability."""


def hold_out(
    ecc: EvidenceCalibratedClustering,
    X: NDArray[np.floating],
    comparisons: Comparisons,
    *,
    rng: np.random.Generator,
) -> Holdout | None:
    """Return how a fit with the settings of another does; ``None`` if there are too few queries.

    Parameters
    ----------
    ecc
        Whose settings are used; it is not changed.
    X
        Embeddings, (n_queries, n_features).
    comparisons
        Of all queries.
    rng
        Draws the queries that are set aside.
    """
    compared = np.unique(comparisons.query[comparisons.weight > 0])
    if len(compared) < FEWEST:
        return None
    _, held = split_queries(len(compared), test_size=TEST_SHARE, rng=rng)
    is_held = np.zeros(len(X), np.bool_)
    is_held[compared[held]] = True
    fitted = clone(ecc).fit(X[~is_held], comparisons=comparisons.of_queries(~is_held))
    asked = comparisons.of_queries(is_held)
    p = fitted.predict_pairwise(X[is_held], asked)
    lead = fitted.global_[asked.model_b] - fitted.global_[asked.model_a]
    p_global = expit(lead)
    loss, global_loss = (
        losses_of_chances(p, asked.outcome),
        losses_of_chances(p_global, asked.outcome),
    )
    gain, error = mean_by_query(global_loss - loss, asked.weight, asked.query, asked.n_queries)
    return Holdout(
        n_queries=int(is_held.sum()),
        n_comparisons=len(asked),
        global_loss=float(np.average(global_loss, weights=asked.weight)),
        loss=float(np.average(loss, weights=asked.weight)),
        gain=gain,
        gain_error=error,
        global_accuracy=_accuracy(p_global, asked),
        accuracy=_accuracy(p, asked),
        bins=_bins(p, asked.outcome),
    )


def _accuracy(p: Floats, asked: Comparisons) -> float:
    """Return the share of decided comparisons that were told right; a guess counts half."""
    decided = (asked.outcome != 0.5) & (asked.weight > 0)
    if not decided.any():
        return float("nan")
    side = np.sign(p[decided] - 0.5) * np.sign(asked.outcome[decided] - 0.5)
    return float(np.average((1 + side) / 2, weights=asked.weight[decided]))


def _bins(p: Floats, outcome: Floats) -> tuple[Bin, ...]:
    """Group predictions by the chance they give the favourite, whichever side it is on."""
    favourite = np.maximum(p, 1 - p)
    won = np.where(p >= 0.5, outcome, 1 - outcome)
    order: Integers = np.argsort(favourite, kind="stable")
    groups = np.array_split(order, min(N_BINS, len(order)))
    return tuple(
        Bin(
            predicted=float(favourite[group].mean()),
            observed=float(won[group].mean()),
            error=float(won[group].std() / np.sqrt(len(group))),
            n=len(group),
        )
        for group in groups
    )
