"""One turn of the loop: harvest, judge, and publish if the verdict says so.

Nothing is kept in memory between turns, so that a process may end at any point of one: a table is
published as a whole or not at all, and what a turn came to is written down after it. If that line
is missing, the next turn looks at the same evidence again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from triskele.loop.amendment import amended
from triskele.loop.embedding import Embed, embedder_of
from triskele.loop.harvest import Score, harvest
from triskele.loop.judgement import JudgementConfig, judged
from triskele.loop.prices import read_prices
from triskele.loop.recency import N_HALF_LIVES
from triskele.loop.verdict import Verdict, alone, append_verdict, history_of
from triskele.serve.routing.capability_table import CapabilityTable, Shelf

DAY = 86400.0
PATIENCE = 600.0
"""Seconds that an operator waits for a turn to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleConfig:
    """Where a loop reads and writes, and how it judges.

    Attributes
    ----------
    journal, capability
        Directories of the journal and of the capability table.
    prices
        File of prices; without one, a model costs the mean tokens of its requests.
    scores
        File of programmatic scores.
    half_life
        Seconds after which evidence counts half.
    embedder
        Name of what embeds queries.
    judgement
        What is asked of a new table.
    """

    journal: Path
    capability: Path
    prices: Path | None = None
    scores: Path | None = None
    half_life: float = 7 * DAY
    embedder: str = "hashed-words:512"
    judgement: JudgementConfig = field(default_factory=JudgementConfig)

    def __post_init__(self) -> None:
        """Refuse to forget at once."""
        if not self.half_life > 0:
            raise ValueError(f"expected a half-life above 0, got {self.half_life}")


def turn(
    config: CycleConfig,
    *,
    now: float,
    rng: np.random.Generator,
    embed: Embed | None = None,
    score: Score | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Verdict:
    """Turn once.

    Parameters
    ----------
    config
        Where and how.
    now
        Unix time.
    rng
        Of all that is drawn.
    embed
        What embeds queries, if it is there already; made by its name otherwise.
    score
        Scores each finished request, as a test would.
    clock
        What tells how long it took.

    Raises
    ------
    ValueError, OSError
        If it could not be done: there is no journal, something is damaged, another loop turns.
    """
    began = clock()
    with alone(config.capability):
        shelf = Shelf(config.capability)
        given = {} if config.prices is None else read_prices(config.prices)
        current = _amend(shelf, config, given, now)
        found = harvest(
            config.journal,
            since=now - N_HALF_LIVES * config.half_life,
            scores=config.scores,
            score=score,
        )
        embed = embed or embedder_of(config.embedder)
        prices = given or found.tokens
        judgement = judged(
            found.evidence,
            embed(found.evidence.texts),
            current=current,
            history=history_of(config.capability),
            prices=prices,
            embedder=config.embedder,
            half_life=config.half_life,
            now=now,
            rng=rng,
            config=config.judgement,
        )
        version = judgement.verdict.version
        if judgement.candidate is not None:
            candidate = judgement.candidate
            kept = (*(current.models if current is not None else ()), *given)
            candidate = amended(candidate, models=kept, prices=prices) or candidate
            version = shelf.publish(candidate).version
        verdict = msgspec.structs.replace(
            judgement.verdict,
            version=version,
            n_problems=found.n_problems,
            reasons=(*judgement.verdict.reasons, *found.problems[:1]),
            seconds=round(clock() - began, 3),
        )
        if verdict.until > verdict.since or verdict.alarms:
            append_verdict(config.capability, verdict)
        return verdict


def rollback(capability: Path, *, version: int | None = None, now: float) -> Verdict:
    """Make an earlier version current; what has been said up to now publishes nothing any more.

    Parameters
    ----------
    capability
        Directory of the capability table.
    version
        Which; the one before the current one if not given.
    now
        Unix time.

    Raises
    ------
    ValueError
        If there is no such version, or another turn does not end.
    """
    with alone(capability, patience=PATIENCE):
        shelf = Shelf(capability)
        current = _current_version(shelf)
        if version is None:
            earlier = [number for number in shelf.versions() if number < current]
            if not earlier:
                raise ValueError(f"there is no version before {current} in {capability}")
            version = earlier[-1]
        shelf.make_current(version)
        verdict = Verdict(
            time=now,
            kind="rollback",
            published=True,
            version=version,
            current=current,
            until=now,
            reasons=(f"an operator went back from version {current} to {version}",),
        )
        append_verdict(capability, verdict)
        return verdict


def release(capability: Path, *, now: float) -> Verdict:
    """Let batches that were refused count after all: the world has changed, not what is said."""
    with alone(capability, patience=PATIENCE):
        current = _current_version(Shelf(capability))
        verdict = Verdict(
            time=now,
            kind="release",
            version=current,
            current=current,
            reasons=("an operator released the batches that were refused",),
        )
        append_verdict(capability, verdict)
        return verdict


def _current_version(shelf: Shelf) -> int:
    """Return the current version; 0 if there is none, or it is damaged."""
    try:
        table = shelf.current()
    except ValueError:
        return max(shelf.versions(), default=0)
    return 0 if table is None else table.version


def _amend(
    shelf: Shelf, config: CycleConfig, prices: dict[str, float], now: float
) -> CapabilityTable | None:
    """Return the current table, with the models and prices of the file of prices."""
    current = shelf.current()
    other = None if current is None else amended(current, models=tuple(prices), prices=prices)
    if current is None or other is None:
        return current
    new = [name for name in other.models if name not in current.models]
    published = shelf.publish(other)
    append_verdict(
        config.capability,
        Verdict(
            time=now,
            kind="amendment",
            published=True,
            version=published.version,
            current=current.version,
            reasons=(f"new models: {', '.join(new)}" if new else "new prices",),
        ),
    )
    return published
