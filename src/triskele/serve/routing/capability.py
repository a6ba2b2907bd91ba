"""Which model a query goes to: the cheapest, or the fastest, of those that are good enough for it.

Good enough is a quality within a margin of the best that is offered. Among those the smallest

    w_price · price / dearest + w_latency · latency / longest

is taken, latencies being the router's own predictions, or without weights the cheapest. A small
share of queries goes to a model drawn from the others, so that evidence keeps coming for those
that are never chosen; what that costs in quality is told with each decision.

It wraps no router: a model is decided, and then any router chooses among its workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from triskele.serve.routing.capability_table import CapabilityTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What is good enough, and what is preferred among that.

    Attributes
    ----------
    margin
        How much below the best quality is good enough; 0 takes the best, 1 anything.
    price, latency
        Weights of what it costs and of how long it takes.
    explore
        Share of queries that go to another model than the one decided for.
    """

    margin: float = 0.05
    price: float = 1.0
    latency: float = 0.0
    explore: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share and no weight."""
        if not (0 <= self.margin <= 1 and 0 <= self.explore < 1):
            raise ValueError(f"expected a margin and a share of exploration up to 1, got {self}")
        if not (0 <= self.price < inf and 0 <= self.latency < inf):
            raise ValueError(f"expected weights of at least 0, got {self}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that was weighed: quality from 0 to 1, price, predicted seconds if there are any."""

    model: str
    quality: float
    price: float
    latency: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A model, and why.

    Attributes
    ----------
    model
        The choice.
    candidates
        All that were offered, the best quality first.
    version
        Of the table; 0 where there was none.
    reason
        ``capability``, ``global ranking`` (nothing known of the query), ``exploration``,
        ``latency`` (no table) or ``unknown model`` (the table knows none of those offered).
    regret
        Quality given up by exploring; 0 otherwise.
    """

    model: str
    candidates: tuple[Candidate, ...]
    version: int
    reason: str
    regret: float = 0.0


@dataclass(slots=True)
class CapabilityRouter:
    """Decides models.

    Attributes
    ----------
    rng
        Of exploration.
    n_decided, n_explored, regret
        Decisions so far, those that explored, and the quality they gave up in all.
    """

    rng: np.random.Generator
    n_decided: int = 0
    n_explored: int = 0
    regret: float = field(default=0.0)

    def decide(
        self,
        table: CapabilityTable | None,
        embedding: ArrayLike | None,
        offered: Sequence[str],
        *,
        latency: Mapping[str, float] | None = None,
        preference: Preference,
    ) -> Decision:
        """Return the model for a query.

        Parameters
        ----------
        table
            What is known of models; ``None`` leaves the choice to latency alone.
        embedding
            Of the query; ``None`` if there is none in time.
        offered
            Models that have a worker now, at least one.
        latency
            Seconds that each would take, by the router's own prediction.
        preference
            What is good enough, and what is preferred.
        """
        if not offered:
            raise ValueError("expected at least one model, got none")
        seconds = latency or {}
        self.n_decided += 1
        known = [] if table is None else [name for name in offered if name in table.models]
        if table is None or not known:
            fastest = min(offered, key=lambda name: seconds.get(name, inf))
            none = tuple(Candidate(name, 0.0, 0.0, seconds.get(name)) for name in offered)
            return Decision(fastest, none, 0, "latency" if table is None else "unknown model")
        candidates = _candidates(table, embedding, known, seconds)
        chosen = _preferred(candidates, preference)
        reason = "global ranking" if embedding is None else "capability"
        if preference.explore and self.rng.random() < preference.explore and len(candidates) > 1:
            others = [each for each in candidates if each is not chosen]
            other = others[int(self.rng.integers(len(others)))]
            regret = max(0.0, chosen.quality - other.quality)
            self.n_explored += 1
            self.regret += regret
            return Decision(other.model, candidates, table.version, "exploration", regret)
        return Decision(chosen.model, candidates, table.version, reason)


def _candidates(
    table: CapabilityTable,
    embedding: ArrayLike | None,
    known: Sequence[str],
    seconds: Mapping[str, float],
) -> tuple[Candidate, ...]:
    quality = table.quality(embedding)
    at = {name: number for number, name in enumerate(table.models)}
    candidates = [
        Candidate(name, float(quality[at[name]]), float(table.prices[at[name]]), seconds.get(name))
        for name in known
    ]
    return tuple(sorted(candidates, key=lambda each: (-each.quality, each.price, each.model)))


def _preferred(candidates: tuple[Candidate, ...], preference: Preference) -> Candidate:
    enough = [c for c in candidates if c.quality >= candidates[0].quality - preference.margin]
    dearest = max(each.price for each in enough) or 1.0
    told = [each.latency for each in enough if each.latency is not None]
    longest = max(told, default=0.0) or 1.0

    def burden(each: Candidate) -> tuple[float, float]:
        # Who does not say how long it takes is taken to be the slowest.
        wait = 1.0 if each.latency is None else each.latency / longest
        return (
            preference.price * each.price / dearest + preference.latency * wait,
            -each.quality,
        )

    return min(enough, key=burden)
