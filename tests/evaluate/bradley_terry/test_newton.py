import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from tests.evaluate.tournaments import tournament, tournaments
from tests.oracles.bradley_terry import maximise, scores_by_query

from triskele.evaluate.bradley_terry.connectivity import groups, links
from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.comparisons import Comparisons

RIDGES = st.sampled_from([1e-6, 0.01, 1.0, 100.0])


def gradient(
    strengths: NDArray[np.float64],
    comparisons: Comparisons,
    ridge: float,
    prior: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    return np.asarray(scores_by_query(strengths, comparisons).sum(0) + ridge * (strengths - prior))


def counts_of(n_models: int = 8, n: int = 400, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return count_wins(tournament(rng.normal(size=n_models), n, rng, tie_share=0.2))


def test_strengths_are_those_of_a_general_minimiser() -> None:
    rng = np.random.default_rng(0)
    comparisons = tournament(rng.normal(size=5), 60, rng, tie_share=0.2)
    prior = rng.normal(size=5)
    found = fit_counts(count_wins(comparisons), ridge=0.3, prior=prior)
    assert found == pytest.approx(maximise(comparisons, ridge=0.3, prior=prior), abs=1e-5)


@settings(deadline=None)
@given(tournaments(), RIDGES, st.data())
def test_the_gradient_vanishes_whatever_was_played(
    comparisons: Comparisons, ridge: float, data: st.DataObject
) -> None:
    n_models = comparisons.n_models
    prior = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=n_models, max_size=n_models)))
    wins = count_wins(comparisons)
    found = fit_counts(wins, ridge=ridge, prior=prior)
    size = wins.sum(0) + wins.sum(1) + ridge * (1 + np.abs(found))
    assert (np.abs(gradient(found, comparisons, ridge, prior)) <= 1e-10 * size).all()
    assert found.mean() == pytest.approx(prior.mean(), abs=1e-9)


@settings(deadline=None)
@given(tournaments(), RIDGES, st.permutations(range(6)))
def test_the_order_of_the_models_does_not_matter(
    comparisons: Comparisons, ridge: float, order: list[int]
) -> None:
    order = [model for model in order if model < comparisons.n_models]
    wins = count_wins(comparisons)
    permuted = fit_counts(wins[np.ix_(order, order)], ridge=ridge)
    assert permuted == pytest.approx(fit_counts(wins, ridge=ridge)[order], abs=1e-8)


@settings(deadline=None)
@given(tournaments(), RIDGES)
def test_wins_for_losses_turn_strengths_round(comparisons: Comparisons, ridge: float) -> None:
    wins = count_wins(comparisons)
    assert fit_counts(wins.T, ridge=ridge) == pytest.approx(
        -fit_counts(wins, ridge=ridge), abs=1e-8
    )


@settings(deadline=None)
@given(tournaments(), RIDGES, st.floats(-5, 5))
def test_a_shift_of_the_prior_shifts_the_strengths(
    comparisons: Comparisons, ridge: float, shift: float
) -> None:
    wins = count_wins(comparisons)
    shifted = fit_counts(wins, ridge=ridge, prior=shift)
    assert shifted == pytest.approx(fit_counts(wins, ridge=ridge) + shift, abs=1e-8)


@pytest.mark.parametrize("factor", [1e-300, 1e-3, 1e3, 1e300])
def test_only_the_ratio_of_counts_and_ridge_matters(factor: float) -> None:
    wins = counts_of()
    scaled = fit_counts(wins * factor, ridge=0.1 * factor)
    assert scaled == pytest.approx(fit_counts(wins, ridge=0.1), abs=1e-12)


def test_tables_are_fitted_together_as_they_are_alone() -> None:
    tables = np.stack([counts_of(seed=seed, n=n) for seed, n in enumerate([0, 5, 50, 5000] * 2)])
    tables = tables.reshape(2, 4, 8, 8)
    ridge = np.array([[1e-6, 1e-3, 1, 10], [0.1, 0.1, 0.1, 0.1]])
    prior = np.random.default_rng(1).normal(size=(2, 4, 8))
    together = fit_counts(tables, ridge=ridge, prior=prior)
    for place in np.ndindex(2, 4):
        alone = fit_counts(tables[place], ridge=ridge[place], prior=prior[place])
        assert together[place] == pytest.approx(alone, abs=1e-9)


def test_a_start_does_not_change_the_answer() -> None:
    wins = np.stack([counts_of(seed=seed) for seed in range(3)])
    cold = fit_counts(wins)
    for start in (cold, cold + 5.0, 30 * cold[0], np.zeros(8)):
        assert fit_counts(wins, start=start) == pytest.approx(cold, abs=1e-9)


def test_strengths_are_those_of_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    comparisons = tournament(rng.normal(size=7), 300, rng)
    design = np.eye(7)[comparisons.model_b] - np.eye(7)[comparisons.model_a]
    for ridge in (0.1, 1.0, 10.0):
        peer = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-10, max_iter=1000)
        peer.fit(design, comparisons.outcome)
        found = fit_counts(count_wins(comparisons), ridge=ridge)
        assert found == pytest.approx(peer.coef_[0], abs=1e-6)


def test_strengths_are_those_of_choix_and_evalica_where_the_ridge_vanishes() -> None:
    choix = pytest.importorskip("choix")
    evalica = pytest.importorskip("evalica")
    rng = np.random.default_rng(0)
    comparisons = tournament(rng.normal(size=7), 500, rng)
    wins = count_wins(comparisons)
    found = fit_counts(wins, ridge=1e-9)
    assert found == pytest.approx(fit_counts(wins, ridge=0.0), abs=1e-8)
    assert found == pytest.approx(choix.ilsr_pairwise_dense(wins, tol=1e-12), abs=1e-7)
    of_evalica = evalica.bradley_terry(
        [comparisons.models[model] for model in comparisons.model_a],
        [comparisons.models[model] for model in comparisons.model_b],
        [evalica.Winner.Y if won else evalica.Winner.X for won in comparisons.outcome],
        tolerance=1e-14,
        limit=10_000,
    )
    logs = np.log([of_evalica.scores[name] for name in comparisons.models])
    assert found == pytest.approx(logs - logs.mean(), abs=1e-7)


def test_without_a_ridge_each_group_keeps_the_mean_of_its_prior() -> None:
    wins = np.zeros((5, 5))
    wins[0, 1] = wins[2, 3] = 3
    wins[1, 0] = wins[3, 2] = 1
    prior = np.array([1.0, 3.0, 0.0, -2.0, 7.0])
    found = fit_counts(wins, ridge=0.0, prior=prior)
    half = np.log(3) / 2
    assert found == pytest.approx([2 + half, 2 - half, -1 + half, -1 - half, 7], abs=1e-12)
    assert fit_counts(wins, ridge=1e-12, prior=prior) == pytest.approx(found, abs=1e-9)


@settings(deadline=None)
@given(tournaments())
def test_the_limit_of_a_vanishing_ridge_is_no_ridge(comparisons: Comparisons) -> None:
    # A little of everything won, so that there is a maximum.
    wins = count_wins(comparisons)
    wins += 0.1 * (wins + wins.T > 0)
    found = fit_counts(wins, ridge=0.0)
    assert fit_counts(wins, ridge=1e-9) == pytest.approx(found, abs=1e-5)
    group = groups(links(wins))
    for name in np.unique(group):
        assert found[group == name].mean() == pytest.approx(0, abs=1e-9)


def test_models_that_would_be_infinitely_strong_are_named() -> None:
    wins = counts_of()
    wins[:, 2] = 0
    wins[5, :] = 0
    message = r"expected a ridge above 0 for table 1: models \[2\] lost nothing .*, models \[5\]"
    with pytest.raises(ValueError, match=message):
        fit_counts(np.stack([counts_of(), wins]), ridge=0.0)
    assert np.isfinite(fit_counts(wins, ridge=1e-9)).all()


@pytest.mark.parametrize("ridge", [1e-15, 1e-6, 1.0])
def test_who_only_wins_stands_where_the_ridge_holds_them(ridge: float) -> None:
    found = fit_counts([[0.0, 10.0], [0.0, 0.0]], ridge=ridge)
    lead = found[0] - found[1]
    assert 10 * expit(-lead) == pytest.approx(ridge * lead / 2, rel=1e-9)


@pytest.mark.parametrize("weight", [1e-300, 1e-30, 1e-9])
def test_a_light_loss_holds_back_even_without_a_ridge(weight: float) -> None:
    found = fit_counts([[0.0, 1.0], [weight, 0.0]], ridge=0.0)
    assert found[0] - found[1] == pytest.approx(-np.log(weight), rel=1e-9)


def test_light_comparisons_count_beside_heavy_ones() -> None:
    wins = np.zeros((3, 3))
    wins[0, 1], wins[1, 0] = 1e6, 2e6
    wins[1, 2], wins[2, 1] = 1e-290, 3e-290
    found = fit_counts(wins, ridge=0.0)
    assert found[0] - found[1] == pytest.approx(-np.log(2), rel=1e-9)
    assert found[2] - found[1] == pytest.approx(np.log(3), rel=1e-9)


def test_far_priors_and_starts_overflow_nothing() -> None:
    wins = counts_of()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.isfinite(fit_counts(wins, prior=np.linspace(-1e4, 1e4, 8))).all()
        far = fit_counts(wins, ridge=0.0, start=np.linspace(-700, 700, 8))
    assert far == pytest.approx(fit_counts(wins, ridge=0.0), abs=1e-9)


def test_without_wins_the_answer_is_the_prior() -> None:
    prior = np.array([1.0, 2.0, -4.0])
    assert fit_counts(np.zeros((3, 3)), prior=prior).tolist() == prior.tolist()
    assert fit_counts(np.zeros((3, 3)), ridge=0.0, prior=prior).tolist() == prior.tolist()


def test_ties_alone_make_all_equal() -> None:
    assert fit_counts(np.ones((4, 4)) - np.eye(4)) == pytest.approx(np.zeros(4), abs=1e-15)


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (0, 3, 3), (2, 0, 0), (4, 1, 1)])
def test_nothing_to_fit_is_fitted(shape: tuple[int, ...]) -> None:
    assert fit_counts(np.zeros(shape)).shape == shape[:-1]
    assert fit_counts(np.zeros(shape), ridge=0.0).shape == shape[:-1]


def test_a_large_ridge_leaves_the_prior_alone() -> None:
    prior = np.linspace(-1, 1, 8)
    assert fit_counts(counts_of(), ridge=1e12, prior=prior) == pytest.approx(prior, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wins": np.zeros((2, 3))}, r"expected square tables of wins, got shape \(2, 3\)"),
        ({"wins": np.zeros(3)}, "expected square tables of wins"),
        ({"wins": [[0, -1], [0, 0]]}, "expected wins that are finite and at least 0"),
        ({"wins": [[0, np.nan], [0, 0]]}, "expected wins that are finite and at least 0"),
        ({"wins": np.eye(2)}, "expected zeros in the diagonal"),
        ({"ridge": -1.0}, "expected a ridge of at least 0, got -1"),
        ({"ridge": np.inf}, "expected a finite ridge"),
        ({"ridge": [1.0, 2.0, 3.0]}, r"expected a ridge of shape \(\), got \(3,\)"),
        ({"prior": np.zeros(3)}, r"expected a prior of shape \(2,\), got \(3,\)"),
        ({"prior": [0, np.inf]}, "expected a finite prior"),
        ({"start": [0, np.nan]}, "expected a finite start"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_counts(**({"wins": np.zeros((2, 2))} | options))  # type: ignore[arg-type]


def test_steps_that_are_not_enough_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triskele.evaluate.bradley_terry.newton.MAX_ROUNDS", 2)
    with pytest.warns(UserWarning, match="1 of 2 tables of wins did not converge"):
        fit_counts(np.stack([np.zeros((8, 8)), counts_of()]), ridge=1e-9)


def test_random_tables_of_all_kinds_converge() -> None:
    rng = np.random.default_rng(0)
    wins = 10 ** rng.uniform(-6, 6, size=(500, 6, 6)) * (rng.random((500, 6, 6)) < 0.4)
    wins *= ~np.eye(6, dtype=bool)
    ridge = 10 ** rng.uniform(-6, 2, size=500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_counts(wins, ridge=ridge)
    lead = found[:, :, None] - found[:, None, :]
    surplus = wins.swapaxes(1, 2) * expit(lead)
    left = surplus.sum(2) - surplus.sum(1) + ridge[:, None] * found
    size = surplus.sum(2) + surplus.sum(1) + ridge[:, None] * (1 + np.abs(found))
    # The sums over heavily weighted models are rounded.
    assert (np.abs(left) <= 1e-9 * size + 1e-15 * size.max(1, keepdims=True)).all()
