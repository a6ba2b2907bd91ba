import numpy as np
import pytest
from scipy.special import expit

from triskele.evaluate.losses import losses_of_chances, losses_of_odds, mean_by_query


def test_both_forms_are_the_negative_log_likelihood() -> None:
    odds = np.array([-3.0, 0.0, 0.5, 4.0])
    outcome = np.array([0.0, 0.5, 1.0, 0.2])
    p = expit(odds)
    expected = -(outcome * np.log(p) + (1 - outcome) * np.log(1 - p))
    np.testing.assert_allclose(losses_of_odds(odds, outcome), expected)
    np.testing.assert_allclose(losses_of_chances(p, outcome), expected)


def test_a_wrong_certainty_costs_a_finite_loss() -> None:
    lost = losses_of_chances(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(lost, -np.log(1e-15), rtol=1e-2)
    assert losses_of_odds(np.array([1000.0]), np.array([0.0]))[0] == 1000.0


def test_the_error_of_a_mean_takes_queries_for_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(300):
        level = rng.standard_normal(100)
        query = np.repeat(np.arange(100), 5)
        value = 2.0 + level[query] + 0.1 * rng.standard_normal(500)
        mean, error = mean_by_query(value, np.ones(500), query, 100)
        means.append(mean)
        errors.append(error)
    assert np.mean(means) == pytest.approx(2.0, abs=0.02)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_only_the_ratio_of_weights_matters() -> None:
    value, query = np.array([1.0, 2.0, 4.0]), np.array([0, 1, 1])
    weight = np.array([1.0, 2.0, 1.0])
    assert mean_by_query(value, weight * 1e-300, query, 2) == pytest.approx(
        mean_by_query(value, weight, query, 2)
    )
    assert mean_by_query(value, weight * 0, query, 2) == (0.0, 0.0)
