"""A leaderboard: who stands where, how sure that is, and on how much it rests."""

from dataclasses import dataclass

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.estimator import BradleyTerry
from triskele.evaluate.columns import Floats
from triskele.evaluate.comparisons import Comparisons

LEVEL = 0.9
"""Probability of all intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A model's line."""

    model: str
    rank: int
    """One more than how many models are stronger."""
    best: int
    """The highest rank that it may have."""
    worst: int
    """The lowest rank that it may have."""
    strength: float
    """Log odds against a model of the mean strength."""
    lower: float
    upper: float
    wins: float
    """Ties are half a win."""
    n_comparisons: float
    """By their weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Lines, the best first."""

    lines: tuple[Standing, ...]
    n_groups: int
    """Groups of models with no comparison between them; 1 if all can be compared."""

    @property
    def leader(self) -> Standing:
        """The model that stands first."""
        return self.lines[0]

    @property
    def lead(self) -> float:
        """Log odds of the first against the second; 0 if there is none."""
        return self.lines[0].strength - self.lines[1].strength if len(self.lines) > 1 else 0.0

    @property
    def tied(self) -> tuple[str, ...]:
        """Other models that may be the best as well."""
        return tuple(line.model for line in self.lines[1:] if line.best == 1)


def global_leaderboard(comparisons: Comparisons) -> Leaderboard:
    """Return the leaderboard of all queries, with intervals of whole queries drawn again."""
    return _leaderboard(comparisons, BradleyTerry(level=LEVEL).fit(comparisons))


def shrunk_leaderboard(comparisons: Comparisons, *, prior: Floats, ridge: float) -> Leaderboard:
    """Return the leaderboard of some comparisons, where a model without any stands at its prior.

    Parameters
    ----------
    comparisons
        Weighed by how much they belong to what the leaderboard is of.
    prior
        Strengths as expected beforehand, (n_models,).
    ridge
        How many comparisons' worth that expectation is; intervals are of the posterior.
    """
    estimator = BradleyTerry(ridge=ridge, prior=prior, intervals="laplace", level=LEVEL)
    return _leaderboard(comparisons, estimator.fit(comparisons))


def _leaderboard(comparisons: Comparisons, fit: BradleyTerry) -> Leaderboard:
    wins = count_wins(comparisons)
    ranking = fit.rank()
    lines = tuple(
        Standing(
            model=fit.models_[place],
            rank=int(ranking.rank[place]),
            best=int(ranking.best[place]),
            worst=int(ranking.worst[place]),
            strength=float(fit.theta_[place]),
            lower=float(fit.lower_[place]),
            upper=float(fit.upper_[place]),
            wins=float(wins[place].sum()),
            n_comparisons=float(wins[place].sum() + wins[:, place].sum()),
        )
        for place in ranking.order
    )
    return Leaderboard(lines=lines, n_groups=fit.n_components_)
