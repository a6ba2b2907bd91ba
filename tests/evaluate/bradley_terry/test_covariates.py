import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from tests.evaluate.tournaments import tournament, tournaments
from tests.oracles.bradley_terry import curvature, maximise, objective

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.covariates import (
    Effects,
    check_covariates,
    fit_effects,
    information,
    log_odds,
)
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.comparisons import Comparisons


def cold(comparisons: Comparisons, n_covariates: int) -> Effects:
    return Effects(np.zeros(comparisons.n_models), np.zeros(n_covariates))


def fit(comparisons: Comparisons, x: NDArray[np.float64], ridge: float) -> Effects:
    prior = np.zeros(comparisons.n_models)
    return fit_effects(
        comparisons, x, ridge=ridge, prior=prior, start=cold(comparisons, x.shape[1])
    )


def with_covariates(n: int = 400) -> tuple[Comparisons, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    comparisons = tournament(rng.normal(size=5), n, rng)
    return comparisons, rng.normal(size=(n, 2))


def test_effects_are_those_of_a_general_minimiser() -> None:
    comparisons, x = with_covariates(60)
    prior = np.linspace(-1, 1, 5)
    found = fit_effects(comparisons, x, ridge=0.3, prior=prior, start=cold(comparisons, 2))
    expected = maximise(comparisons, ridge=0.3, prior=prior, covariates=x)
    assert np.concatenate(found) == pytest.approx(expected, abs=1e-5)


def test_effects_are_those_of_logistic_regression() -> None:
    comparisons, x = with_covariates()
    design = np.eye(5)[comparisons.model_b] - np.eye(5)[comparisons.model_a]
    peer = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    peer.fit(np.hstack([design, x]), comparisons.outcome)
    assert np.concatenate(fit(comparisons, x, 0.5)) == pytest.approx(peer.coef_[0], abs=1e-6)


@settings(deadline=None)
@given(tournaments(), st.sampled_from([1e-4, 0.01, 1.0]), st.randoms(use_true_random=False))
def test_no_nearby_effects_are_better(
    comparisons: Comparisons, ridge: float, random: st.DrawFn
) -> None:
    rng = np.random.default_rng(random.randrange(100))  # type: ignore[attr-defined]
    x = rng.normal(size=(len(comparisons), 2)) * [1.0, 10.0]
    found = np.concatenate(fit(comparisons, x, ridge))

    def of(parameters: NDArray[np.float64]) -> float:
        return objective(
            parameters[:-2],
            comparisons,
            ridge=ridge,
            prior=np.zeros(comparisons.n_models),
            coefficients=parameters[-2:],
            covariates=x,
        )

    least = of(found)
    for _ in range(5):
        assert of(found + 1e-2 * rng.normal(size=len(found))) >= least * (1 - 1e-12)


def test_without_covariates_strengths_are_those_of_the_counts() -> None:
    comparisons, _ = with_covariates()
    found = fit(comparisons, np.zeros((len(comparisons), 0)), 0.2)
    assert found.strengths == pytest.approx(fit_counts(count_wins(comparisons), ridge=0.2))
    assert found.coefficients.shape == (0,)


def test_telling_comparisons_the_other_way_round_changes_nothing() -> None:
    comparisons, x = with_covariates()
    swapped = fit(comparisons.swapped(), -x, 0.1)
    assert np.concatenate(swapped) == pytest.approx(np.concatenate(fit(comparisons, x, 0.1)))


def test_length_is_told_apart_from_strength() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    comparisons = tournament(np.zeros(3), n, rng)
    # Model 2 writes long answers, and judges like them.
    length = np.array([0.0, 0.0, 1.5])
    x = length[comparisons.model_b] - length[comparisons.model_a] + rng.normal(size=n)
    outcome = (rng.random(n) < expit(0.8 * x)).astype(float)
    comparisons = Comparisons.from_arrays(
        comparisons.query, comparisons.model_a, comparisons.model_b, outcome
    )
    plain = fit_counts(count_wins(comparisons))
    controlled = fit(comparisons, x[:, None], 0.01)
    assert plain[2] - plain[0] > 0.8
    assert controlled.strengths == pytest.approx(np.zeros(3), abs=0.06)
    assert controlled.coefficients == pytest.approx([0.8], abs=0.05)


def test_other_weights_take_the_place_of_those_of_the_comparisons() -> None:
    comparisons, x = with_covariates()
    twice = np.repeat(np.arange(len(comparisons)), 2)
    doubled = fit(comparisons.take(twice), x[twice], 0.2)
    weighed = fit_effects(
        comparisons,
        x,
        ridge=0.2,
        prior=np.zeros(5),
        start=cold(comparisons, 2),
        weight=np.full(len(comparisons), 2.0),
    )
    assert np.concatenate(weighed) == pytest.approx(np.concatenate(doubled))


def test_a_covariate_that_decides_everything_is_held_back_by_the_ridge() -> None:
    comparisons, x = with_covariates()
    decided = Comparisons.from_arrays(
        comparisons.query, comparisons.model_a, comparisons.model_b, x[:, 0] > 0
    )
    found = fit(decided, 100 * x, 1e-4)
    assert np.isfinite(np.concatenate(found)).all()
    assert found.coefficients[0] > 0.1


def test_without_comparisons_all_is_as_before() -> None:
    nothing = Comparisons.from_arrays([], [], [], [], models=["x", "y"])
    found = fit_effects(
        nothing,
        np.zeros((0, 1)),
        ridge=1.0,
        prior=np.array([1.0, -1.0]),
        start=cold(nothing, 1),
    )
    assert np.concatenate(found) == pytest.approx([1, -1, 0])


def test_a_ridge_is_needed() -> None:
    comparisons, x = with_covariates()
    with pytest.raises(ValueError, match="expected a ridge above 0 with covariates, got 0"):
        fit(comparisons, x, 0.0)


def test_too_few_rounds_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triskele.evaluate.bradley_terry.covariates.MAX_ROUNDS", 1)
    with pytest.warns(UserWarning, match="the fit with covariates did not converge"):
        fit(*with_covariates(), 0.1)


def test_the_information_is_the_curvature() -> None:
    comparisons, _ = with_covariates(50)
    at = Effects(np.linspace(-1, 1, 5), np.zeros(0))
    found = information(comparisons, np.zeros((50, 0)), at)
    assert found == pytest.approx(curvature(at.strengths, comparisons, ridge=0.0))


def test_the_information_of_coefficients_is_that_of_the_rows() -> None:
    comparisons, x = with_covariates(50)
    at = Effects(np.linspace(-1, 1, 5), np.array([0.3, -0.2]))
    design = np.hstack([np.eye(5)[comparisons.model_b] - np.eye(5)[comparisons.model_a], x])
    η = design @ np.concatenate(at)
    assert log_odds(comparisons, x, at) == pytest.approx(η)
    expected = design.T @ (design * (expit(η) * expit(-η))[:, None])
    assert information(comparisons, x, at) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        ([1.0, 2.0], r"expected covariates as a table of numbers with 2 rows.* shape \(2,\)"),
        ([[1.0]], r"with 2 rows.* shape \(1, 1\)"),
        ([["a"], ["b"]], "expected covariates as a table of numbers"),
        ([[1.0], [np.nan]], r"row 1: expected finite covariates, got \[nan\]"),
    ],
)
def test_covariates_are_a_row_of_numbers_each(covariates: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_covariates(covariates, 2)  # type: ignore[arg-type]
