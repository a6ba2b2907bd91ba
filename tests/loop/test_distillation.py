import numpy as np
import pytest
from scipy.special import expit

from triskele.loop.distillation import distil
from triskele.loop.forecast import kernel


def test_a_smooth_function_is_found_again() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    target = np.column_stack([2 * x[:, 0], -x[:, 1], np.full(800, 0.3)])
    bias = np.array([0.0, 0.0, 0.3])
    found = distil(x, target, bias_M=bias, n_landmarks=100, rng=rng)
    assert found.points_LD.shape == (100, 3)
    assert found.error < 0.01
    new = rng.normal(size=(50, 3))
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    odds = bias + kernel(new, found.points_LD, found.gamma) @ found.weights_LM
    away = expit(odds) - expit(np.column_stack([2 * new[:, 0], -new[:, 1], np.full(50, 0.3)]))
    assert np.abs(away).max() < 0.05


def test_noise_is_not_learned_by_heart() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 20))
    found = distil(x, rng.normal(size=(400, 1)), bias_M=np.zeros(1), n_landmarks=300, rng=rng)
    assert np.abs(kernel(x, found.points_LD, found.gamma) @ found.weights_LM).mean() < 0.5


@pytest.mark.parametrize("n", [1, 3, 40])
def test_few_queries_and_equal_ones_are_no_trouble(n: int) -> None:
    rng = np.random.default_rng(2)
    x = np.tile([1.0, 0.0], (n, 1))
    found = distil(x, np.ones((n, 2)), bias_M=np.zeros(2), n_landmarks=10, rng=rng)
    assert np.isfinite(found.weights_LM).all()
    odds = kernel(x[:1], found.points_LD, found.gamma) @ found.weights_LM
    assert odds[0] == pytest.approx([1.0, 1.0], abs=0.05)
