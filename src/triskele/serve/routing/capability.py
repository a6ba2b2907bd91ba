"""Which model a query goes to: the cheapest, or the fastest, of those that are good enough for it.

Good enough is a quality within a margin of the best that is offered. Among those the smallest

    w_quality · (best − quality) + w_price · price / dearest + w_latency · seconds

is taken, and of those alike the one of the highest quality. With w_quality = 0 that is the cheapest
or the soonest of all that are good enough, however little the others are better or later. With
w_quality = 1, a margin of 1 and no price, it is the largest quality − w_latency · seconds: a dear
model is used for the queries that gain most by it, and for the fewer, the more there is to do.
Seconds are best those that a request costs everyone, its own and those that others wait longer
because of it: by its own alone, queues fill up to what the last request just bears, and all that
are in them pay for it (Naor, 1969, on tolls for queues).

A small share of queries goes to a model drawn from the others, so that evidence keeps coming for
those that are never chosen; what that costs in quality is told with each decision.

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
        Weights of what it costs, as a share of the dearest's price, and of each second.
    quality
        Weight of what it is worse than the best by. At 1 the other two are in units of quality:
        0.01 for ``latency`` gives up a point of quality for a second.
    explore
        Share of queries that go to another model than the one decided for.
    """

    margin: float = 0.05
    price: float = 1.0
    latency: float = 0.0
    quality: float = 0.0
    explore: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share and no weight."""
        if not (0 <= self.margin <= 1 and 0 <= self.explore < 1):
            raise ValueError(f"expected a margin and a share of exploration up to 1, got {self}")
        weights = self.quality, self.price, self.latency
        if not all(0 <= weight < inf for weight in weights):
            raise ValueError(f"expected weights of at least 0, got {self}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that was weighed: quality from 0 to 1, price, predicted seconds if there are any.

    ``latency`` is the request's own seconds, ``burden`` what it costs everyone.
    """

    model: str
    quality: float
    price: float
    latency: float | None
    burden: float | None = None

    @property
    def seconds(self) -> float | None:
        """What counts: what it costs everyone, if that is known."""
        return self.latency if self.burden is None else self.burden


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
        burden: Mapping[str, float] | None = None,
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
        burden
            Seconds that it would cost everyone, as ``LearnedGreedy.burden`` says; where it is not
            given, the latency counts.
        preference
            What is good enough, and what is preferred.
        """
        if not offered:
            raise ValueError("expected at least one model, got none")
        own, everyone = latency or {}, burden or {}
        self.n_decided += 1
        known = [] if table is None else [name for name in offered if name in table.models]
        if table is None or not known:
            none = tuple(
                Candidate(name, 0.0, 0.0, own.get(name), everyone.get(name)) for name in offered
            )
            fastest = min(none, key=lambda each: inf if each.seconds is None else each.seconds)
            return Decision(fastest.model, none, 0, "latency" if table is None else "unknown model")
        candidates = _candidates(table, embedding, known, own, everyone)
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
    own: Mapping[str, float],
    everyone: Mapping[str, float],
) -> tuple[Candidate, ...]:
    quality = table.quality(embedding)
    at = {name: number for number, name in enumerate(table.models)}
    candidates = [
        Candidate(
            name,
            float(quality[at[name]]),
            float(table.prices[at[name]]),
            own.get(name),
            everyone.get(name),
        )
        for name in known
    ]
    return tuple(sorted(candidates, key=lambda each: (-each.quality, each.price, each.model)))


def _preferred(candidates: tuple[Candidate, ...], preference: Preference) -> Candidate:
    best = candidates[0].quality
    enough = [each for each in candidates if each.quality >= best - preference.margin]
    dearest = max(each.price for each in enough) or 1.0
    # Who does not say how long it takes is taken to be the slowest.
    longest = max((each.seconds for each in enough if each.seconds is not None), default=0.0)

    def cost(each: Candidate) -> tuple[float, float]:
        wait = longest if each.seconds is None else each.seconds
        return (
            preference.quality * (best - each.quality)
            + preference.price * each.price / dearest
            + preference.latency * wait,
            -each.quality,
        )

    return min(enough, key=cost)
