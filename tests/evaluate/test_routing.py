import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from triskele.evaluate.routing import CostCurve, choose, cost_curve, expected_wins


def test_expected_wins_are_the_mean_chance_against_the_others() -> None:
    θ = np.array([[1.0, 0.0, -2.0]])
    found = expected_wins(θ)
    for model in range(3):
        others = [other for other in range(3) if other != model]
        chance = np.mean([expit(θ[0, model] - θ[0, other]) for other in others])
        assert found[0, model] == pytest.approx(chance)


def test_expected_wins_do_not_depend_on_the_level_of_a_row() -> None:
    θ = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_allclose(expected_wins(θ + 7.0), expected_wins(θ))
    np.testing.assert_allclose(expected_wins(θ).mean(1), 0.5)


def test_a_model_alone_neither_wins_nor_loses() -> None:
    np.testing.assert_array_equal(expected_wins(np.zeros((3, 1))), np.full((3, 1), 0.5))


def test_expected_wins_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    θ = np.random.default_rng(1).standard_normal((50, 6))
    whole = expected_wins(θ)
    monkeypatch.setattr("triskele.evaluate.routing.BLOCK", 100)
    np.testing.assert_allclose(expected_wins(θ), whole)


def test_without_a_price_the_best_is_chosen_and_at_any_price_the_cheapest() -> None:
    quality, prices = [[0.9, 0.5], [0.2, 0.6]], [10.0, 1.0]
    assert choose(quality).tolist() == [0, 1]
    assert choose(quality, prices, trade=0.0).tolist() == [0, 1]
    assert choose(quality, prices, trade=1.0).tolist() == [1, 1]


def test_a_model_that_is_not_allowed_is_not_chosen() -> None:
    assert choose([[0.9, 0.5]], allowed=[False, True]).tolist() == [1]
    with pytest.raises(ValueError, match="row 1"):
        choose([[0.9, 0.5], [0.9, 0.5]], allowed=[[True, True], [False, False]])


@given(st.integers(0, 2**32 - 1))
def test_more_weight_on_the_price_never_costs_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    quality, prices = rng.random((20, 5)), rng.random(5)
    costs = [prices[choose(quality, prices, trade=trade)].mean() for trade in (0, 0.1, 1, 10, 1e6)]
    assert all(later <= before + 1e-12 for before, later in itertools.pairwise(costs))
    assert costs[-1] == pytest.approx(prices.min())


def test_a_perfect_forecast_is_the_upper_bound() -> None:
    rng = np.random.default_rng(2)
    scores = (rng.random((400, 4)) < (0.3, 0.5, 0.6, 0.8)).astype(float)
    prices = np.array([1.0, 2.0, 4.0, 8.0])
    perfect = cost_curve(scores, prices, scores)
    blind = cost_curve(np.tile(scores.mean(0), (400, 1)), prices, scores)
    assert perfect.area(1.0, 8.0) > blind.area(1.0, 8.0) + 0.1
    assert perfect.quality.max() == pytest.approx(scores.max(1).mean())
    assert blind.quality.max() == pytest.approx(scores.mean(0).max())


def test_models_without_a_score_are_not_chosen() -> None:
    scores = np.array([[np.nan, 0.2], [0.4, np.nan]])
    curve = cost_curve([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], scores)
    np.testing.assert_allclose(curve.quality, 0.3)


def test_a_curve_tells_what_quality_costs() -> None:
    curve = CostCurve(cost=np.array([1.0, 2.0, 4.0]), quality=np.array([0.3, 0.5, 0.6]))
    assert curve.cost_of(0.45) == 2.0
    assert curve.cost_of(0.9) == np.inf
    assert curve.quality_at(3.0) == 0.5
    assert curve.quality_at(0.5) == -np.inf


def test_the_area_is_that_of_the_upper_hull() -> None:
    bent = CostCurve(cost=np.array([0.0, 0.5, 1.0]), quality=np.array([0.0, 0.1, 1.0]))
    assert bent.area(0.0, 1.0) == pytest.approx(0.5, abs=1e-3)
    bowed = CostCurve(cost=np.array([0.0, 0.5, 1.0]), quality=np.array([0.0, 0.9, 1.0]))
    assert bowed.area(0.0, 1.0) == pytest.approx(0.7, abs=1e-3)


def test_a_mix_of_two_choices_is_on_the_line_between_them() -> None:
    bent = CostCurve(cost=np.array([1.0, 2.0, 3.0]), quality=np.array([0.2, 0.3, 0.8]))
    np.testing.assert_allclose(bent.mixed([1.0, 2.0, 2.5, 3.0, 9.0]), [0.2, 0.5, 0.65, 0.8, 0.8])
    assert bent.mixed(0.5) == -np.inf


@given(st.integers(0, 2**32 - 1))
def test_a_mix_is_never_worse_than_the_best_choice_it_can_afford(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, prices = rng.random((30, 4)), rng.random(4)
    curve = cost_curve(rng.random((30, 4)), prices, scores, n_trades=20)
    costs = np.linspace(0, 1, 7)
    affordable = np.array([curve.quality_at(cost) for cost in costs])
    assert (curve.mixed(costs) >= affordable - 1e-9).all()
