"""How much evidence still counts: half of it after a half-life, less where a model has changed."""

from collections.abc import Mapping

import numpy as np

from triskele.loop.evidence import Evidence, Floats

REMEMBERED = 0.1
"""Of what was said of a model before it changed."""
N_HALF_LIVES = 8
"""After which evidence is left out."""


def recency(
    evidence: Evidence, *, now: float, half_life: float, changed: Mapping[str, float]
) -> Floats:
    """Return the weight of each row, (n,).

    Parameters
    ----------
    evidence
        Weighed by the time of its answers.
    now
        Unix time.
    half_life
        Seconds after which evidence counts half.
    changed
        Unix times at which models became other ones, by name.
    """
    age = np.maximum(now - evidence.answered, 0.0)
    weight = np.exp2(-age / half_life)
    weight[age > N_HALF_LIVES * half_life] = 0.0
    models = evidence.comparisons.models
    since = np.array([changed.get(name, -np.inf) for name in models])
    a, b = evidence.comparisons.model_a, evidence.comparisons.model_b
    is_before = evidence.answered < np.maximum(since[a], since[b])
    return np.where(is_before, REMEMBERED * weight, weight)
