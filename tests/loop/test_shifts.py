import numpy as np
import pytest
from scipy.special import expit
from tests.loop.worlds import QUALITY, World, evidence_of, true_table

from triskele.loop.forecast import log_odds
from triskele.loop.shifts import changed_models, fit_shifts


def world(seed: int, **quality: tuple[float, ...]) -> World:
    return World(np.random.default_rng(seed), quality={**QUALITY, **quality})


def test_a_model_that_lost_on_all_queries_is_one_shift() -> None:
    odds = np.array([expit(2.2 - 1.5), expit(-0.85 - 1.5)])
    evidence, x = evidence_of(world(0, code=(odds[0], 0.3, 0.55), past=(odds[1], 0.9, 0.55)), 3000)
    forecast = log_odds(true_table(), x, evidence.comparisons)
    found = fit_shifts(forecast, evidence.comparisons, par=evidence.par)
    assert found.shift == pytest.approx([-1.5, 0.0, 0.0, 0.0], abs=0.25)
    assert found.shift[evidence.par] == 0.0
    p = expit(found.odds)
    of_first = evidence.comparisons.model_b == 0
    assert p[of_first].mean() == pytest.approx(
        evidence.comparisons.outcome[of_first].mean(), abs=0.01
    )


def test_where_the_forecast_is_right_nothing_has_changed() -> None:
    n_said = 0
    for seed in range(100):
        evidence, x = evidence_of(world(seed), 200)
        forecast = log_odds(true_table(), x, evidence.comparisons)
        n_said += bool(changed_models(forecast, evidence.comparisons, par=evidence.par))
    assert n_said <= 4


def test_a_model_that_has_changed_is_named() -> None:
    evidence, x = evidence_of(world(1, code=(0.5, 0.3, 0.55)), 600)
    forecast = log_odds(true_table(), x, evidence.comparisons)
    assert changed_models(forecast, evidence.comparisons, par=evidence.par) == ("coder",)
