"""Whether a new table is better than the one that is served, on evidence that neither has seen.

Queries of the evidence that came since the served table are held out in turn; a table is fitted
without them and asked about them, and the served one is asked the same. Each row counts as much as
it will in the fit. The new one has to have the lower mean loss by more than z standard errors of
the paired difference, whole queries being independent. Every model has the same say in that mean,
however seldom it was chosen: the table is asked about all of them, and one that was misjudged is
the one that is not chosen. Where nothing is served yet, what has to be beaten is the candidate
itself, less all that it says of one model and not of another.

What is held out also says how much the parts of a table are worth (``blending``). For the
comparison the weights of one part's queries are learned on the other parts.

The table that is published in the end is fitted to everything, and so better than those compared.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from triskele.evaluate import Comparisons
from triskele.evaluate.losses import losses_of_odds, mean_by_query
from triskele.loop.blending import Blend, Parts, learned_blend, parts_of
from triskele.loop.evidence import PAR, Evidence, Flags, Floats, Integers
from triskele.loop.forecast import log_odds
from triskele.serve.routing.capability_table import CapabilityTable

FEWEST = 20
MOST_SAY = 20.0
"""By how much the rows of a model may count more because there are few."""

FitRows = Callable[[Floats], CapabilityTable]
"""Makes a table with a weight of each row of the evidence, 0 for those that are held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate against the table that is served.

    Attributes
    ----------
    n, n_queries
        Rows and queries held out.
    candidate_loss, current_loss
        Mean negative log likelihoods.
    gain, error
        Their difference, positive if the candidate is better, and its standard error.
    blend
        Weights of the parts of a table fitted to all of it.
    """

    n: int
    n_queries: int
    candidate_loss: float
    current_loss: float
    gain: float
    error: float
    blend: Blend

    def is_better(self, z: float) -> bool:
        """Return whether the candidate is better by more than z standard errors."""
        return self.gain > z * self.error and self.gain > 0


def tried(
    x: Floats,
    evidence: Evidence,
    weight: Floats,
    *,
    fresh: Flags,
    current: CapabilityTable | None,
    fit: FitRows,
    n_folds: int,
    rng: np.random.Generator,
) -> Trial | None:
    """Compare tables.

    Parameters
    ----------
    x
        Embeddings, (n_queries, n_features).
    evidence, weight
        All of it, and what each row counts, (n,).
    fresh
        Rows that the served table has not seen, (n,).
    current
        The served table.
    fit
        Makes candidates.
    n_folds
        Parts in which fresh queries are held out.
    rng
        Deals queries into parts.

    Returns
    -------
    Trial or None
        ``None`` if there is nothing to hold out, or nothing to fit without it.
    """
    known = evidence.comparisons
    fresh = fresh & (weight > 0)
    queries = rng.permutation(np.unique(known.query[fresh]))
    if len(queries) < n_folds:
        return None
    parts: list[Parts] = []
    rows_of: list[Integers] = []
    for held in np.array_split(queries, n_folds):
        is_held = np.isin(known.query, held)
        seen = np.where(is_held, 0.0, weight)
        if not seen.any():
            return None
        rows = np.flatnonzero(is_held & fresh)
        rows_of.append(rows)
        parts.append(parts_of(fit(seen), x, known.take(rows)))
    blends = [_blend(parts, rows_of, known, weight, number) for number in range(n_folds)]
    candidate = np.concatenate(
        [part.log_odds(blend) for part, blend in zip(parts, blends, strict=True)]
    )
    rows = np.concatenate(rows_of)
    if current is None:
        served = np.concatenate(
            [
                part.log_odds(replace(blend, models=0.0, talents=0.0))
                for part, blend in zip(parts, blends, strict=True)
            ]
        )
    else:
        served = log_odds(current, x, known)[rows]
    of_candidate = losses_of_odds(candidate, known.outcome[rows])
    of_served = losses_of_odds(served, known.outcome[rows])
    say = weight[rows] * _balance(known.take(rows), weight[rows])
    share = say / say.sum()
    gain, error = mean_by_query(of_served - of_candidate, say, known.query[rows], known.n_queries)
    return Trial(
        n=len(rows),
        n_queries=len(queries),
        candidate_loss=float(share @ of_candidate),
        current_loss=float(share @ of_served),
        gain=gain,
        error=error,
        blend=_blend(parts, rows_of, known, weight, None),
    )


def forecast_without(
    x: Floats, evidence: Evidence, weight: Floats, *, fit: FitRows, rng: np.random.Generator
) -> Floats | None:
    """Return log odds of each row by a table fitted without its query, (n,).

    It is what there is to go by where no table is served yet; ``None`` if there are too few
    queries.

    Parameters
    ----------
    x, evidence, weight, fit, rng
        As for :func:`tried`.
    """
    known = evidence.comparisons
    queries = rng.permutation(np.unique(known.query[weight > 0]))
    if len(queries) < FEWEST:
        return None
    odds = np.zeros(len(known))
    for held in np.array_split(queries, 2):
        is_held = np.isin(known.query, held)
        rows = np.flatnonzero(is_held)
        odds[rows] = log_odds(fit(np.where(is_held, 0.0, weight)), x, known.take(rows))
    return odds


def _balance(known: Comparisons, weight: Floats) -> Floats:
    """Return factors by which all models come to the same total weight, within limits."""
    model, of = np.concatenate([known.model_a, known.model_b]), np.tile(weight, 2)
    total = np.bincount(model, of, known.n_models)
    is_real = np.array([name != PAR for name in known.models]) & (total > 0)
    factor = np.zeros(known.n_models)
    factor[is_real] = np.minimum(total[is_real].mean() / total[is_real], MOST_SAY)
    both = factor[known.model_a] + factor[known.model_b]
    n_real = is_real[known.model_a].astype(np.float64) + is_real[known.model_b]
    return np.asarray(both / np.maximum(n_real, 1.0))


def _blend(
    parts: list[Parts],
    rows_of: list[Integers],
    known: Comparisons,
    weight: Floats,
    left_out: int | None,
) -> Blend:
    """Return the weights learned on all parts of the queries but one."""
    chosen = [number for number in range(len(parts)) if number != left_out]
    rows = np.concatenate([rows_of[number] for number in chosen])
    several = Parts.concat([parts[number] for number in chosen])
    return learned_blend(several, known.outcome[rows], weight[rows])
