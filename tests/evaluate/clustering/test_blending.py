import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit

from triskele.evaluate.clustering.blending import blend


def test_weights_are_recovered_from_many_comparisons() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([1.2, 0.0, 0.5])
    parts = rng.standard_normal((50_000, 3))
    outcome = (rng.random(50_000) < expit(parts @ truth)).astype(float)
    found = blend(parts, outcome, np.ones(50_000), expected=[1.0] * 3, certainty=[1.0] * 3)
    np.testing.assert_allclose(found, truth, atol=0.04)


def test_a_part_that_misleads_gets_no_weight() -> None:
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2000, 2))
    outcome = (rng.random(2000) < expit(parts @ [1.0, -1.0])).astype(float)
    found = blend(parts, outcome, np.ones(2000), expected=[1.0, 1.0], certainty=[1.0, 1.0])
    assert found[1] == 0.0
    assert found[0] > 0.5


def test_without_comparisons_weights_are_as_expected() -> None:
    none = np.zeros(0)
    found = blend(np.zeros((0, 2)), none, none, expected=[1.0, 0.3], certainty=[1.0, 0.01])
    np.testing.assert_allclose(found, [1.0, 0.3])


def test_the_surer_the_expectation_the_less_is_learned() -> None:
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((100, 1))
    outcome = (rng.random(100) < expit(3 * parts[:, 0])).astype(float)
    found = [
        float(blend(parts, outcome, np.ones(100), expected=[1.0], certainty=[certainty])[0])
        for certainty in (0.01, 10.0, 1e3, 1e6)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1.0, abs=1e-3)


def test_the_weights_are_where_the_slope_is_zero() -> None:
    rng = np.random.default_rng(1)
    parts, outcome, weight = rng.standard_normal((300, 3)), rng.random(300), rng.random(300)
    expected, certainty = np.array([1.0, 1.0, 0.5]), np.array([50.0, 60.0, 70.0])
    found = blend(parts, outcome, weight, expected=expected, certainty=certainty)

    def loss(weights: np.ndarray) -> float:
        z = parts @ weights
        away = weights - expected
        likelihood = weight @ (np.logaddexp(0, z) - outcome * z)
        return float(likelihood + 0.5 * certainty @ away**2)

    assert (found > 0).all()
    np.testing.assert_allclose(approx_fprime(found, loss, 1e-6), 0.0, atol=0.01)


def test_a_weight_of_two_is_two_comparisons() -> None:
    rng = np.random.default_rng(2)
    parts, outcome = rng.standard_normal((200, 2)), rng.random(200)
    weight = rng.integers(0, 3, 200).astype(float)
    repeated = np.repeat(np.arange(200), weight.astype(int))
    prior = {"expected": [1.0, 1.0], "certainty": [1.0, 1.0]}
    np.testing.assert_allclose(
        blend(parts, outcome, weight, expected=[1.0, 1.0], certainty=[1.0, 1.0]),
        blend(parts[repeated], outcome[repeated], np.ones(len(repeated)), **prior),
        atol=1e-5,
    )
