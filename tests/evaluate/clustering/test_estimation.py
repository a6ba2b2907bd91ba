from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from tests.evaluate.planted import Planted, planted

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering import estimation
from triskele.evaluate.clustering.calibration import GLOBAL_ONLY, PLAIN
from triskele.evaluate.clustering.estimation import (
    GLOBAL_RIDGE,
    Estimate,
    EstimationSettings,
    estimate,
)
from triskele.evaluate.clustering.mixture import MixtureSettings
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import center_of, directions, of_queries

SETTINGS = EstimationSettings(
    n_clusters=4,
    mixture=MixtureSettings(concentration=8.0, evidence_weight=0.7, ridge=5.0),
    shrink="global",
    init="means",
    n_init=1,
    trend_ridge=None,
    n_landmarks=50,
    n_folds=4,
)


def unit(data: Planted) -> NDArray[np.float64]:
    return directions(data.embeddings, center_of(data.embeddings))


def estimated(data: Planted, settings: EstimationSettings = SETTINGS, *, seed: int = 0) -> Estimate:
    return estimate(
        unit(data), data.comparisons, settings=settings, rng=np.random.default_rng(seed)
    )


def few(data: Planted, n: int) -> Planted:
    """Keep the comparisons of the first n queries."""
    return data._replace(comparisons=data.comparisons.take(data.comparisons.query < n))


def test_the_global_profile_is_that_of_all_comparisons() -> None:
    data = planted(100)
    expected = fit_counts(count_wins(data.comparisons), ridge=GLOBAL_RIDGE)
    np.testing.assert_allclose(estimated(data).global_M, expected)


def test_what_differs_is_found_and_believed() -> None:
    found = estimated(planted(400))
    assert found.calibration is not None
    assert found.calibration.is_structured
    assert not found.is_global
    assert found.clusters.mixture.n_clusters == 4
    assert found.trend is not None


def test_shuffled_evidence_leaves_one_cluster_and_the_global_profile() -> None:
    data = planted(400)
    shuffled = np.random.default_rng(0).permutation(len(data.comparisons))
    votes = replace(data.comparisons, query=data.comparisons.query[shuffled])
    found = estimated(data._replace(comparisons=votes))
    assert found.is_global
    assert found.clusters.mixture.n_clusters == 1
    none = of_queries(None, 400)
    np.testing.assert_allclose(
        found.capabilities(unit(data), none), np.tile(found.global_M, (400, 1))
    )


def test_few_queries_are_all_fitted_and_weights_are_taken_on_trust() -> None:
    found = estimated(few(planted(100), 39))
    assert found.calibration is not None
    assert found.calibration.weights == PLAIN
    assert np.isnan(found.calibration.gain)


def test_as_many_queries_as_needed_are_held_out() -> None:
    found = estimated(few(planted(100), 40))
    assert found.calibration is not None
    assert np.isfinite(found.calibration.gain)


def test_comparisons_of_no_weight_are_passed_over() -> None:
    data = planted(100)
    weight = (data.comparisons.query < 60).astype(float)
    none = data._replace(comparisons=replace(data.comparisons, weight=weight))
    found, without = estimated(none), estimated(few(data, 60))
    assert found.calibration == without.calibration
    np.testing.assert_array_equal(
        found.clusters.mixture.profiles_KM, without.clusters.mixture.profiles_KM
    )


def test_without_folds_there_are_clusters_alone() -> None:
    found = estimated(planted(100), replace(SETTINGS, n_folds=0))
    assert found.calibration is None
    assert found.trend is None


def test_without_landmarks_there_is_no_trend() -> None:
    found = estimated(planted(100), replace(SETTINGS, n_landmarks=0))
    assert found.trend is None
    assert found.calibration is not None
    # What a part says that is always zero is not to be learned.
    assert found.calibration.weights[1] == pytest.approx(1.0)


@pytest.mark.parametrize("n_models", [0, 1])
def test_models_that_cannot_be_compared_leave_clusters_alone(n_models: int) -> None:
    none = Comparisons.from_arrays([], [], [], [], models=("x",)[:n_models], n_queries=50)
    data = planted(50)._replace(comparisons=none)
    found = estimated(data)
    assert found.calibration is None
    assert found.capabilities(unit(data), none).shape == (50, n_models)


def test_models_that_were_not_compared_are_alike() -> None:
    none = Comparisons.from_arrays([], [], [], [], models=("x", "y"), n_queries=50)
    data = planted(50)._replace(comparisons=none)
    assert not estimated(data).capabilities(unit(data), none).any()


def test_a_given_ridge_is_taken_and_another_one_chosen() -> None:
    data = planted(200)
    given = estimated(data, replace(SETTINGS, trend_ridge=7.0))
    assert given.trend is not None
    assert given.trend.ridge == 7.0
    chosen = estimated(data)
    assert chosen.trend is not None
    assert chosen.trend.ridge in estimation.TREND_RIDGES


def test_of_several_starts_the_best_is_kept() -> None:
    data = planted(200, signal=0.3)
    settings = replace(SETTINGS, init="chance", n_folds=0)
    one = estimated(data, settings).clusters.objective[-1]
    several = estimated(data, replace(settings, n_init=5)).clusters.objective[-1]
    assert several >= one


def test_many_queries_are_held_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = planted(600)
    train, test = data.of(slice(400)), data.of(slice(400, None))
    monkeypatch.setattr(estimation, "MANY", 300)
    monkeypatch.setattr(estimation, "MOST_HELD_OUT", 80)
    once = estimated(train)
    assert once.clusters.responsibilities_QK.shape == (400, 4)
    assert not once.is_global
    monkeypatch.undo()
    crossed = estimated(train)
    asked, none = test.comparisons, of_queries(None, 200)
    x = directions(test.embeddings, center_of(train.embeddings))
    losses = [
        -np.log(np.abs(each.pairwise(x, none, asked) - (asked.outcome == 0))).mean()
        for each in (once, crossed)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_no_fit_sees_the_queries_that_it_is_weighed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons that were held out may say anything without a change of what is predicted."""
    data = planted(120)
    compared = np.arange(120)
    embeddings = unit(data)
    rest = np.ones(120, bool)

    def answers(votes: Comparisons) -> list[NDArray[np.float64]]:
        fits = estimation._Fits(embeddings, votes, SETTINGS, np.random.default_rng(0))
        fits._global = np.zeros(12)
        found = []
        for queries, parts in fits._held_out(compared, 12.0):
            said = parts(queries, of_queries(None, len(queries)))
            found.append(said.trend_QM + said.clusters_QM)
            rest[queries] = False
        return found

    before = answers(data.comparisons)
    assert not rest.any()
    # The first fold.
    other = data.comparisons
    changed = replace(other, outcome=np.where(other.query < 30, 1 - other.outcome, other.outcome))
    after = answers(changed)
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[3] != after[3]).any()


def test_a_mixture_alone_predicts_the_mean_of_its_clusters() -> None:
    data = planted(60)
    found = estimated(data, replace(SETTINGS, n_folds=0))
    x, votes = unit(data), data.comparisons
    share = found.responsibilities(x, votes)
    profiles = found.clusters.mixture.profiles_KM
    expected = sum(
        share[votes.query, k] * expit(profiles[k, votes.model_b] - profiles[k, votes.model_a])
        for k in range(4)
    )
    np.testing.assert_allclose(found.pairwise(x, votes, votes), expected)


def test_equal_seeds_give_equal_estimates() -> None:
    data = planted(120)
    one, other, third = (estimated(data, seed=seed) for seed in (0, 0, 1))
    assert one.calibration == other.calibration
    np.testing.assert_array_equal(
        one.clusters.mixture.profiles_KM, other.clusters.mixture.profiles_KM
    )
    assert one.calibration != third.calibration


def test_the_weights_of_one_profile_are_known_as_such() -> None:
    found = estimated(planted(100))
    assert found.calibration is not None
    alone = replace(found, calibration=replace(found.calibration, weights=GLOBAL_ONLY))
    assert alone.is_global
    assert not replace(found, calibration=None).is_global


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", 0),
        ("n_init", 0),
        ("n_landmarks", -1),
        ("n_folds", -1),
        ("n_folds", 1),
        ("trend_ridge", 0.0),
        ("shrink", "mean"),
        ("init", "luck"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name if name != "n_folds" else "n_folds"):
        replace(SETTINGS, **{name: value})
