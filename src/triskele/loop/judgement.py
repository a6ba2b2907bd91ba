"""What is to be made of evidence: believe it or not, fit, compare, and say why.

It reads no clock and no file: everything it goes by is handed to it, and a candidate that it
returns is not published yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from triskele.loop.blending import blended
from triskele.loop.evidence import Evidence, Flags, Floats
from triskele.loop.fitting import FitConfig, Fitted, fit
from triskele.loop.forecast import excess, is_known, log_odds
from triskele.loop.gate import FitRows, Trial, forecast_without, tried
from triskele.loop.recency import recency
from triskele.loop.shifts import changed_models
from triskele.loop.trust import Doubt, contradiction_of, contradictors_of, doubts_of, suspicion_of
from triskele.loop.verdict import History, Verdict
from triskele.serve.routing.capability_table import CapabilityTable

DRIFT_ERRORS = 3.0
"""Of the excess of a batch, beyond which the calibration of the current table has decayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementConfig:
    """What a new table has to be better by, and on how much."""

    z: float = 2.0
    """Standard errors by which the loss on held-out evidence has to be lower."""
    fewest_new: int = 50
    """Pieces of new evidence, also that the table served has not seen, below which a turn waits."""
    gate_folds: int = 4
    """Parts in which new queries are held out."""
    is_credulous: bool = False
    """Whether all sources and batches are believed: only to measure what doubt is worth."""
    most: int = 50_000
    """Pieces of evidence that are looked at, the newest."""
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        """Refuse a gate that lets everything through, and what nothing can pass."""
        if self.z < 0 or self.fewest_new < 1 or self.gate_folds < 2 or self.most < 1:
            raise ValueError(f"expected z of at least 0, evidence and two folds, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """A verdict, and the table to be published if that is what it says.

    ``verdict.version`` is not filled in yet.
    """

    verdict: Verdict
    candidate: CapabilityTable | None


def judged(
    evidence: Evidence,
    x: Floats,
    *,
    current: CapabilityTable | None,
    history: History,
    prices: Mapping[str, float],
    embedder: str,
    half_life: float,
    now: float,
    rng: np.random.Generator,
    config: JudgementConfig,
) -> Judgement:
    """Judge evidence.

    Parameters
    ----------
    evidence, x
        All that is known, and embeddings of its queries, (n_queries, n_features).
    current
        The table that is served.
    history
        What earlier turns came to.
    prices
        Of models.
    embedder
        Name of what made the embeddings.
    half_life
        Seconds after which evidence counts half.
    now
        Unix time.
    rng
        Chooses what is held out, and all that a fit draws.
    config
        What is asked of a new table.
    """
    # What claims to be of a later time is looked at then, and not over and over until then.
    evidence = evidence.take(evidence.arrived <= now)
    case = _Case(evidence, x, current, history, now)
    if case.n_new < config.fewest_new:
        return case.ended(f"waits: {case.n_new} of {config.fewest_new} pieces of new evidence")

    def fitted(weight: Floats) -> Fitted:
        return fit(
            x, evidence, weight, config=config.fit, embedder=embedder, prices=prices, rng=rng
        )

    if not config.is_credulous:
        case.doubt_sources(lambda weight: fitted(weight).table, rng)
    suspicion = case.suspect_batch()
    if suspicion is not None and not config.is_credulous:
        case.alarms.append(f"a batch of {case.n_new} is refused: {suspicion}")
        return case.ended("the batch is not to be believed", refused=True)
    case.look_for_changes()
    kept = case.is_kept
    weight = np.where(
        kept, recency(evidence, now=now, half_life=half_life, changed=case.changed_by_now), 0.0
    )
    is_late = np.argsort(np.argsort(-evidence.arrived, kind="stable")) < config.most
    weight[~is_late] = 0.0
    if not weight.any():
        return case.ended("nothing is left that is believed")
    trial = tried(
        x,
        evidence,
        weight,
        fresh=kept & (evidence.arrived > history.current_since),
        current=current if current is None or current.embedder == embedder else None,
        fit=lambda weight: fitted(weight).table,
        n_folds=config.gate_folds,
        rng=rng,
    )
    if trial is None:
        return case.ended("waits: too few queries to hold any out")
    case.trial = trial
    said = f"the loss on {trial.n} held out is lower by {trial.gain:.4f} ± {trial.error:.4f}"
    if trial.n < config.fewest_new:
        return case.ended(f"waits: {trial.n} of {config.fewest_new} pieces to hold out")
    if not trial.is_better(config.z):
        return case.ended(f"not better: {said}")
    final = fitted(weight)
    final = replace(final, table=blended(final.table, trial.blend))
    return case.ended(f"better: {said}", fitted=final)


class _Case:
    """What is found out in the course of a judgement."""

    def __init__(
        self,
        evidence: Evidence,
        x: Floats,
        current: CapabilityTable | None,
        history: History,
        now: float,
    ) -> None:
        self._evidence, self._x, self._history, self._now = evidence, x, history, now
        self._current = current
        self.is_kept = ~_refused(evidence, history)
        self._is_new = self.is_kept & (evidence.arrived > history.until)
        self.n_new = int(self._is_new.sum())
        self.odds: Floats | None = None
        self._is_foreseen = np.zeros(len(evidence), np.bool_)
        # Embeddings of another kind than the table's say nothing to it.
        if current is not None and (
            not len(current.points) or x.shape[1] == current.points.shape[1]
        ):
            self.odds = log_odds(current, x, evidence.comparisons)
            self._is_foreseen = is_known(current, evidence.comparisons)
        self.alarms: list[str] = []
        self.quarantined: dict[str, str] = {}
        self.changed: dict[str, float] = {}
        self.drift: float | None = None
        self.trial: Trial | None = None

    @property
    def changed_by_now(self) -> dict[str, float]:
        """When models became other ones."""
        return {**self._history.changed, **self.changed}

    def doubt_sources(self, fit: FitRows, rng: np.random.Generator) -> None:
        """Leave out what sources say that are not believed."""
        for doubt in contradictors_of(self._evidence.take(self.is_kept)):
            self._quarantine(doubt)
        for doubt in contradictors_of(self._evidence.take(self._is_new)):
            self._quarantine(doubt)
        odds = self.odds
        if odds is None:
            odds = forecast_without(
                self._x, self._evidence, self.is_kept.astype(np.float64), fit=fit, rng=rng
            )
        if odds is None:
            return
        for rows in (self.is_kept, self._is_new):
            for doubt in doubts_of(self._evidence.take(rows), odds[rows]):
                if doubt.source not in self.quarantined:
                    self._quarantine(doubt)

    def suspect_batch(self) -> str | None:
        """Return why the batch is not to be believed, if it is not."""
        kept = self.is_kept
        contradiction = contradiction_of(self._evidence.take(kept), self._is_new[kept])
        rows = self._is_new & self._is_foreseen
        if self.odds is None or not rows.any():
            return contradiction
        batch, odds = self._evidence.take(rows), self.odds[rows]
        above = excess(odds, batch.comparisons.outcome)
        error = float(np.sqrt(np.square(above - above.mean()).sum()))
        self.drift = float(above.sum()) / error if error > 0 else 0.0
        if self.drift > DRIFT_ERRORS:
            self.alarms.append(
                f"the current table is off: on {len(batch)} pieces of new evidence its loss is "
                f"{above.mean():.3f} above what it expects, {self.drift:.1f} standard errors"
            )
        suspicion = suspicion_of(batch, odds)
        if suspicion.is_founded:
            return (
                f"as if {suspicion.flips:.0%} of it were turned round, {suspicion.z:.1f} standard "
                "errors, and no one model is the reason"
            )
        return contradiction

    def _quarantine(self, doubt: Doubt) -> None:
        self.quarantined[doubt.source] = doubt.reason
        self.alarms.append(f"source {doubt.source} is quarantined: {doubt.reason}")
        is_its = self._evidence.source == self._evidence.sources.index(doubt.source)
        # Not in place, for whoever iterates over these masks.
        self.is_kept, self._is_new = self.is_kept & ~is_its, self._is_new & ~is_its

    def look_for_changes(self) -> None:
        """Find models that have changed since the current table was made."""
        rows = self._is_new & self._is_foreseen
        if self.odds is None or not rows.any():
            return
        batch = self._evidence.take(rows)
        for name in changed_models(self.odds[rows], batch.comparisons, par=batch.par):
            # Of a model that is new nothing was known, and what was found before and has not been
            # published yet is no second change.
            known_before = self._involves(name) & self.is_kept & ~self._is_new
            if known_before.any() and (
                self._history.changed.get(name, -inf) <= self._history.current_since
            ):
                self.changed[name] = float(batch.answered.min())
                self.alarms.append(f"model {name} is another one than it was")

    def _involves(self, model: str) -> Flags:
        known = self._evidence.comparisons
        place = known.models.index(model)
        return np.asarray((known.model_a == place) | (known.model_b == place))

    def ended(
        self, reason: str, *, refused: bool = False, fitted: Fitted | None = None
    ) -> Judgement:
        """Return the judgement."""
        version = 0 if self._current is None else self._current.version
        is_waiting, trial = reason.startswith("waits"), self.trial
        # Not now: what was said meanwhile is written down only after this.
        latest = float(self._evidence.arrived.max(initial=self._history.until))
        verdict = Verdict(
            time=self._now,
            published=fitted is not None,
            version=version,
            current=version,
            since=self._history.until,
            until=self._history.until if is_waiting else latest,
            n=int(self.is_kept.sum()),
            n_new=self.n_new,
            n_queries=len(np.unique(self._evidence.comparisons.query[self.is_kept])),
            distillation_error=None if fitted is None else fitted.error,
            is_structured=None if fitted is None else fitted.is_structured,
            drift=self.drift,
            reasons=(reason,),
            alarms=tuple(self.alarms),
            quarantined=self.quarantined,
            refused=refused,
            changed=self.changed,
            candidate_loss=None if trial is None else trial.candidate_loss,
            current_loss=None if trial is None else trial.current_loss,
            gain=None if trial is None else trial.gain,
            gain_error=None if trial is None else trial.error,
        )
        return Judgement(verdict=verdict, candidate=None if fitted is None else fitted.table)


def _refused(evidence: Evidence, history: History) -> Flags:
    is_refused = np.zeros(len(evidence), np.bool_)
    for since, until in history.refused:
        is_refused |= (evidence.arrived > since) & (evidence.arrived <= until)
    return is_refused
