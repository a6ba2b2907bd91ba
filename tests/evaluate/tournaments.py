"""Small tournaments for tests: of random strengths, and of any shape that hypothesis finds."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from scipy.special import expit

from triskele.evaluate.comparisons import Comparisons


def tournament(
    strengths: Sequence[float],
    n: int,
    rng: np.random.Generator,
    *,
    per_query: int = 1,
    tie_share: float = 0.0,
) -> Comparisons:
    """Comparisons of pairs drawn at random, decided as the model says."""
    θ = np.asarray(strengths)
    a = rng.integers(len(θ), size=n)
    b = (a + rng.integers(1, len(θ), size=n)) % len(θ)
    outcome = (rng.random(n) < expit(θ[b] - θ[a])).astype(float)
    outcome[rng.random(n) < tie_share] = 0.5
    return Comparisons.from_arrays(
        np.arange(n) // per_query, a, b, outcome, models=[f"m{i}" for i in range(len(θ))]
    )


@st.composite
def tournaments(draw: st.DrawFn, *, min_models: int = 2, max_models: int = 6) -> Comparisons:
    n_models = draw(st.integers(min_models, max_models))
    n_queries = draw(st.integers(1, 5))
    pairs = st.tuples(
        st.integers(0, n_queries - 1),
        st.integers(0, n_models - 1),
        st.integers(1, max(n_models - 1, 1)),
        st.sampled_from([0.0, 0.5, 1.0, 0.8]),
        st.sampled_from([1.0, 2.0, 0.25, 0.0, 10.0]),
    )
    rows = draw(st.lists(pairs, max_size=20)) if n_models > 1 else []
    query, a, step, outcome, weight = (
        (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 5
    )
    return Comparisons.from_arrays(
        np.array(query, np.int64),
        np.array(a, np.int64),
        (np.array(a, np.int64) + np.array(step, np.int64)) % n_models,
        np.array(outcome, np.float64),
        weight=np.array(weight, np.float64),
        models=[f"m{index}" for index in range(n_models)],
        n_queries=n_queries,
    )
