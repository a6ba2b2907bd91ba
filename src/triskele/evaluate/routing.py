"""Which model to send a query to, by what it is expected to be worth and what it costs.

A choice maximises quality − λ · price; from λ = 0, always the best, to ∞, always the cheapest, the
choices draw a curve of mean quality over mean cost. No choice is better at its cost than the curve
of a perfect forecast, and one that knows nothing of queries is on the line between single models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from triskele.evaluate.columns import Floats, Integers

N_TRADES = 200
BLOCK = 1 << 22
"""Numbers that a block of queries may take."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostCurve:
    """Mean cost and quality of the choices at each trade of one for the other, cheapest first."""

    cost: Floats
    quality: Floats

    def quality_at(self, cost: float) -> float:
        """Return the best mean quality for at most a mean cost; −∞ below the cheapest choice."""
        affordable = self.quality[self.cost <= cost]
        return float(affordable.max()) if affordable.size else -np.inf

    def cost_of(self, quality: float) -> float:
        """Return the least mean cost of at least a mean quality; ∞ if it is never reached."""
        enough = self.cost[self.quality >= quality]
        return float(enough.min()) if enough.size else np.inf

    def area(self, cheapest: float, dearest: float) -> float:
        """Return the mean of the best quality over costs, from the cheapest to the dearest model.

        The best quality for a cost is that of a mix, as in :meth:`mixed`.
        """
        cost, best = self._hull()
        grid = np.linspace(cheapest, dearest, 1001)
        return float(np.interp(grid, cost, best).mean())

    def mixed(self, cost: ArrayLike) -> Floats:
        """Return the best mean quality for at most each mean cost, if choices may be mixed.

        A share of the queries goes by one choice and the rest by another: the upper hull of the
        curve. −∞ below the cheapest choice.
        """
        costs, best = self._hull()
        return np.interp(np.asarray(cost, np.float64), costs, best, left=-np.inf)

    def _hull(self) -> tuple[Floats, Floats]:
        order = np.lexsort((-self.quality, self.cost))
        hull: list[tuple[float, float]] = []
        for x, y in zip(self.cost[order].tolist(), self.quality[order].tolist(), strict=True):
            if hull and y <= hull[-1][1]:
                continue
            while len(hull) > 1 and _is_below(hull[-2], hull[-1], (x, y)):
                hull.pop()
            hull.append((x, y))
        costs, qualities = zip(*hull, strict=True)
        return np.array(costs), np.array(qualities)


def expected_wins(capabilities: ArrayLike) -> Floats:
    """Return the chance of each model to beat another one, on average: (n_queries, n_models).

    A quality between 0 and 1 out of log odds, of which only differences have a meaning.
    """
    θ = np.asarray(capabilities, np.float64)
    n_queries, n_models = θ.shape
    wins = np.empty_like(θ)
    if n_models < 2:
        wins[:] = 0.5
        return wins
    size = max(1, BLOCK // (n_models * n_models))
    for first in range(0, n_queries, size):
        block = θ[first : first + size]
        against = expit(block[:, :, None] - block[:, None, :]).sum(2) - 0.5
        wins[first : first + size] = against / (n_models - 1)
    return wins


def choose(
    quality: ArrayLike,
    prices: ArrayLike | None = None,
    *,
    trade: float = 0.0,
    allowed: ArrayLike | None = None,
) -> Integers:
    """Return the model that each query goes to, (n_queries,).

    Parameters
    ----------
    quality
        Expected, (n_queries, n_models).
    prices
        Of each model, or of each model on each query; nothing costs anything if not given.
    trade
        λ, how much quality a unit of price is worth.
    allowed
        Mask of models that may be chosen, (n_queries, n_models) or (n_models,).

    Raises
    ------
    ValueError
        If a query is allowed no model.
    """
    worth = np.array(quality, np.float64)
    if prices is not None:
        worth -= trade * np.asarray(prices, np.float64)
    if allowed is not None:
        mask = np.broadcast_to(np.asarray(allowed, np.bool_), worth.shape)
        if not mask.any(1).all():
            raise ValueError(
                f"expected a model for each query, got none for row {mask.any(1).argmin()}"
            )
        worth[~mask] = -np.inf
    return np.asarray(worth.argmax(1))


def cost_curve(
    quality: ArrayLike, prices: ArrayLike, scores: ArrayLike, *, n_trades: int = N_TRADES
) -> CostCurve:
    """Return what choosing by expected quality comes to, in true scores.

    Parameters
    ----------
    quality
        Expected, (n_queries, n_models).
    prices
        Of each model, (n_models,), or of each model on each query.
    scores
        True quality, (n_queries, n_models); a model without one (NaN) is not chosen.
    n_trades
        Points of the curve between always the best and always the cheapest.
    """
    true, price = np.asarray(scores, np.float64), np.asarray(prices, np.float64)
    cost = np.broadcast_to(price, true.shape)
    known = ~np.isnan(true)
    rows = np.arange(len(true))
    spread = float(np.ptp(cost[known])) or 1.0
    trades = np.concatenate([[0.0], np.geomspace(1e-4, 1e2, n_trades - 1)]) / spread
    points = []
    for trade in trades[::-1]:
        chosen = choose(quality, price, trade=float(trade), allowed=known)
        points.append((cost[rows, chosen].mean(), true[rows, chosen].mean()))
    costs, qualities = zip(*points, strict=True)
    return CostCurve(cost=np.array(costs), quality=np.array(qualities))


def _is_below(
    first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]
) -> bool:
    rise = (last[1] - first[1]) * (middle[0] - first[0])
    return (middle[1] - first[1]) * (last[0] - first[0]) <= rise
