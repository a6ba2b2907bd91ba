from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from tests.evaluate.planted import Planted, planted

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.calibration import (
    GLOBAL_ONLY,
    PLAIN,
    Calibration,
    Parts,
    calibrate,
    parts_of,
    recalibrated,
    uncalibrated,
)
from triskele.evaluate.clustering.evidence import N_TRACES, traces
from triskele.evaluate.clustering.mixture import Mixture, MixtureSettings, wins_of
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import directions

N_PARTS = 4 + N_TRACES


def random_parts(n: int = 6, n_models: int = 5) -> Parts:
    rng = np.random.default_rng(0)
    return Parts(
        global_M=rng.standard_normal(n_models),
        trend_QM=rng.standard_normal((n, n_models)),
        clusters_QM=rng.standard_normal((n, n_models)),
        shift_QM=rng.standard_normal((n, n_models)),
        traces_3QM=rng.standard_normal((N_TRACES, n, n_models)),
    )


def oracle(data: Planted) -> Mixture:
    """Return the mixture that queries were drawn from."""
    n_kinds = len(data.profiles)
    x = directions(data.embeddings, np.zeros(data.embeddings.shape[1]))
    centers = np.array([x[data.kind == kind].mean(0) for kind in range(n_kinds)])
    return Mixture(
        profiles_KM=data.profiles,
        centroids_KD=centers / np.linalg.norm(centers, axis=1, keepdims=True),
        log_shares_K=np.log(np.full(n_kinds, 1 / n_kinds)),
        settings=MixtureSettings(concentration=8.0, evidence_weight=1.0, ridge=1.0),
    )


Answer = Callable[[NDArray[np.int64], Comparisons], Parts]


def answers(data: Planted, mixture: Mixture) -> Answer:
    x = directions(data.embeddings, np.zeros(data.embeddings.shape[1]))
    overall = fit_counts(count_wins(data.comparisons), ridge=1.0)

    def parts(queries: NDArray[np.int64], shown: Comparisons) -> Parts:
        trend = np.tile(overall, (len(queries), 1))
        return parts_of(x[queries], trend, mixture, overall, shown)

    return parts


def calibrated(data: Planted, mixture: Mixture, seed: int = 0) -> Calibration:
    held_out = [(np.arange(len(data.kind)), answers(data, mixture))]
    return calibrate(held_out, data.comparisons, rng=np.random.default_rng(seed))


def test_log_odds_are_differences_of_what_parts_say() -> None:
    parts = random_parts()
    asked = Comparisons.from_arrays([0, 5, 2], [0, 1, 4], [3, 0, 2], [1.0, 0.0, 0.5])
    table = parts.log_odds(asked)
    assert table.shape == (3, N_PARTS)
    weights = tuple(np.random.default_rng(1).random(N_PARTS).tolist())
    θ = parts.capabilities(weights)
    rows = asked.query
    np.testing.assert_allclose(table @ weights, θ[rows, asked.model_b] - θ[rows, asked.model_a])


def test_weight_on_the_global_profile_alone_leaves_it() -> None:
    parts = random_parts()
    np.testing.assert_array_equal(parts.capabilities(GLOBAL_ONLY), np.tile(parts.global_M, (6, 1)))


def test_parts_without_evidence_are_those_of_the_embeddings() -> None:
    data = planted(20)
    none = data.comparisons.take(np.zeros(len(data.comparisons), bool))
    parts = answers(data, oracle(data))(np.arange(20), none)
    assert not parts.shift_QM.any()
    assert not parts.traces_3QM.any()


@pytest.mark.parametrize("evidence", ["sum", "mean"])
def test_parts_take_evidence_as_the_mixture_does(evidence: str) -> None:
    data = planted(20)
    mixture = oracle(data)
    settings = replace(mixture.settings, evidence=evidence)
    mixture = replace(mixture, settings=settings)
    parts = answers(data, mixture)(np.arange(20), data.comparisons)
    x = directions(data.embeddings, np.zeros(16))
    after = mixture.posterior(x, wins_of(data.comparisons, evidence=evidence))
    np.testing.assert_allclose(parts.clusters_QM + parts.shift_QM, after @ data.profiles)
    np.testing.assert_array_equal(parts.traces_3QM, traces(data.comparisons, parts.trend_QM))


def test_clusters_that_are_true_are_believed() -> None:
    data = planted(800)
    found = calibrated(data, oracle(data))
    assert found.is_structured
    assert found.weights[2] == pytest.approx(1.0, abs=0.25)
    assert found.weights[3] == pytest.approx(1.0, abs=0.25)
    # Outcomes depend on the kind alone, so comparisons tell nothing beyond it.
    assert max(found.weights[4:]) < 0.3
    assert found.gain > 10 * found.gain_error


def test_clusters_that_are_nothing_to_the_outcomes_are_not_believed() -> None:
    data = planted(800, spread=0.0)
    nonsense = replace(oracle(data), profiles_KM=np.random.default_rng(9).standard_normal((4, 12)))
    found = calibrated(data, nonsense)
    assert not found.is_structured
    assert found.weights[2] < 0.1
    assert abs(found.gain) < 0.005


def test_shuffled_outcomes_gain_nothing_and_seldom_seem_to() -> None:
    seemed = 0
    for seed in range(20):
        data = planted(150, seed=seed)
        shuffled = np.random.default_rng(seed).permutation(len(data.comparisons))
        votes = replace(data.comparisons, query=data.comparisons.query[shuffled])
        found = calibrated(data._replace(comparisons=votes), oracle(data), seed)
        seemed += found.is_structured
        assert abs(found.gain) < 0.02
    assert seemed <= 2


def test_right_and_wrong_are_deduced() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((1200, 12)) < expit(rng.standard_normal(12))
    rows, a, b = [], [], []
    for query, scores in enumerate(right):
        for _ in range(7):
            if scores.any() and not scores.all():
                rows.append(query)
                a.append(int(rng.choice(np.flatnonzero(~scores))))
                b.append(int(rng.choice(np.flatnonzero(scores))))
    votes = Comparisons.from_arrays(
        rows, a, b, np.ones(len(rows)), models=list(map(str, range(12))), n_queries=1200
    )
    data = planted(1200)._replace(comparisons=votes)
    found = calibrated(data, oracle(data))
    assert found.weights[4] > 4.0
    probe = Comparisons.from_arrays([0], [0], [1], [1.0], models=votes.models, n_queries=1)
    θ = answers(data, oracle(data))(np.array([0]), probe).capabilities(found.weights)[0]
    assert expit(θ[1] - np.delete(θ, [0, 1])).min() > 0.9
    assert expit(np.delete(θ, [0, 1]) - θ[0]).min() > 0.9


def test_queries_of_one_comparison_are_predicted_not_shown() -> None:
    data = planted(400, per_query=1)
    shown: list[int] = []
    asked: list[int] = []
    answer = answers(data, oracle(data))

    def watched(queries: NDArray[np.int64], evidence: Comparisons) -> Parts:
        shown.append(len(evidence))
        asked.append(len(queries))
        return answer(queries, evidence)

    calibrate([(np.arange(400), watched)], data.comparisons, rng=np.random.default_rng(0))
    assert sum(shown) == 0
    assert sum(asked) == 400


def test_as_many_comparisons_are_shown_to_a_quarter_of_the_queries_each() -> None:
    data = planted(80)
    shown: list[tuple[int, int]] = []
    answer = answers(data, oracle(data))

    def watched(queries: NDArray[np.int64], evidence: Comparisons) -> Parts:
        shown.append((len(queries), len(evidence)))
        return answer(queries, evidence)

    calibrate([(np.arange(80), watched)], data.comparisons, rng=np.random.default_rng(0))
    assert shown == [(20, 0), (20, 20), (20, 40), (20, 60)]


@pytest.mark.parametrize("weight", [1e-300, 1e-3, 1e3])
def test_the_gain_has_an_error_however_little_comparisons_weigh(weight: float) -> None:
    data = planted(100)
    votes = replace(data.comparisons, weight=np.full(len(data.comparisons), weight))
    answer = answers(data, oracle(data))

    def knowing(queries: NDArray[np.int64], shown: Comparisons) -> Parts:
        return replace(answer(queries, shown), trend_QM=data.profiles[data.kind[queries]])

    found = calibrate([(np.arange(100), knowing)], votes, rng=np.random.default_rng(0))
    assert found.gain > 5 * found.gain_error > 0


def test_without_weight_nothing_is_learned() -> None:
    data = planted(50)
    votes = replace(data.comparisons, weight=np.zeros(len(data.comparisons)))
    found = calibrated(data._replace(comparisons=votes), oracle(data))
    assert (found.gain, found.gain_error) == (0.0, 0.0)
    assert not found.is_structured


def test_the_error_of_the_gain_is_that_over_queries() -> None:
    gains, errors = [], []
    for seed in range(60):
        data = planted(100, seed=seed, spread=1.0)
        truth = replace(oracle(data), profiles_KM=data.profiles)
        found = calibrated(data, truth, seed)
        gains.append(found.gain)
        errors.append(found.gain_error)
    # Different worlds differ in more than the sampling of queries: the error is at most that.
    assert 0.2 * np.std(gains) < np.mean(errors) < 1.2 * np.std(gains)


def test_further_queries_correct_the_weights_as_much_as_they_weigh() -> None:
    data = planted(800)
    told = [(np.arange(800), answers(data, oracle(data)))]
    wrong = uncalibrated((1.0, 1.0, 3.0, 1.0, 0.0, 0.0, 0.0))
    weights = [
        recalibrated(
            wrong, told, data.comparisons, n_before=n, rng=np.random.default_rng(0)
        ).weights[2]
        for n in (0.0, 800.0 * 7, 1e9)
    ]
    assert weights[0] == pytest.approx(1.0, abs=0.25)
    assert weights[0] < weights[1] < weights[2]
    assert weights[2] == pytest.approx(3.0, abs=0.01)


def test_nothing_further_corrects_nothing() -> None:
    data = planted(20)
    none = data.comparisons.take(np.zeros(len(data.comparisons), bool))
    before = uncalibrated(PLAIN)
    told = [(np.arange(20), answers(data, oracle(data)))]
    after = recalibrated(before, told, none, n_before=0.0, rng=np.random.default_rng(0))
    assert after is before


def test_weights_that_were_not_learned_claim_no_gain() -> None:
    plain = uncalibrated(PLAIN)
    assert np.isnan(plain.gain)
    assert not plain.is_structured
    assert len(PLAIN) == len(GLOBAL_ONLY) == N_PARTS
