"""Two ways to learn from "a beats b", neither of which has anything to fit.

Plackett–Luce (Luce 1959; Plackett 1975). If each model has one utility per query, of which all its
comparisons are made, Gumbel noise about θ, then with A = exp θ_a and so on

    P(a ≻ c | a ≻ b) = (A + B) / (A + B + C),
    P(b ≻ c | a ≻ b) = B (A + B) / ((A + B + C)(B + C)),

and pairs without a and b are as before. As strengths, the winner's becomes log(A + B) whatever it
meets, and the loser's θ_b + log((A + B) / (A + 2B + C)), which depends on what it meets.

Deduction. If scores are right or wrong, a was right and b was wrong, which decides every comparison
that contains either and is no tie.

Shape suffixes: Q queries, M models, N pairs asked about.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit

from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons

CERTAIN = 0.999
"""The chance of what is known for certain, as long as scores are what they are taken for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probes:
    """Who won against whom, of a number of queries and models."""

    query: Integers
    winner: Integers
    loser: Integers
    n_queries: int
    n_models: int

    def __len__(self) -> int:
        return len(self.query)

    def one_by_one(self) -> "Iterator[Probes]":
        """Yield the first of each query, then the second, and so on."""
        order = np.argsort(self.query, kind="stable")
        query = self.query[order]
        turn = np.arange(len(query)) - np.searchsorted(query, query)
        for number in range(int(turn.max(initial=-1)) + 1):
            rows = order[turn == number]
            yield replace(
                self, query=self.query[rows], winner=self.winner[rows], loser=self.loser[rows]
            )


def probes_of(comparisons: Comparisons, *, n_models: int) -> Probes:
    """Return comparisons as wins: what is more than half won is won, and a tie says nothing."""
    told = comparisons.take((comparisons.weight > 0) & (comparisons.outcome != 0.5))
    b_won = told.outcome > 0.5
    return Probes(
        query=told.query,
        winner=np.where(b_won, told.model_b, told.model_a),
        loser=np.where(b_won, told.model_a, told.model_b),
        n_queries=comparisons.n_queries,
        n_models=n_models,
    )


def deduced_capabilities(θ_QM: Floats, probes: Probes) -> Floats:
    """Return capabilities with who was right above, and who was wrong below, all others."""
    standing_QM = _standing(probes)
    step = float(logit(CERTAIN))
    top_Q1, bottom_Q1 = θ_QM.max(1, keepdims=True), θ_QM.min(1, keepdims=True)
    raised_QM = np.where(standing_QM > 0, top_Q1 + step, θ_QM)
    return np.where(standing_QM < 0, bottom_Q1 - step, raised_QM)


def deduced_chances(before_N: Floats, probes: Probes, asked: Comparisons) -> Floats:
    """Return the chance that b beats a, of pairs that are no ties.

    Parameters
    ----------
    before_N
        The chance without probes.
    probes
        Of the same queries.
    asked
        Pairs.
    """
    standing_QM = _standing(probes)
    of_a = standing_QM[asked.query, asked.model_a]
    of_b = standing_QM[asked.query, asked.model_b]
    decided = np.where(of_b > of_a, CERTAIN, np.where(of_b < of_a, 1 - CERTAIN, 0.5))
    return np.where((of_a == 0) & (of_b == 0), before_N, decided)


def utility_capabilities(θ_QM: Floats, probes: Probes) -> Floats:
    """Return capabilities by Plackett–Luce: a loser's against a model of the others' mean."""
    told_QM = θ_QM.copy()
    for probe in probes.one_by_one():
        _tell(told_QM, probe)
    return told_QM


def utility_chances(θ_QM: Floats, before_N: Floats, probes: Probes, asked: Comparisons) -> Floats:
    """Return the chance that b beats a, by Plackett–Luce.

    Parameters
    ----------
    θ_QM
        Capabilities without probes.
    before_N
        The chance without probes, of pairs that none of them touches.
    probes
        Of the same queries.
    asked
        Pairs.
    """
    told_QM = θ_QM.copy()
    query, pair_2N = asked.query, np.stack([asked.model_a, asked.model_b])
    strength_2N = θ_QM[query, pair_2N]
    chance_N, is_touched_N = before_N.copy(), np.zeros(len(query), np.bool_)
    is_decided_N, b_won_N = is_touched_N.copy(), is_touched_N.copy()
    for probe in probes.one_by_one():
        row_Q = np.full(len(θ_QM), len(probe), np.int64)
        row_Q[probe.query] = np.arange(len(probe))
        rows = np.flatnonzero(row_Q[query] < len(probe))
        of_row = row_Q[query[rows]]
        pair_2R, strength_2R = pair_2N[:, rows], strength_2N[:, rows]
        won_2R, lost_2R = pair_2R == probe.winner[of_row], pair_2R == probe.loser[of_row]
        # In this pair, a model has the strength that it has in this pair.
        of_winner = told_QM[probe.query, probe.winner][of_row]
        of_winner = np.where(won_2R.any(0), (strength_2R * won_2R).sum(0), of_winner)
        of_loser = told_QM[probe.query, probe.loser][of_row]
        of_loser = np.where(lost_2R.any(0), (strength_2R * lost_2R).sum(0), of_loser)
        after_2R = np.where(won_2R, _winner(of_winner, of_loser), strength_2R)
        met_2R = strength_2R[::-1]
        after_2R = np.where(lost_2R, _loser(of_winner, of_loser, met_2R), after_2R)
        is_same = won_2R.any(0) & lost_2R.any(0)
        strength_2N[:, rows] = np.where(is_same, strength_2R, after_2R)
        is_touched_N[rows] |= (won_2R | lost_2R).any(0)
        is_decided_N[rows] |= is_same
        b_won_N[rows] = np.where(is_same, won_2R[1], b_won_N[rows])
        _tell(told_QM, probe)
    chance_N[is_touched_N] = expit(strength_2N[1] - strength_2N[0])[is_touched_N]
    return np.where(is_decided_N, np.where(b_won_N, CERTAIN, 1 - CERTAIN), chance_N)


def _standing(probes: Probes) -> Floats:
    """Return 1 for who was right, −1 for who was wrong, 0 for who is not known, (Q, M)."""
    shape = (probes.n_queries, probes.n_models)
    size = shape[0] * shape[1]
    won = np.bincount(probes.query * shape[1] + probes.winner, minlength=size)
    lost = np.bincount(probes.query * shape[1] + probes.loser, minlength=size)
    return np.asarray(np.sign(won - lost).reshape(shape), np.float64)


def _tell(θ_QM: Floats, probe: Probes) -> None:
    """Change the strengths of winners and losers, with one probe per query."""
    query, winner, loser = probe.query, probe.winner, probe.loser
    of_winner, of_loser = θ_QM[query, winner], θ_QM[query, loser]
    n_others = θ_QM.shape[1] - 2
    typical = of_loser
    if n_others:
        typical = (θ_QM[query].sum(1) - of_winner - of_loser) / n_others
    θ_QM[query, winner] = _winner(of_winner, of_loser)
    θ_QM[query, loser] = _loser(of_winner, of_loser, typical)


def _winner(of_winner: Floats, of_loser: Floats) -> Floats:
    return np.asarray(np.logaddexp(of_winner, of_loser))


def _loser(of_winner: Floats, of_loser: Floats, met: Floats) -> Floats:
    """Return the strength that a loser has against a model of strength ``met``."""
    both = np.logaddexp(of_winner, of_loser)
    return np.asarray(of_loser + both - np.logaddexp(both, np.logaddexp(of_loser, met)))
