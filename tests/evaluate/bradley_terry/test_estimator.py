from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tests.evaluate.tournaments import tournament, tournaments

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.estimator import BradleyTerry, Intervals
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.comparisons import Comparisons

KINDS: tuple[Intervals, ...] = ("laplace", "sandwich", "bootstrap")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def some(n: int = 300) -> Comparisons:
    return tournament([0.0, 1.0, -1.0, 0.3], n, rng(), per_query=3, tie_share=0.1)


def test_strengths_are_those_of_the_counts_and_have_mean_zero() -> None:
    model = BradleyTerry(ridge=0.3, prior=[5, 6, 7, 8]).fit(some())
    expected = fit_counts(count_wins(some()), ridge=0.3, prior=[-1.5, -0.5, 0.5, 1.5])
    assert model.theta_ == pytest.approx(expected, abs=1e-10)
    assert model.theta_.sum() == pytest.approx(0, abs=1e-12)
    assert model.models_ == ("m0", "m1", "m2", "m3")
    assert (model.n_components_, model.components_.tolist()) == (1, [0, 0, 0, 0])
    assert model.coefficients_.shape == (0,)


def test_parameters_are_those_of_scikit_learn() -> None:
    model = BradleyTerry(ridge=0.5, intervals="bootstrap", n_bootstrap=20, random_state=3)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.set_params(ridge=2.0).ridge == 2.0
    assert "ridge=0.5" in repr(model)


def test_a_fit_changes_no_parameter() -> None:
    prior = [1.0, 2.0, 3.0, 4.0]
    model = BradleyTerry(prior=prior)
    model.fit(some())
    assert model.get_params()["prior"] is prior


@settings(deadline=None, max_examples=40)
@given(tournaments(min_models=1))
def test_whatever_was_played_all_is_finite_and_in_order(comparisons: Comparisons) -> None:
    for kind in KINDS:
        model = BradleyTerry(intervals=kind, n_bootstrap=5, random_state=0).fit(comparisons)
        assert np.isfinite(model.theta_).all()
        assert np.isfinite(model.covariance_).all()
        assert (model.lower_ <= model.upper_).all()
        assert np.linalg.eigvalsh(model.covariance_).min() > -1e-7 * (1 + np.ptp(model.covariance_))
        ranking = model.rank()
        assert sorted(ranking.order.tolist()) == list(range(comparisons.n_models))


@settings(deadline=None, max_examples=40)
@given(tournaments())
def test_telling_comparisons_the_other_way_round_changes_nothing(comparisons: Comparisons) -> None:
    one, other = (BradleyTerry().fit(of) for of in (comparisons, comparisons.swapped()))
    assert other.theta_ == pytest.approx(one.theta_, abs=1e-9)
    assert other.covariance_ == pytest.approx(one.covariance_, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(tournaments())
def test_a_comparison_may_be_split_into_two_of_half_the_weight(comparisons: Comparisons) -> None:
    twice = comparisons.take(np.repeat(np.arange(len(comparisons)), 2))
    halves = Comparisons.from_arrays(
        twice.query,
        twice.model_a,
        twice.model_b,
        twice.outcome,
        weight=twice.weight / 2,
        models=twice.models,
        n_queries=twice.n_queries,
    )
    for kind in ("laplace", "sandwich"):
        whole, split = (BradleyTerry(intervals=kind).fit(of) for of in (comparisons, halves))
        assert split.theta_ == pytest.approx(whole.theta_, abs=1e-9)
        assert split.covariance_ == pytest.approx(whole.covariance_, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(tournaments())
def test_the_order_of_models_does_not_matter(comparisons: Comparisons) -> None:
    order = list(reversed(comparisons.models))
    one, other = (BradleyTerry().fit(of) for of in (comparisons, comparisons.with_models(order)))
    assert other.theta_[::-1] == pytest.approx(one.theta_, abs=1e-8)
    assert other.covariance_[::-1, ::-1] == pytest.approx(one.covariance_, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_query", [1, 4])
def test_intervals_hold_as_often_as_they_should(kind: Intervals, per_query: Literal[1, 4]) -> None:
    truth = np.array([-0.8, -0.2, 0.0, 0.3, 0.7])
    draws, n = rng(), 100 if kind == "bootstrap" else 400
    held = np.zeros(5)
    for _ in range(n):
        comparisons = tournament(truth, 400, draws, per_query=per_query)
        model = BradleyTerry(intervals=kind, level=0.9, n_bootstrap=200, random_state=draws)
        model.fit(comparisons)
        held += (model.lower_ <= truth) & (truth <= model.upper_)
    assert held.mean() / n == pytest.approx(0.9, abs=0.03)


def test_intervals_hold_where_comparisons_of_a_query_depend_on_each_other() -> None:
    truth, draws, n = np.array([-0.5, 0.0, 0.5]), rng(), 300
    held = dict.fromkeys(("laplace", "sandwich"), 0.0)
    for _ in range(n):
        # Each judgement is written down five times.
        once = tournament(truth, 150, draws)
        comparisons = once.take(np.repeat(np.arange(150), 5))
        for kind in ("laplace", "sandwich"):
            model = BradleyTerry(intervals=kind).fit(comparisons)
            held[kind] += ((model.lower_ <= truth) & (truth <= model.upper_)).mean() / n
    assert held["sandwich"] == pytest.approx(0.9, abs=0.03)
    assert held["laplace"] < 0.6


def test_the_covariance_is_that_of_the_errors() -> None:
    truth, draws = np.array([-0.8, -0.2, 0.3, 0.7]), rng()
    fits = [BradleyTerry(ridge=1e-6).fit(tournament(truth, 500, draws)) for _ in range(400)]
    errors = np.array([fit.theta_ - truth for fit in fits])
    average = np.mean([fit.covariance_ for fit in fits], axis=0)
    assert np.diagonal(average) == pytest.approx(np.diagonal(np.cov(errors.T)), rel=0.2)


def test_errors_fall_with_the_root_of_the_number_of_comparisons() -> None:
    truth, draws = np.linspace(-1, 1, 10), rng()

    def error(n: int) -> float:
        fits = [BradleyTerry(intervals=None).fit(tournament(truth, n, draws)) for _ in range(20)]
        return float(np.sqrt(np.mean([np.square(fit.theta_ - truth) for fit in fits])))

    assert error(1000) / error(100_000) == pytest.approx(10, rel=0.2)


def test_a_wider_level_is_a_wider_interval() -> None:
    narrow, wide = (BradleyTerry(level=level).fit(some()) for level in (0.5, 0.99))
    assert (wide.lower_ < narrow.lower_).all()
    assert (narrow.upper_ < wide.upper_).all()


def test_a_seed_draws_the_same_resamples() -> None:
    one, other = (
        BradleyTerry(intervals="bootstrap", n_bootstrap=30, random_state=7).fit(some())
        for _ in range(2)
    )
    assert (one.lower_ == other.lower_).all()


def test_who_only_won_is_finite_with_a_wide_interval() -> None:
    comparisons = Comparisons.from_arrays(
        [0, 1, 2, 3, 4], ["x", "x", "y", "z", "y"], ["top"] * 2 + ["z", "y", "top"], [1, 1, 1, 1, 1]
    )
    for kind in ("laplace", "sandwich"):
        model = BradleyTerry(intervals=kind).fit(comparisons)
        strongest = int(model.theta_.argmax())
        assert model.models_[strongest] == "top"
        assert 3 < model.upper_[strongest] - model.lower_[strongest] < 30


def test_without_a_ridge_those_who_only_won_or_lost_are_named() -> None:
    comparisons = Comparisons.from_arrays(
        range(4), ["x", "y", "x", "low"], ["y", "x", "top", "x"], [1, 1, 1, 1]
    )
    message = "expected a ridge above 0, .*: 'top' lost nothing to the others, 'low' won nothing"
    with pytest.raises(ValueError, match=message):
        BradleyTerry(ridge=0.0).fit(comparisons)


def test_groups_that_never_met_stand_at_their_prior_and_are_not_told_apart() -> None:
    comparisons = Comparisons.from_arrays(
        range(400), ["u", "v", "x", "y"] * 100, ["v", "u", "y", "x"] * 100, [1, 1, 1, 1] * 100
    ).take(np.arange(399))
    for ridge in (0.0, 1e-6):
        model = BradleyTerry(ridge=ridge).fit(comparisons)
        assert model.n_components_ == 2
        assert model.components_.tolist() == [0, 0, 1, 1]
        assert model.theta_[:2].sum() == pytest.approx(0, abs=1e-9)
        assert not model.rank().is_better.any()
    model = BradleyTerry(ridge=0.0, prior=[3, 3, -3, -3]).fit(comparisons)
    assert model.theta_[:2].mean() == pytest.approx(3)
    assert not model.rank().is_better[:2, 2:].any()


def test_a_model_without_comparisons_may_have_any_rank() -> None:
    wide = tournament([-2.0, 2.0], 1000, rng()).with_models(["m0", "new", "m1"])
    for ridge in (0.0, 1e-9):
        model = BradleyTerry(ridge=ridge).fit(wide)
        ranking = model.rank()
        assert (ranking.best[1], ranking.worst[1]) == (1, 3)
        assert ranking.is_better[2, 0]
    assert BradleyTerry(ridge=0.0).fit(wide).upper_[1] == np.inf


@pytest.mark.parametrize("kind", [None, *KINDS])
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_without_comparisons_strengths_are_the_prior(kind: Any, ridge: float) -> None:
    nothing = Comparisons.from_arrays([], [], [], [], models=["x", "y"], n_queries=3)
    model = BradleyTerry(ridge=ridge, prior=[0.0, 2.0], intervals=kind).fit(nothing)
    assert model.theta_.tolist() == [-1.0, 1.0]
    assert model.n_components_ == 2
    if kind is not None:
        expected = np.inf if ridge == 0 else 1 / ridge / 2
        assert np.diagonal(model.covariance_) == pytest.approx([expected] * 2)


def test_comparisons_without_weight_are_none() -> None:
    weightless = Comparisons.from_arrays([0, 1], [0, 0], [1, 1], [1, 1], weight=[0, 0])
    model = BradleyTerry().fit(weightless)
    assert model.theta_.tolist() == [0.0, 0.0]
    assert model.n_components_ == 2


@pytest.mark.parametrize("kind", KINDS)
def test_weights_next_to_nothing_leave_the_prior(kind: Intervals) -> None:
    light = Comparisons.from_arrays([0, 1], [0, 0], [1, 1], [1, 0.8], weight=[1e-300, 1e-300])
    model = BradleyTerry(prior=[-1.0, 1.0], intervals=kind, n_bootstrap=5).fit(light)
    assert model.theta_ == pytest.approx([-1.0, 1.0])


def test_ties_alone_make_all_equal() -> None:
    ties = Comparisons.from_arrays(range(3), [0, 1, 2], [1, 2, 0], [0.5] * 3)
    for ridge in (0.0, 0.01):
        model = BradleyTerry(ridge=ridge).fit(ties)
        assert model.theta_ == pytest.approx(np.zeros(3), abs=1e-15)
        assert model.rank().rank.tolist() == [1, 1, 1]


@pytest.mark.parametrize("ridge", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_one_model_has_strength_0_for_sure(kind: Intervals, ridge: float) -> None:
    alone = Comparisons.from_arrays([], [], [], [], models=["x"])
    model = BradleyTerry(ridge=ridge, intervals=kind).fit(alone)
    assert model.theta_.tolist() == model.lower_.tolist() == model.upper_.tolist() == [0.0]
    assert model.rank().ties == (("x",),)


def test_one_query_shows_nothing_of_how_queries_differ() -> None:
    one = tournament([0.0, 0.5, -0.5], 100, rng(), per_query=100)
    expected = BradleyTerry(intervals="laplace").fit(one)
    for kind in ("sandwich", "bootstrap"):
        model = BradleyTerry(intervals=kind).fit(one)
        assert model.covariance_ == pytest.approx(expected.covariance_)


def test_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="expected comparisons of at least one model, got none"):
        BradleyTerry().fit(Comparisons.from_arrays([], [], [], []))


def test_the_winner_is_predicted_from_the_difference_of_strengths() -> None:
    model = BradleyTerry().fit(some())
    lead = model.theta_[1] - model.theta_[2]
    assert model.predict_pairwise("m2", "m1") == pytest.approx(expit(lead))
    assert model.predict_pairwise(2, 1) == pytest.approx(expit(lead))
    table = model.predict_pairwise(np.arange(4)[:, None], np.arange(4))
    assert table + table.T == pytest.approx(np.ones((4, 4)))
    assert model.predict_pairwise(["m0", "m1"], ["m1", "m0"]).sum() == pytest.approx(1)


def test_only_models_of_the_fit_are_predicted() -> None:
    model = BradleyTerry().fit(some())
    with pytest.raises(ValueError, match="expected models of the fit, got 'q'"):
        model.predict_pairwise("m0", "q")
    with pytest.raises(ValueError, match="expected indices of 4 models, got 4"):
        model.predict_pairwise(0, 4)
    with pytest.raises(ValueError, match="expected names or indices of models, got float64"):
        model.predict_pairwise(0, 1.0)
    with pytest.raises(NotFittedError):
        BradleyTerry().predict_pairwise(0, 1)


def test_ranks_come_with_intervals_and_ties() -> None:
    model = BradleyTerry().fit(tournament([0.0, 0.0, 3.0], 2000, rng()))
    ranking = model.rank()
    assert ranking.rank[2] == ranking.worst[2] == 1
    assert ranking.ties[0] == ("m2",)
    assert set(ranking.ties[1]) == {"m0", "m1"}


def test_without_intervals_there_are_no_ranks() -> None:
    model = BradleyTerry().fit(some())
    model.set_params(intervals=None).fit(some())
    assert not hasattr(model, "covariance_")
    with pytest.raises(ValueError, match="expected a fit with intervals"):
        model.rank()


@pytest.mark.parametrize("kind", KINDS)
def test_covariates_are_controlled_for_and_have_intervals(kind: Intervals) -> None:
    draws = rng()
    base = tournament([0.0, 0.5, -0.5], 2000, draws)
    x = draws.normal(size=(2000, 2))
    θ = np.array([0.0, 0.5, -0.5])
    lead = θ[base.model_b] - θ[base.model_a] + x @ [0.8, 0.0]
    outcome = (draws.random(2000) < expit(lead)).astype(float)
    comparisons = Comparisons.from_arrays(base.query, base.model_a, base.model_b, outcome)
    model = BradleyTerry(intervals=kind, n_bootstrap=50, random_state=0, level=0.99)
    model.fit(comparisons, x)
    assert model.theta_ == pytest.approx(θ, abs=0.15)
    assert model.coefficients_ == pytest.approx([0.8, 0.0], abs=0.15)
    assert (model.coefficients_lower_ <= [0.8, 0.0]).all()
    assert (model.coefficients_upper_ >= [0.8, 0.0]).all()
    assert model.coefficients_lower_[0] > 0.5
    assert model.covariance_.shape == (3, 3)
    assert model.theta_.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ridge": -1.0}, "expected a finite ridge of at least 0, got -1"),
        ({"ridge": np.nan}, "expected a finite ridge"),
        ({"prior": [1.0]}, "expected a finite prior for 4 models"),
        ({"prior": [1.0, 2.0, 3.0, np.inf]}, "expected a finite prior for 4 models"),
        ({"intervals": "wald"}, "expected intervals to be one of .* or None, got 'wald'"),
        ({"level": 1.0}, "expected a level between 0 and 1, got 1"),
        ({"n_bootstrap": 1}, "expected at least 2 resamples, got n_bootstrap=1"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BradleyTerry(**parameters).fit(some())


def test_covariates_without_a_ridge_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a ridge above 0 with covariates"):
        BradleyTerry(ridge=0.0).fit(some(), np.ones((300, 1)))
