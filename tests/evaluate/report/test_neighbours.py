import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.report.neighbours import Pair, splits_and_merges


def find(
    X: NDArray[np.float64], θ: NDArray[np.float64], texts: list[str] | None = None, n: int = 3
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    return splits_and_merges(
        X,
        θ,
        np.zeros(θ.shape[1]),
        np.arange(len(X)),
        texts or [f"text {row}" for row in range(len(X))],
        n_pairs=n,
        rng=np.random.default_rng(0),
    )


def world() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two topics of 40; row 0 of the first is like the second in capability."""
    rng = np.random.default_rng(0)
    X = np.repeat(np.eye(2), 40, 0) + 0.1 * rng.standard_normal((80, 2))
    θ = np.repeat([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], 40, 0)
    θ[0] = θ[79]
    return X, θ


def test_the_query_that_differs_from_its_neighbours_is_a_split() -> None:
    splits, _ = find(*world())
    assert splits
    assert 0 in (splits[0].first, splits[0].second)
    assert splits[0].cosine > 0.5
    assert splits[0].difference > 0.5


def test_its_like_among_the_far_is_a_merge() -> None:
    _, merges = find(*world())
    assert any(0 in (pair.first, pair.second) for pair in merges)
    assert all(pair.cosine < 0 for pair in merges)
    assert merges[0].difference == 0


def test_no_query_and_no_text_stands_twice() -> None:
    X, θ = world()
    splits, merges = find(X, θ, texts=["same"] * 80)
    assert (splits, merges) == ((), ())
    for pairs in find(X, θ, n=5):
        rows = [row for pair in pairs for row in (pair.first, pair.second)]
        assert len(rows) == len(set(rows))


def test_where_one_model_is_best_everywhere_nothing_splits() -> None:
    X, θ = world()
    θ[:, 2] = 5.0
    assert find(X, θ)[0] == ()


def test_one_query_has_no_pair() -> None:
    assert find(np.ones((1, 2)), np.ones((1, 2))) == ((), ())
