"""Whom not to believe: sources that say the opposite of the others, and batches full of noise.

A forecast expects a certain loss of itself, and what is above it, (p − y) z, has a mean of zero if
what was said is true. A *source* whose excess is significantly above that of all others, on the
queries and models that it spoke of, is not believed. The measure of it is a share of flips: so
many of its outcomes would have to be turned round to explain it.

A *batch* is looked at as a whole, against the forecast of the table that is served. That a model
has become worse or better on all queries is its shift, and taken out first; what is left of the
excess says that queries where a model should do well and those where it should not have become
alike. A change of one model can do that to this model only, so the excess has to stay without any
one of them. Noise in all that was said does it to all.

What needs no forecast is *contradiction*: two sources that say different things of one answer. If
one does so with the others more than these with each other, it is not believed. If all do so more
in a batch than before, something has come over it, and no change of a model can be the reason.

A liar whom nobody contradicts, and lies that are the majority, cannot be told from the truth.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from triskele.evaluate.losses import mean_by_query
from triskele.loop.evidence import Evidence, Flags, Floats, Integers
from triskele.loop.forecast import excess
from triskele.loop.shifts import RIDGE, fit_shifts

CHANCE = 0.005
"""That an honest source is not believed, all sources together."""
FEWEST = 20
"""Rows of a source below which nothing is said of it."""
TOLERATED = 0.15
"""Share of flips, above the others', that a careless source may have."""
LEAST_CERTAINTY = 0.01
"""What a flip has to cost on average; a forecast that hardly says anything accuses nobody."""
BATCH_CHANCE, BATCH_CHANCE_WITHOUT = 0.003, 0.03
"""That an honest batch has such an excess, with all models and without any one of them."""
BATCH_TOLERATED = 0.03
MORE_CONTRADICTION = 0.1
"""Mean difference of two scores of one answer, above what it was, that may be chance."""
FEWEST_TWICE = 10
"""Answers that two sources spoke of, in the batch and before it."""
FEWEST_IN_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Who is not believed, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """What a batch looks like.

    Attributes
    ----------
    flips
        Share of its outcomes that would have to be turned round.
    z
        Excess after shifts, in standard errors.
    z_without
        The least of it, leaving out any one model.
    is_founded
        Whether the batch is not to be believed.
    """

    flips: float
    z: float
    z_without: float
    is_founded: bool


def doubts_of(evidence: Evidence, odds: Floats) -> tuple[Doubt, ...]:
    """Return the sources that are not believed.

    Parameters
    ----------
    evidence
        Of all of them.
    odds
        Log odds that were forecast without knowing these outcomes, (n,).
    """
    present = [
        number
        for number in range(len(evidence.sources))
        if np.count_nonzero(evidence.source == number) >= FEWEST
    ]
    if not present or len(np.unique(evidence.source)) < 2:
        return ()
    limit = float(norm.isf(CHANCE / len(present)))
    found = []
    for number in present:
        doubt = _doubt(evidence, odds, evidence.source == number, limit)
        if doubt is not None:
            found.append(Doubt(source=evidence.sources[number], reason=doubt))
    return tuple(found)


def suspicion_of(evidence: Evidence, odds: Floats) -> Suspicion:
    """Return how much a batch looks like noise.

    Parameters
    ----------
    evidence
        The batch.
    odds
        Log odds that the table served forecast, (n,).
    """
    known = evidence.comparisons
    if len(known) < FEWEST_IN_BATCH:
        return Suspicion(flips=0.0, z=0.0, z_without=0.0, is_founded=False)
    moved = fit_shifts(odds, known, par=evidence.par)
    p = expit(moved.odds)
    # What of the forecast is no shift of models, and so cannot be explained by one.
    slope = p * (1 - p)
    inside = (moved.design.T * slope) @ moved.design + RIDGE * np.eye(known.n_models)
    apart = odds - moved.design @ np.linalg.solve(inside, moved.design.T @ (slope * odds))
    expected = (2 * p - 1) * apart
    surplus = (p - known.outcome) * apart - BATCH_TOLERATED * expected
    size = float(expected.sum())
    z = _in_errors(surplus)
    without = [
        _in_errors(surplus[(known.model_a != model) & (known.model_b != model)])
        for model in range(known.n_models)
        if model != evidence.par
    ]
    least = min(without, default=0.0)
    return Suspicion(
        flips=float((p - known.outcome) @ apart) / size if size > 0 else 0.0,
        z=z,
        z_without=least,
        is_founded=z > norm.isf(BATCH_CHANCE) and least > norm.isf(BATCH_CHANCE_WITHOUT),
    )


def contradictors_of(evidence: Evidence) -> tuple[Doubt, ...]:
    """Return the sources that contradict the others more than these each other, the worst first.

    Parameters
    ----------
    evidence
        Of all of them.
    """
    first, second, apart = _twice(evidence)
    is_left = np.ones(len(apart), np.bool_)
    limit = float(norm.isf(CHANCE / max(1, len(evidence.sources))))
    found: list[Doubt] = []
    while True:
        worst = (0.0, "", "")
        for number, name in enumerate(evidence.sources):
            is_its = (evidence.source[first] == number) | (evidence.source[second] == number)
            its, theirs = apart[is_left & is_its], apart[is_left & ~is_its]
            more = _more(its, theirs, limit)
            if more is not None:
                reason = (
                    f"it differs by {its.mean():.2f} from others on {len(its)} answers that both "
                    f"spoke of, the others by {theirs.mean():.2f} from each other"
                )
                worst = max(worst, (more, name, reason))
        if not worst[1]:
            return tuple(found)
        found.append(Doubt(source=worst[1], reason=worst[2]))
        number = evidence.sources.index(worst[1])
        is_left &= (evidence.source[first] != number) & (evidence.source[second] != number)


def contradiction_of(evidence: Evidence, is_new: Flags) -> str | None:
    """Return how sources contradict one another more than before, if they do.

    Parameters
    ----------
    evidence
        All that is believed so far, and the batch.
    is_new
        What of it is the batch, (n,).
    """
    first, second, apart = _twice(evidence)
    now = apart[is_new[first] & is_new[second]]
    before = apart[~is_new[first] & ~is_new[second]]
    if _more(now, before, float(norm.isf(BATCH_CHANCE))) is None:
        return None
    return (
        f"two sources differ by {now.mean():.2f} on {len(now)} answers that both spoke of, "
        f"before it was {before.mean():.2f}"
    )


def _twice(evidence: Evidence) -> tuple[Integers, Integers, Floats]:
    """Return pairs of rows in which two sources speak of one answer, and how they differ."""
    known = evidence.comparisons
    order = np.lexsort((evidence.answered, known.model_b, known.model_a, known.query))
    first, second = order[:-1], order[1:]
    is_twice = evidence.source[first] != evidence.source[second]
    for column in (known.query, known.model_a, known.model_b, evidence.answered):
        is_twice &= column[first] == column[second]
    first, second = first[is_twice], second[is_twice]
    return first, second, np.abs(known.outcome[first] - known.outcome[second])


def _more(some: Floats, others: Floats, z: float) -> float | None:
    """Return by how much scores of one answer differ more, if that is much and no chance."""
    if min(len(some), len(others)) < FEWEST_TWICE:
        return None
    # One that differs more, and one less, so that no error is taken to be zero.
    spread, others_spread = np.append(some, (0.0, 1.0)).std(), np.append(others, (0.0, 1.0)).std()
    error = float(np.hypot(spread / len(some) ** 0.5, others_spread / len(others) ** 0.5))
    more = float(some.mean() - others.mean())
    return more if more > max(MORE_CONTRADICTION, z * error) else None


def _doubt(evidence: Evidence, odds: Floats, is_its: Flags, limit: float) -> str | None:
    known = evidence.comparisons
    others = known.take(~is_its)
    # What has changed for all is no fault of one.
    shift = fit_shifts(odds[~is_its], others, par=evidence.par).shift
    forecast = odds + shift[known.model_b] - shift[known.model_a]
    above = excess(forecast, known.outcome)
    (its, its_error), (theirs, their_error) = (
        mean_by_query(above[rows], np.ones(rows.sum()), known.query[rows], known.n_queries)
        for rows in (is_its, ~is_its)
    )
    error = float(np.hypot(its_error, their_error))
    if error == 0 or its - theirs <= limit * error:
        return None
    certainty = float(((2 * expit(forecast) - 1) * forecast)[is_its].mean())
    flips = (its - theirs) / max(certainty, LEAST_CERTAINTY)
    if certainty < LEAST_CERTAINTY or flips <= TOLERATED:
        return None
    return (
        f"its loss is {its - theirs:.3f} above that of the others on {int(is_its.sum())} rows, "
        f"{(its - theirs) / error:.1f} standard errors: as if {min(flips, 1.0):.0%} of what it "
        "says were turned round"
    )


def _in_errors(value: Floats) -> float:
    total = float(np.sqrt(np.square(value).sum()))
    return float(value.sum()) / total if total > 0 else 0.0
