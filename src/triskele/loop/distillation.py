"""From capabilities at some queries to a capability table: a kernel ridge regression.

A fit of capabilities is large, and slow to ask; the router has microseconds. Its log odds at the
queries of the evidence, less the ranking of all queries together, are regressed on the kernel at L
landmarks drawn from them (Nyström's approximation of kernel ridge regression), with the penalty
that predicts queries set aside best.

Shape suffixes: Q queries, D features, L landmarks, M models.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from triskele.loop.evidence import Floats
from triskele.loop.forecast import kernel

WIDTH = 1.8
"""−log of the kernel at the mean squared distance of two queries."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
SMALLEST = 1e-6
"""Relative to the mean diagonal, what is added to it so that the system can be solved."""
TEST_SHARE, FEWEST = 0.2, 25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distillate:
    """Landmarks and what models are worth near them.

    Attributes
    ----------
    points_LD, weights_LM, gamma
        As a capability table has them.
    error
        Root mean square of the difference in quality, on queries set aside; on those of the
        regression where there are too few.
    """

    points_LD: Floats
    weights_LM: Floats
    gamma: float
    error: float


def distil(
    x_QD: Floats,
    target_QM: Floats,
    *,
    bias_M: Floats,
    n_landmarks: int,
    rng: np.random.Generator,
) -> Distillate:
    """Return a function of the embedding near to given log odds.

    Parameters
    ----------
    x_QD
        Embeddings.
    target_QM
        Log odds of models at them.
    bias_M
        Log odds far from all queries.
    n_landmarks
        At most.
    rng
        Draws landmarks, and queries to be set aside.
    """
    n_queries = len(x_QD)
    chosen = np.sort(rng.choice(n_queries, min(n_queries, n_landmarks), replace=False))
    points = x_QD[chosen]
    spread = float(x_QD.var(0).sum())
    gamma = WIDTH / (2 * spread) if spread > 0 else 1.0
    near_QL, among_LL = kernel(x_QD, points, gamma), kernel(points, points, gamma)
    rest_QM = target_QM - bias_M
    is_test = np.zeros(n_queries, np.bool_)
    if n_queries >= FEWEST:
        is_test[rng.choice(n_queries, int(TEST_SHARE * n_queries), replace=False)] = True
    seen = ~is_test
    asked = is_test if is_test.any() else seen
    errors = []
    for penalty in PENALTIES:
        weights = _solve(near_QL[seen], rest_QM[seen], among_LL, penalty)
        away = expit(bias_M + near_QL[asked] @ weights) - expit(target_QM[asked])
        errors.append(float(np.sqrt(np.square(away).mean())))
    best = int(np.argmin(errors))
    return Distillate(
        points_LD=points,
        weights_LM=_solve(near_QL, rest_QM, among_LL, PENALTIES[best]),
        gamma=gamma,
        error=errors[best],
    )


def _solve(near_QL: Floats, rest_QM: Floats, among_LL: Floats, penalty: float) -> Floats:
    system = near_QL.T @ near_QL + penalty * among_LL
    system[np.diag_indices_from(system)] += SMALLEST * float(np.trace(system)) / len(system)
    return np.asarray(cho_solve(cho_factor(system), near_QL.T @ rest_QM))
