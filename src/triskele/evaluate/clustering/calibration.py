"""What the parts of an estimate are worth on queries that they were not fitted on.

Trend and mixture are fitted on some queries and asked about others, of whose comparisons a few are
shown as evidence and the rest are to be predicted. The weights of the parts are learned from that
(``blending``), and so is whether queries differ in which model suits them by more than chance:
whether trend and clusters add something to one ranking and what evidence says of its own models.

Shape suffixes: Q queries, L features, D dimensions of embeddings, K clusters, M models.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from triskele.evaluate.clustering.blending import blend
from triskele.evaluate.clustering.evidence import N_TRACES, traces
from triskele.evaluate.clustering.mixture import Mixture, wins_of
from triskele.evaluate.columns import Floats, Integers, Real
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.losses import losses_of_odds, mean_by_query
from triskele.evaluate.sampling import split_probes

N_SHOWN = (0, 1, 2, 3)
"""Comparisons of a query that are shown; each number to a quarter of the queries. One at
least is left to be predicted."""
EXPECTED = (1.0, 1.0, 0.0, 1.0) + (0.0,) * N_TRACES
CERTAINTY = (1.0, 1.0, 1.0, 1.0) + (0.01,) * N_TRACES
PLAIN = (1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0)
"""Weights where there is too little to learn them from: those of the Plackett–Luce model."""
GLOBAL_ONLY = (1.0,) + (0.0,) * (3 + N_TRACES)
UNSTRUCTURED = (0, 4, 5, 6)
"""Parts that take all queries to be of one kind."""
N_ERRORS = 2.0
"""Standard errors by which parts must lower the loss to be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Weights of the parts, and how they did on queries held out."""

    weights: tuple[float, ...]
    """Of the global profile, the trend's and the clusters' difference from it, what evidence
    changes through the clusters, and the three traces of evidence on its own models."""
    gain: float
    """Log-loss of the global ranking less that of the blend, per comparison."""
    gain_error: float
    """Standard error of the gain, over queries."""
    structure: float
    """The part of the gain that is due to trend and clusters."""
    structure_error: float
    """Standard error of that."""

    @property
    def is_structured(self) -> bool:
        """Whether queries differ in which model suits them, by more than chance."""
        return self.structure > N_ERRORS * self.structure_error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """An estimate for some queries, in its parts: each (Q, M) but the global profile."""

    global_M: Floats
    trend_QM: Floats
    clusters_QM: Floats
    shift_QM: Floats
    traces_3QM: Floats

    def capabilities(self, weights: tuple[float, ...]) -> Floats:
        """Return θ, (Q, M)."""
        of_global, of_trend, of_clusters, of_shift = weights[:4]
        θ = of_trend * (self.trend_QM - self.global_M)
        θ += of_global * self.global_M
        θ += of_clusters * (self.clusters_QM - self.global_M)
        θ += of_shift * self.shift_QM
        for weight, trace in zip(weights[4:], self.traces_3QM, strict=True):
            θ += weight * trace
        return θ

    def log_odds(self, comparisons: Comparisons) -> Floats:
        """Return what each part adds to the log odds that b beats a: (n, n_parts)."""
        query, a, b = comparisons.query, comparisons.model_a, comparisons.model_b
        of_global = self.global_M[b] - self.global_M[a]
        columns = [of_global]
        for part, less in (
            (self.trend_QM, of_global),
            (self.clusters_QM, of_global),
            (self.shift_QM, 0.0),
            *((trace, 0.0) for trace in self.traces_3QM),
        ):
            columns.append(part[query, b] - part[query, a] - less)
        return np.column_stack(columns)


def parts_of(
    embeddings_QD: Real,
    trend_QM: Floats,
    mixture: Mixture,
    global_M: Floats,
    evidence: Comparisons,
) -> Parts:
    """Return the estimate for queries and what is known of them.

    Parameters
    ----------
    embeddings_QD
        Rows of length one.
    trend_QM
        What the trend says of them.
    mixture, global_M
        As fitted.
    evidence
        Comparisons of these queries that are known.
    """
    prior = mixture.prior(embeddings_QD)
    clusters = prior @ mixture.profiles_KM
    if len(evidence) == 0:
        shift, left = np.zeros_like(clusters), np.zeros((N_TRACES, *clusters.shape))
    else:
        wins = wins_of(evidence, evidence=mixture.settings.evidence)
        posterior = mixture.posterior(embeddings_QD, wins)
        shift, left = (posterior - prior) @ mixture.profiles_KM, traces(evidence, trend_QM)
    return Parts(
        global_M=global_M,
        trend_QM=trend_QM,
        clusters_QM=clusters,
        shift_QM=shift,
        traces_3QM=left,
    )


HeldOut = tuple[Integers, Callable[[Integers, Comparisons], Parts]]
"""Queries, and an estimate that has not seen them: of some of them, given evidence about these."""


def calibrate(
    held_out: Iterable[HeldOut],
    comparisons: Comparisons,
    *,
    rng: np.random.Generator,
) -> Calibration:
    """Learn the weights of the parts.

    Parameters
    ----------
    held_out
        Groups of queries, each with an estimate of its own.
    comparisons
        Of all queries.
    rng
        Chooses what is shown.
    """
    asked = _ask(held_out, comparisons, rng)
    of_all = _blended(asked, tuple(range(len(EXPECTED))))
    of_one_kind = _blended(asked, UNSTRUCTURED)
    structure, structure_error = _gain(asked, of_one_kind, of_all)
    is_structured = structure > N_ERRORS * structure_error
    weights = of_all if is_structured else of_one_kind
    gain, error = _gain(asked, GLOBAL_ONLY, weights)
    if not is_structured and gain <= N_ERRORS * error:
        weights = GLOBAL_ONLY
    return Calibration(
        weights=weights,
        gain=gain,
        gain_error=error,
        structure=structure,
        structure_error=structure_error,
    )


def recalibrated(
    calibration: Calibration,
    held_out: Iterable[HeldOut],
    comparisons: Comparisons,
    *,
    n_before: float,
    rng: np.random.Generator,
) -> Calibration:
    """Correct the weights of the parts by further queries.

    Parameters
    ----------
    calibration
        As it was.
    held_out, comparisons, rng
        As for :func:`calibrate`.
    n_before
        Comparisons that it was learned from.
    """
    asked = _ask(held_out, comparisons, rng)
    n = float(asked.weight.sum())
    if n == 0:
        return calibration
    expected = np.array(calibration.weights)
    p = expit(asked.log_odds @ expected)
    # As sure of each weight as so many comparisons of this kind make one.
    certainty = (n_before / n) * ((asked.weight * p * (1 - p)) @ np.square(asked.log_odds))
    weights = blend(
        asked.log_odds,
        asked.outcome,
        asked.weight,
        expected=expected,
        certainty=np.maximum(certainty, CERTAINTY),
    )
    return replace(calibration, weights=tuple(weights.tolist()))


def _blended(asked: "_Asked", parts: tuple[int, ...]) -> tuple[float, ...]:
    """Return the weights of some parts, the others having none."""
    chosen = list(parts)
    weights = np.zeros(len(EXPECTED))
    weights[chosen] = blend(
        asked.log_odds[:, chosen],
        asked.outcome,
        asked.weight,
        expected=np.array(EXPECTED)[chosen],
        certainty=np.array(CERTAINTY)[chosen],
    )
    return tuple(weights.tolist())


def _gain(
    asked: "_Asked", before: tuple[float, ...], after: tuple[float, ...]
) -> tuple[float, float]:
    """Return by how much weights lower the loss of others, and the standard error of that."""
    gained = losses_of_odds(asked.log_odds @ np.array(before), asked.outcome)
    gained -= losses_of_odds(asked.log_odds @ np.array(after), asked.outcome)
    return mean_by_query(gained, asked.weight, asked.query, asked.n_queries)


class _Asked(NamedTuple):
    """Comparisons that were to be predicted, and what each part had to say."""

    log_odds: Floats
    outcome: Floats
    weight: Floats
    query: Integers
    n_queries: int


def _ask(held_out: Iterable[HeldOut], comparisons: Comparisons, rng: np.random.Generator) -> _Asked:
    log_odds, scored = [], []
    n_before = 0
    for queries, estimate in held_out:
        for n_shown, chosen in _dealt(rng.permutation(queries), comparisons):
            shown, asked = split_probes(
                comparisons.of_queries(chosen), n_probes=n_shown, disjoint=False, rng=rng
            )
            log_odds.append(estimate(chosen, shown).log_odds(asked))
            scored.append((asked.outcome, asked.weight, asked.query + n_before))
            n_before += len(chosen)
    outcome, weight, query = map(np.concatenate, zip(*scored, strict=True))
    return _Asked(np.concatenate(log_odds), outcome, weight, query, n_before)


def _dealt(queries: Integers, comparisons: Comparisons) -> Iterator[tuple[int, Integers]]:
    """Yield how many comparisons are shown, and of which queries."""
    shares = np.array_split(np.arange(len(queries)), len(N_SHOWN))
    n_shown = np.repeat(N_SHOWN, [len(share) for share in shares])
    n_known = np.bincount(comparisons.query, minlength=comparisons.n_queries)[queries]
    n_shown = np.minimum(n_shown, np.maximum(n_known - 1, 0))
    for number in N_SHOWN:
        yield number, queries[n_shown == number]


def uncalibrated(weights: tuple[float, ...]) -> Calibration:
    """Return given weights, of which nothing is known."""
    unknown = float("nan")
    return Calibration(
        weights=weights,
        gain=unknown,
        gain_error=unknown,
        structure=unknown,
        structure_error=unknown,
    )
