import numpy as np
import pytest

from triskele.evaluate.report.projection import plane


def test_groups_stay_together() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    X = np.eye(3)[label] + 0.02 * rng.standard_normal((60, 3))
    points = plane(X, seed=0)
    middles = np.stack([points[label == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(1)
    assert (nearest == label).all()


@pytest.mark.parametrize("n", [1, 2, 3, 9, 40])
@pytest.mark.parametrize("kind", ["random", "equal", "line", "zero"])
def test_every_number_of_points_of_every_kind_has_a_place(n: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    X = {
        "random": rng.standard_normal((n, 5)),
        "equal": np.ones((n, 5)),
        "line": np.arange(n, dtype=float)[:, None],
        "zero": np.zeros((n, 2)),
    }[kind]
    points = plane(X.astype(np.float32), seed=0)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert points.min() >= 0
    assert points.max() <= 1


def test_a_seed_is_a_map() -> None:
    X = np.random.default_rng(0).standard_normal((30, 4))
    assert np.array_equal(plane(X, seed=1), plane(X, seed=1))
