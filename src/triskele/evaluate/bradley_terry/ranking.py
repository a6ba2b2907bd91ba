"""Ranks of models with intervals, and which of them cannot be told apart.

Whether i is better than j is decided on their difference, whose variance takes account of what the
two estimates have in common. A model's rank lies between one more than the number of models surely
better than it, and the number of those that are not surely worse. Each of its n_models − 1
differences is tested at the level that Bonferroni's inequality asks for, so that the interval of
one model's rank holds with the stated probability (compare Mogstad, Romano, Shaikh, Wilhelm 2024,
Inference for ranks).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from triskele.evaluate.columns import Flags, Floats, Integers

SAME = 1e-9
"""Strengths no further apart share a rank."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Ranks, 1 the best, of models in the order of the strengths they were computed from."""

    models: tuple[str, ...]
    order: Integers
    """Indices of the models, the strongest first."""
    rank: Integers
    """One more than how many models are stronger."""
    best: Integers
    """The highest rank that a model may have."""
    worst: Integers
    """The lowest rank that a model may have."""
    ties: tuple[tuple[str, ...], ...]
    """Runs of the order, as long as can be, within which no model is surely better than another.

    They may overlap. A model that is told apart from all others is a run by itself.
    """
    is_better: Flags
    """(n_models, n_models): whether i is surely better than j."""


def rank_models(
    models: tuple[str, ...], strengths: Floats, covariance: Floats, *, level: float
) -> Ranking:
    """Return the ranks of models with their intervals.

    Parameters
    ----------
    models
        Names.
    strengths
        (n_models,).
    covariance
        Of the strengths, (n_models, n_models); infinite where nothing is known of a model.
    level
        Probability with which a model's interval contains its rank.
    """
    n_models = len(models)
    lead = strengths[:, None] - strengths[None, :]
    variance = np.diagonal(covariance)
    with np.errstate(invalid="ignore"):
        spread = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * covariance, 0.0))
    spread[np.isnan(spread)] = np.inf
    z = float(-ndtri((1 - level) / 2 / max(n_models - 1, 1)))
    is_better = (lead > SAME) & (lead > z * np.where(lead > SAME, spread, 0.0))
    order = np.argsort(-strengths, kind="stable")
    return Ranking(
        models=models,
        order=order,
        rank=1 + (lead.T > SAME).sum(1),
        best=1 + is_better.sum(0),
        worst=n_models - is_better.sum(1),
        ties=tuple(tuple(models[index] for index in run) for run in _runs(order, is_better)),
        is_better=is_better,
    )


def _runs(order: Integers, is_better: Flags) -> list[Integers]:
    """Return the maximal runs of the order without a sure difference."""
    runs: list[Integers] = []
    end = 0
    for begin in range(len(order)):
        before = end
        while end < len(order) and not is_better[order[begin:end], order[end]].any():
            end += 1
        if end > before:
            runs.append(order[begin:end])
    return runs
