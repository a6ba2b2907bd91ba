import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.least_squares import fit

from triskele.serve.routing.regression import BELIEVED, FleetRegression

MEAN, DEVIATION = (0.1, -0.2, 0.0), (2.0, 0.5, 3.0)
TRUTH = np.array([0.3, 0.7, -0.4])


def regression(n_slots: int = 1, **how: object) -> FleetRegression:
    made = FleetRegression(MEAN, DEVIATION, **how)
    made.grow(n_slots)
    return made


def features(rng: np.random.Generator) -> np.ndarray:
    return np.array([1.0, *rng.uniform(0, 2, size=2)])


def teach(
    model: FleetRegression, n: int, *, slot: int = 0, times: float = 1.0, begin: float = 0.0
) -> None:
    """Tell of exact outcomes, one a second, of a worker ``times`` as slow as the truth."""
    rng = np.random.default_rng(n)
    for number in range(n):
        x = features(rng)
        model.update(slot, x, times * float(x @ TRUTH), scale=0.1, now=begin + number)


@pytest.mark.parametrize(("forgetting", "wider"), [(1.0, 1.0), (1.0, 1e4), (0.97, 1e4)])
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_what_is_shared_is_the_least_squares_fit_of_all_outcomes(
    forgetting: float, wider: float, seed: int, n: int
) -> None:
    deviation = wider * np.array(DEVIATION)
    model = FleetRegression(MEAN, deviation, forgetting=(forgetting, 0.99))
    model.grow(3)
    rng = np.random.default_rng(seed)
    # First in every direction: where nothing is known, the prior bounds what is forgotten.
    rows = [*np.eye(3), *(features(rng) for _ in range(n))]
    scales = rng.uniform(0.03, 0.3, size=len(rows))
    targets = [float(x @ TRUTH) + rng.normal(scale=s) for x, s in zip(rows, scales, strict=True)]
    for number, (x, target) in enumerate(zip(rows, targets, strict=True)):
        slot = int(rng.integers(3))
        model.update(slot, x, target, scale=scales[number], now=float(number))
    expected = fit(rows, targets, scales, mean=MEAN, deviation=deviation, forgetting=forgetting)
    assert model.shared == pytest.approx(expected, rel=1e-4, abs=1e-6)
    model.check()


def test_a_prediction_says_how_sure_it_is() -> None:
    model, x = regression(2), np.array([1.0, 2.0, 1.0])
    own = 1 + 0.05**2
    expected = math.sqrt(own * (2.0**2 + (2 * 0.5) ** 2 + 3.0**2))
    assert model.predict(1, x, 0.0) == pytest.approx((float(x @ MEAN), expected))
    teach(model, 200, times=1.5)
    mean, spread = model.predict(0, x, 230.0)
    assert mean == pytest.approx(float(x @ model.coefficients(230.0)[:, 0]))
    assert spread < 0.05 * expected


def test_a_slot_that_is_forgotten_is_as_a_new_one() -> None:
    model = regression(2)
    teach(model, 100, slot=0, times=2.0)
    model.forget(0)
    assert np.array_equal(*model.coefficients(100.0).T)
    x = np.array([1.0, 0.5, 0.5])
    assert model.predict(0, x, 100.0) == model.predict(1, x, 100.0)
    model.check()


def test_a_worker_that_is_slower_gets_a_difference_of_its_own() -> None:
    model = regression(3)
    rng = np.random.default_rng(0)
    for number in range(900):
        x, slot = features(rng), number % 3
        target = float(x @ TRUTH) * (3.0 if slot == 2 else 1.0)
        model.update(slot, x, target, scale=0.1, now=0.1 * number)
    x = np.array([1.0, 1.0, 0.5])
    predicted = x @ model.coefficients(90.0)
    assert predicted[:2] == pytest.approx(float(x @ TRUTH), rel=0.15)
    assert predicted[2] == pytest.approx(3 * float(x @ TRUTH), rel=0.15)


def test_a_worker_that_joins_is_predicted_like_the_others() -> None:
    model = regression(2)
    teach(model, 100)
    model.grow(4)
    coefficients = model.coefficients(99.0)
    assert coefficients.shape == (3, 4)
    assert coefficients[:, 2:] == pytest.approx(np.column_stack([model.shared] * 2))
    # Even before any clock began.
    assert regression(2).coefficients(-1e6) == pytest.approx(np.column_stack([MEAN] * 2))


def test_a_difference_fades_in_silence_and_only_then() -> None:
    model = regression(2, fading=60.0)
    teach(model, 50, slot=0)
    teach(model, 50, slot=1, times=3.0, begin=50.0)
    own = model.coefficients(99.0)[:, 1] - model.shared
    assert np.abs(own).max() > 0.1
    assert model.coefficients(159.0)[:, 1] - model.shared == pytest.approx(own / 2)
    assert model.coefficients(99.0 + 600)[:, 1] - model.shared == pytest.approx(own / 1024)
    # The other's silence is its own.
    model.update(0, features(np.random.default_rng(0)), 1.0, scale=1e6, now=159.0)
    assert model.coefficients(159.0)[:, 1] - model.shared == pytest.approx(own / 2, rel=1e-3)
    model.update(1, features(np.random.default_rng(0)), 1.0, scale=1e6, now=159.0)
    assert model.own[:, 1] == pytest.approx(own / 2, rel=1e-3)


def covariances(model: FleetRegression) -> list[np.ndarray]:
    return [root @ root.T for root in (model._S, *model._own_S)]


@pytest.mark.parametrize("kind", ["extreme", "constant", "degenerate", "absent", "absurd"])
def test_it_stays_finite_and_its_covariance_sane_after_very_many_updates(kind: str) -> None:
    model, rng = regression(2), np.random.default_rng(0)
    draws = {
        "extreme": lambda: 10.0 ** rng.uniform(-9, 9, size=3) * rng.choice([-1, 1], size=3),
        "constant": lambda: np.array([1.0, 2.0, 3.0]),
        "degenerate": lambda: np.array([1.0, 1.0, 1.0]) * rng.uniform(0, 1),
        "absent": lambda: np.array([1.0, 0.0, 0.0]),
        "absurd": lambda: features(rng),
    }
    targets = [0.0, 1e-300, 1.0, 1e6, 1e300] if kind == "absurd" else [0.0, 1.0, 5.0]
    for number in range(20_000):
        x, target = draws[kind](), targets[int(rng.integers(len(targets)))]
        model.update(number % 2, x, target, scale=0.1, now=0.01 * number)
        if number % 1000 == 0:
            model.check()
    model.check()
    assert np.isfinite(model.coefficients(200.0)).all()
    for P, prior in zip(covariances(model), (1.0, 0.05**2, 0.05**2), strict=True):
        assert np.allclose(P, P.T, rtol=1e-12, atol=0)
        assert np.linalg.eigvalsh(P).min() >= -1e-12 * np.abs(P).max()
        assert (P.diagonal() <= np.square(DEVIATION) * prior * (1 + 1e-9)).all()


def test_what_is_never_asked_for_keeps_its_prior() -> None:
    model = regression()
    for number in range(20_000):
        model.update(0, np.array([1.0, 0.0, 0.0]), 0.3, scale=0.1, now=float(number))
    assert model.shared == pytest.approx([0.3, *MEAN[1:]])
    assert covariances(model)[0].diagonal()[1:] == pytest.approx(np.square(DEVIATION[1:]))


@pytest.mark.parametrize("target", [math.inf, -math.inf, math.nan])
def test_an_outcome_that_is_no_number_teaches_nothing(target: float) -> None:
    model = regression()
    teach(model, 20)
    before = model.state()
    model.update(0, features(np.random.default_rng(0)), target, scale=0.1, now=19.0)
    assert model.state() == before


def test_one_absurd_outcome_counts_no_more_than_a_bad_one() -> None:
    x = np.array([1.0, 1.0, 1.0])

    def moved_by(error: float) -> float:
        model = regression()
        teach(model, 500)
        before = float(x @ model.coefficients(499.0)[:, 0])
        model.update(0, x, before + error, scale=0.1, now=499.0)
        return float(x @ model.coefficients(499.0)[:, 0]) - before

    assert moved_by(0.05) == pytest.approx(moved_by(0.1) / 2, rel=0.01)
    assert moved_by(1e9) < 1.5 * moved_by(0.1 * BELIEVED) < 0.1


def test_what_does_not_come_to_an_end_is_learned_however_absurd_it_seemed() -> None:
    model = regression()
    teach(model, 500)
    teach(model, 1500, times=30.0, begin=500.0)
    x = np.array([1.0, 1.0, 1.0])
    assert float(x @ model.coefficients(2000.0)[:, 0]) == pytest.approx(
        30 * float(x @ TRUTH), rel=0.25
    )


def test_what_is_restored_goes_on_as_before_by_another_clock() -> None:
    model, again = regression(3), regression(0)
    teach(model, 40, slot=0)
    teach(model, 40, slot=2, times=2.0, begin=500.0)
    again.restore(json.loads(json.dumps(model.state())), 39.0)
    assert again.coefficients(100.0) == pytest.approx(model.coefficients(600.0))
    x = np.array([1.0, 0.5, 0.5])
    model.update(1, x, 3.0, scale=0.1, now=600.0)
    again.update(1, x, 3.0, scale=0.1, now=100.0)
    assert again.coefficients(101.0) == pytest.approx(model.coefficients(601.0))
    again.grow(5)
    again.check()


def test_what_was_learned_before_any_worker_is_restored_too() -> None:
    again = regression(0)
    again.restore(json.loads(json.dumps(regression(2).state())), 5.0)
    assert again.coefficients(5.0) == pytest.approx(np.column_stack([MEAN] * 2))
    with pytest.raises(ValueError, match="expected 3 coefficients"):
        again.restore(regression(1).state() | {"shared": [1.0]}, 0.0)


def test_coefficients_are_given_again_for_as_long_as_they_are_believed() -> None:
    lazy = FleetRegression([0.0, 0.0], [1.0, 1.0], refresh=0.5)
    lazy.grow(2)
    given = lazy.coefficients(1.0)
    lazy.update(0, np.array([1.0, 0.0]), 5.0, scale=0.1, now=1.1)
    assert lazy.coefficients(1.4) is given
    assert not np.array_equal(lazy.coefficients(1.6), given)
    lazy.grow(3)
    assert lazy.coefficients(1.6).shape == (2, 3)
