"""What all methods do alike: turn capabilities into predictions, and predictions into a score.

A method is a function from queries to capabilities θ, (n_queries, n_models): P(b beats a) is
σ(θ_b − θ_a). What follows from θ is the same for each of them.
"""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import of_models, of_queries
from triskele.evaluate.losses import losses_of_chances


class Method(Protocol):
    """Anything that learns capabilities from comparisons."""

    models_: tuple[str, ...]

    def capabilities(self, X: ArrayLike, comparisons: Comparisons | None = None) -> Floats:
        """Return θ, (n_queries, n_models)."""

    def predict_pairwise(
        self, X: ArrayLike, pairs: Comparisons, *, comparisons: Comparisons | None = None
    ) -> Floats:
        """Return the chance that b beats a, (n,)."""


def n_rows(X: ArrayLike) -> int:
    """Return the number of queries, of whatever kind they are."""
    shape = np.shape(X)
    if not shape:
        raise ValueError(f"expected queries in rows, got {X!r}")
    return int(shape[0])


def pairwise(θ_QM: Floats, pairs: Comparisons, models: tuple[str, ...]) -> Floats:
    """Return the chance that b beats a for pairs of these queries, (n,)."""
    asked = of_models(of_queries(pairs, len(θ_QM)), models)
    return np.asarray(expit(θ_QM[asked.query, asked.model_b] - θ_QM[asked.query, asked.model_a]))


def best_first(θ_QM: Floats) -> Integers:
    """Return the models of each query, best first; equals in the order of the models."""
    return np.argsort(-θ_QM, axis=1, kind="stable")


def mean_log_likelihood(
    method: Method, X: ArrayLike, asked: Comparisons | None, evidence: Comparisons | None
) -> float:
    """Return the mean log likelihood of comparisons; not a number if none are given.

    Parameters
    ----------
    method
        Fitted.
    X
        Queries as the method takes them.
    asked
        To be predicted.
    evidence
        What is known of the same queries beforehand.

    Raises
    ------
    ValueError
        If there is no comparison that counts.
    """
    if asked is None:
        method.capabilities(X, evidence)
        return float("nan")
    if not asked.weight.any():
        raise ValueError("expected a comparison of a weight above 0")
    p = method.predict_pairwise(X, asked, comparisons=evidence)
    return -float(np.average(losses_of_chances(p, asked.outcome), weights=asked.weight))
