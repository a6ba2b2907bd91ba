"""How much of a fitted table is to be believed: learned on queries that it has not seen.

The log odds of model m on query x are taken apart into what is worth different amounts,

    b̄  +  (b_m − b̄)  +  c(x)  +  d_m(x),        Σ_m d_m(x) = 0:

the mean level, how models differ in all, how hard the query is for all of them, and which model
suits it. How hard queries are is seen from every score; which model suits which is seen from few,
and a router that goes by it picks the models that are overrated. So each part has a weight, found
by logistic regression with a prior, and the mean level a shift.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from triskele.evaluate import Comparisons
from triskele.loop.evidence import PAR, Floats
from triskele.loop.forecast import aligned_odds
from triskele.serve.routing.capability_table import CapabilityTable, table_of

EXPECTED = (0.0, 1.0, 1.0, 0.5)
DEVIATION = (0.25, 0.25, 0.25, 0.35)
"""Mean and standard deviation of the prior of each weight."""
MOST = 1.2
"""Of a weight: parts are to be believed less than they say, or as much. What one fit says too
faintly the next one need not."""
MAX_ROUNDS, SMALL_STEP = 30, 1e-8


@dataclass(frozen=True, slots=True)
class Blend:
    """A shift of the mean level, and weights of the other parts."""

    level: float = 0.0
    models: float = 1.0
    hardness: float = 1.0
    talents: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What the parts of a table say of comparisons.

    Attributes
    ----------
    level
        Of the mean level, (n,).
    others
        Of a shift of it, and of the other parts: (n, 4).
    """

    level: Floats
    others: Floats

    def log_odds(self, blend: Blend) -> Floats:
        """Return the log odds that b beats a, (n,)."""
        weights = np.array([blend.level, blend.models, blend.hardness, blend.talents])
        return np.asarray(self.level + self.others @ weights)

    @classmethod
    def concat(cls, several: "list[Parts]") -> "Parts":
        """Return the parts of all comparisons of several."""
        return cls(
            level=np.concatenate([each.level for each in several]),
            others=np.concatenate([each.others for each in several]),
        )


def parts_of(table: CapabilityTable, x: Floats, comparisons: Comparisons) -> Parts:
    """Return what the parts of a table say of comparisons of queries with embeddings x."""
    names = comparisons.models
    bias = table.bias.astype(np.float64)
    mean = float(bias.mean())
    is_par = np.array([name == PAR for name in names])
    query, a, b = comparisons.query, comparisons.model_a, comparisons.model_b
    # Against par the mean level counts, between two models it cancels.
    sign = is_par[a].astype(np.float64) - is_par[b]
    unbent = _bare(table)
    overall = aligned_odds(unbent, x[:1], names)[0] - np.where(is_par, 0.0, mean)
    bent = aligned_odds(table, x, names)
    bent[:, ~is_par] -= overall[~is_par] + mean
    hardness = bent[:, ~is_par].mean(1)
    talents = bent - np.where(is_par, 0.0, hardness[:, None])
    return Parts(
        level=sign * mean,
        others=np.column_stack(
            [
                sign,
                overall[b] - overall[a],
                sign * hardness[query],
                talents[query, b] - talents[query, a],
            ]
        ),
    )


def learned_blend(parts: Parts, outcome: Floats, weight: Floats) -> Blend:
    """Return the weights that predict outcomes best, (n,), with what was expected of them."""
    expected, certainty = np.array(EXPECTED), 1 / np.square(DEVIATION)
    weights = expected.copy()
    for _ in range(MAX_ROUNDS):
        p = expit(parts.level + parts.others @ weights)
        gradient = parts.others.T @ (weight * (outcome - p)) - certainty * (weights - expected)
        curvature = (parts.others.T * (weight * p * (1 - p))) @ parts.others + np.diag(certainty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < SMALL_STEP:
            break
    level, *others = weights.tolist()
    return Blend(level, *(min(max(0.0, each), MOST) for each in others))


def blended(table: CapabilityTable, blend: Blend) -> CapabilityTable:
    """Return a table whose parts have other weights."""
    bias, weights = table.bias.astype(np.float64), table.weights.astype(np.float64)
    mean, hardness = bias.mean(), weights.mean(1, keepdims=True)
    return table_of(
        table.models,
        prices=table.prices,
        bias=mean + blend.level + blend.models * (bias - mean),
        points=table.points,
        gamma=table.gamma,
        weights=blend.hardness * hardness + blend.talents * (weights - hardness),
        embedder=table.embedder,
    )


def _bare(table: CapabilityTable) -> CapabilityTable:
    """Return the ranking of all queries together."""
    return table_of(table.models, prices=table.prices, bias=table.bias, embedder=table.embedder)
