from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.evaluate.planted import Planted, planted
from tests.evaluate.tournaments import tournaments

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.mixture import (
    Mixture,
    MixtureFit,
    MixtureSettings,
    fit_mixture,
    log_likelihood,
    most_likely,
    normalise_rows,
    one_cluster,
    sums_of,
    wins_of,
)
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import directions

SETTINGS = MixtureSettings(concentration=8.0, evidence_weight=0.7, ridge=5.0, tol=0.0, max_iter=10)


def unit(data: Planted) -> NDArray[np.float64]:
    return directions(data.embeddings, np.zeros(data.embeddings.shape[1]))


def chance(n: int, n_clusters: int, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.ones(n_clusters), n)


def fitted(
    data: Planted,
    settings: MixtureSettings = SETTINGS,
    *,
    start: NDArray[np.float64] | None = None,
    n_clusters: int = 3,
) -> MixtureFit:
    return fit_mixture(
        unit(data),
        wins_of(data.comparisons, evidence=settings.evidence),
        chance(len(data.kind), n_clusters) if start is None else start,
        prior_M=fit_counts(count_wins(data.comparisons), ridge=1.0),
        settings=settings,
    )


def assert_same(fit: MixtureFit, other: MixtureFit, *, tol: float = 1e-6) -> None:
    np.testing.assert_allclose(fit.objective, other.objective, rtol=1e-9)
    np.testing.assert_allclose(fit.mixture.profiles_KM, other.mixture.profiles_KM, atol=tol)
    np.testing.assert_allclose(fit.mixture.centroids_KD, other.mixture.centroids_KD, atol=tol)
    np.testing.assert_allclose(fit.mixture.log_shares_K, other.mixture.log_shares_K, atol=tol)
    np.testing.assert_allclose(fit.responsibilities_QK, other.responsibilities_QK, atol=tol)


@pytest.mark.parametrize("evidence", ["sum", "mean"])
@pytest.mark.parametrize("learn_shares", [True, False])
@pytest.mark.parametrize(
    ("concentration", "evidence_weight"), [(8.0, 0.7), (30.0, 10.0), (0.0, 1.0), (5.0, 0.0)]
)
def test_no_round_lowers_the_objective(
    evidence: str, learn_shares: bool, concentration: float, evidence_weight: float
) -> None:
    settings = replace(
        SETTINGS,
        concentration=concentration,
        evidence_weight=evidence_weight,
        evidence=evidence,
        learn_shares=learn_shares,
    )
    fit = fitted(planted(150, n_models=6), settings, n_clusters=5)
    objective = np.array(fit.objective)
    assert (np.diff(objective) >= -1e-9 * np.abs(objective[1:])).all()


@given(tournaments(), st.integers(1, 4), st.integers(0, 99))
def test_no_round_lowers_the_objective_whatever_is_compared(
    comparisons: Comparisons, n_clusters: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    fit = fit_mixture(
        directions(rng.standard_normal((comparisons.n_queries, 3)), np.zeros(3)),
        wins_of(comparisons, evidence="sum"),
        chance(comparisons.n_queries, n_clusters, seed),
        prior_M=fit_counts(count_wins(comparisons), ridge=1.0),
        settings=SETTINGS,
    )
    objective = np.array(fit.objective)
    assert (np.diff(objective) >= -1e-9 * (1 + np.abs(objective[1:]))).all()
    np.testing.assert_allclose(fit.responsibilities_QK.sum(1), 1.0)


def test_the_objective_is_that_of_the_docstring() -> None:
    data = planted(30, n_models=4)
    fit = fitted(data, replace(SETTINGS, max_iter=1), n_clusters=2)
    mixture, settings = fit.mixture, SETTINGS
    votes, prior = data.comparisons, fit_counts(count_wins(data.comparisons), ridge=1.0)
    total = 0.0
    for query, embedding in enumerate(unit(data)):
        likelihoods = []
        for profile, centroid, log_share in zip(
            mixture.profiles_KM, mixture.centroids_KD, mixture.log_shares_K, strict=True
        ):
            score = log_share + settings.concentration * float(embedding @ centroid)
            for row in np.flatnonzero(votes.query == query):
                lead = profile[votes.model_b[row]] - profile[votes.model_a[row]]
                sign = 1 if votes.outcome[row] else -1
                score -= settings.evidence_weight * float(np.log1p(np.exp(-sign * lead)))
            likelihoods.append(np.exp(score))
        total += float(np.log(sum(likelihoods)))
    away = float(np.square(mixture.profiles_KM - prior).sum())
    total -= settings.evidence_weight * settings.ridge / 2 * away
    total += float(mixture.log_shares_K.sum())
    assert fit.objective == pytest.approx((total,))


def test_a_converged_mixture_is_left_as_it_is() -> None:
    data = planted(150, n_models=6)
    settings = replace(SETTINGS, max_iter=3000, tol=1e-15)
    fit = fitted(data, settings)
    again = fitted(data, replace(settings, max_iter=1), start=fit.responsibilities_QK)
    assert fit.converged
    np.testing.assert_allclose(again.responsibilities_QK, fit.responsibilities_QK, atol=1e-4)
    np.testing.assert_allclose(again.mixture.profiles_KM, fit.mixture.profiles_KM, atol=1e-3)


def test_one_cluster_with_the_pull_of_the_global_fit_is_the_global_fit() -> None:
    data = planted(100, n_models=5)
    fit = fit_mixture(
        unit(data),
        wins_of(data.comparisons, evidence="sum"),
        np.ones((100, 1)),
        prior_M=np.zeros(5),
        settings=replace(SETTINGS, ridge=1.0),
    )
    expected = fit_counts(count_wins(data.comparisons), ridge=1.0)
    np.testing.assert_allclose(fit.mixture.profiles_KM, expected[None], atol=1e-9)


def test_one_cluster_of_mean_evidence_weighs_all_queries_alike() -> None:
    data = planted(60, n_models=5)
    kept = np.random.default_rng(0).random(len(data.comparisons)) < 0.5
    votes = data.comparisons.take(kept)
    counted = np.bincount(votes.query, minlength=60)[votes.query]
    fit = fit_mixture(
        unit(data),
        wins_of(votes, evidence="mean"),
        np.ones((60, 1)),
        prior_M=np.zeros(5),
        settings=replace(SETTINGS, ridge=1.0, evidence="mean"),
    )
    expected = fit_counts(count_wins(votes, weight=1 / counted), ridge=1.0)
    np.testing.assert_allclose(fit.mixture.profiles_KM, expected[None], atol=1e-9)


def test_models_may_be_in_any_order() -> None:
    data = planted(80, n_models=6)
    order = np.random.default_rng(0).permutation(6)
    names = tuple(data.comparisons.models[index] for index in order)
    fit = fitted(data)
    other = fitted(data._replace(comparisons=data.comparisons.with_models(names)))
    back = np.argsort(order)
    profiles = other.mixture.profiles_KM[:, back]
    assert_same(fit, replace(other, mixture=replace(other.mixture, profiles_KM=profiles)))


def test_queries_may_be_in_any_order() -> None:
    data, start = planted(80, n_models=6), chance(80, 3)
    order = np.random.default_rng(0).permutation(80)
    other = fitted(data.of(order), start=start[order])
    back = np.argsort(order)
    shares = other.responsibilities_QK[back]
    assert_same(fitted(data, start=start), replace(other, responsibilities_QK=shares))


def test_clusters_may_be_in_any_order() -> None:
    data, start, order = planted(80, n_models=6), chance(80, 3), [2, 0, 1]
    fit, other = fitted(data, start=start), fitted(data, start=start[:, order])
    np.testing.assert_allclose(fit.objective, other.objective)
    np.testing.assert_allclose(fit.mixture.profiles_KM[order], other.mixture.profiles_KM, atol=1e-6)
    np.testing.assert_allclose(
        fit.responsibilities_QK[:, order], other.responsibilities_QK, atol=1e-6
    )


def test_a_comparison_may_be_told_the_other_way_round() -> None:
    data = planted(80, n_models=6)
    other = data._replace(comparisons=data.comparisons.swapped())
    assert_same(fitted(data), fitted(other))


def test_a_vote_is_two_votes_of_half_the_weight() -> None:
    data = planted(80, n_models=6)
    half = replace(data.comparisons, weight=data.comparisons.weight / 2)
    other = data._replace(comparisons=Comparisons.concat([half, half]))
    assert_same(fitted(data), fitted(other))


def test_twice_the_votes_are_the_same_mean_evidence() -> None:
    data = planted(80, n_models=6)
    settings = replace(SETTINGS, evidence="mean")
    twice = Comparisons.concat([data.comparisons] * 2)
    a, b = (wins_of(votes, evidence="mean") for votes in (data.comparisons, twice))
    np.testing.assert_allclose(a.toarray(), b.toarray())
    start, prior = chance(80, 3), np.zeros(6)
    one, other = (
        fit_mixture(unit(data), wins, start, prior_M=prior, settings=settings) for wins in (a, b)
    )
    assert_same(one, other)


def test_embeddings_may_be_turned() -> None:
    data = planted(80, n_models=6, n_features=5)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    fit, other = fitted(data), fitted(data._replace(embeddings=data.embeddings @ turn))
    centroids = other.mixture.centroids_KD @ turn.T
    assert_same(fit, replace(other, mixture=replace(other.mixture, centroids_KD=centroids)))


def test_evidence_of_no_weight_leaves_clusters_of_embeddings() -> None:
    data = planted(80, n_models=6)
    settings = replace(SETTINGS, evidence_weight=0.0)
    none = data.comparisons.take(np.zeros(len(data.comparisons), bool))
    with_votes, without = fitted(data, settings), fitted(data._replace(comparisons=none), settings)
    np.testing.assert_array_equal(with_votes.responsibilities_QK, without.responsibilities_QK)
    assert with_votes.objective == without.objective
    assert with_votes.mixture.profiles_KM.any()
    assert not without.mixture.profiles_KM.any()


def test_without_a_weight_of_embeddings_they_do_not_matter() -> None:
    data = planted(80, n_models=6)
    settings = replace(SETTINGS, concentration=0.0)
    other = data._replace(embeddings=data.embeddings[::-1])
    np.testing.assert_array_equal(
        fitted(data, settings).responsibilities_QK, fitted(other, settings).responsibilities_QK
    )


def test_a_large_ridge_leaves_the_prior() -> None:
    data = planted(80, n_models=6)
    fit = fitted(data, replace(SETTINGS, ridge=1e9))
    prior = fit_counts(count_wins(data.comparisons), ridge=1.0)
    np.testing.assert_allclose(fit.mixture.profiles_KM, np.tile(prior, (3, 1)), atol=1e-6)


def test_equal_shares_stay_equal() -> None:
    data = planted(80, shares=(0.7, 0.1, 0.1, 0.1))
    fit = fitted(data, replace(SETTINGS, learn_shares=False))
    assert not fit.mixture.log_shares_K.any()


def test_learned_shares_are_of_all_queries_and_none_is_zero() -> None:
    data = planted(80)
    start = np.zeros((80, 3))
    start[:, 0] = 1.0
    fit = fitted(data, replace(SETTINGS, max_iter=1), start=start)
    np.testing.assert_allclose(np.exp(fit.mixture.log_shares_K), np.array([81, 1, 1]) / 83)


def test_an_empty_cluster_has_the_prior_and_no_direction() -> None:
    data = planted(40, n_models=5)
    start = np.zeros((40, 2))
    start[:, 0] = 1.0
    prior = fit_counts(count_wins(data.comparisons), ridge=1.0)
    sums = sums_of(unit(data), wins_of(data.comparisons, evidence="sum"), start)
    mixture = most_likely(sums, prior_M=prior, start_KM=np.tile(prior, (2, 1)), settings=SETTINGS)
    np.testing.assert_allclose(mixture.profiles_KM[1], prior)
    assert not mixture.centroids_KD[1].any()


def test_sums_of_parts_add_up() -> None:
    data, start = planted(40, n_models=5), chance(40, 3)
    first, second = data.of(slice(25)), data.of(slice(25, None))
    whole, one, other = (
        sums_of(unit(part), wins_of(part.comparisons, evidence="sum"), shares)
        for part, shares in ((data, start), (first, start[:25]), (second, start[25:]))
    )
    together = one + other
    np.testing.assert_allclose(together.wins_KMM, whole.wins_KMM)
    np.testing.assert_allclose(together.embeddings_KD, whole.embeddings_KD)
    np.testing.assert_allclose(together.sizes_K, whole.sizes_K)


def test_without_evidence_the_posterior_is_the_prior() -> None:
    data = planted(40)
    mixture = fitted(data).mixture
    none = wins_of(data.comparisons.take(np.zeros(len(data.comparisons), bool)), evidence="sum")
    x = unit(data)
    np.testing.assert_array_equal(mixture.prior(x), mixture.posterior(x, none))


def test_a_row_of_zeros_belongs_to_clusters_by_their_shares() -> None:
    mixture = fitted(planted(40)).mixture
    np.testing.assert_allclose(
        mixture.prior(np.zeros((1, 16)))[0], np.exp(mixture.log_shares_K), rtol=1e-12
    )


def test_single_precision_is_nearly_double() -> None:
    data = planted(150, n_models=6)
    settings = replace(SETTINGS, max_iter=5)
    wins, start = wins_of(data.comparisons, evidence="sum"), chance(150, 3)
    double, single = (
        fit_mixture(x, wins, start, prior_M=np.zeros(6), settings=settings)
        for x in (unit(data), unit(data).astype(np.float32))
    )
    np.testing.assert_allclose(double.responsibilities_QK, single.responsibilities_QK, atol=1e-3)
    assert single.responsibilities_QK.dtype == np.float64


def test_what_it_is_given_is_not_changed() -> None:
    data, start = planted(40, n_models=5), chance(40, 3)
    x, kept = unit(data), start.copy()
    x.flags.writeable = start.flags.writeable = False
    fitted(data._replace(embeddings=x), start=start)
    np.testing.assert_array_equal(start, kept)


def test_log_likelihoods_are_those_of_each_query() -> None:
    data = planted(20, n_models=5)
    profiles = np.random.default_rng(0).standard_normal((3, 5))
    expected = np.zeros((20, 3))
    votes = data.comparisons
    for row in range(len(votes)):
        lead = profiles[:, votes.model_b[row]] - profiles[:, votes.model_a[row]]
        y = votes.outcome[row]
        expected[votes.query[row]] -= y * np.log1p(np.exp(-lead)) + (1 - y) * np.log1p(np.exp(lead))
    np.testing.assert_allclose(log_likelihood(wins_of(votes, evidence="sum"), profiles), expected)


def test_rows_far_from_zero_are_normalised_without_overflow() -> None:
    scores = np.array([[1e6, 1e6 - np.log(3)], [-1e6, -1e9]])
    shares, log_total = normalise_rows(scores)
    np.testing.assert_allclose(shares, [[0.75, 0.25], [1.0, 0.0]])
    np.testing.assert_allclose(log_total, [1e6 + np.log(4 / 3), -1e6])


def test_a_fit_becomes_one_cluster_of_a_given_profile() -> None:
    data = planted(40, n_models=5)
    profile = np.arange(5.0)
    fit = one_cluster(fitted(data), profile)
    assert fit.mixture.n_clusters == 1
    np.testing.assert_array_equal(fit.responsibilities_QK, np.ones((40, 1)))
    np.testing.assert_array_equal(fit.mixture.profiles_KM, profile[None])
    assert np.linalg.norm(fit.mixture.centroids_KD) == pytest.approx(1.0)
    np.testing.assert_array_equal(fit.mixture.prior(unit(data)), np.ones((40, 1)))


def test_models_are_no_necessity() -> None:
    none = Comparisons.from_arrays([], [], [], [], models=(), n_queries=20)
    fit = fitted(planted(20)._replace(comparisons=none))
    assert fit.mixture.profiles_KM.shape == (3, 0)
    np.testing.assert_allclose(fit.responsibilities_QK.sum(1), 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concentration", -1.0),
        ("concentration", float("nan")),
        ("evidence_weight", -1.0),
        ("ridge", 0.0),
        ("evidence", "median"),
        ("max_iter", 0),
        ("tol", -1.0),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(SETTINGS, **{name: value})


def test_more_evidence_makes_surer() -> None:
    data = planted(200, signal=0.3)
    mixture: Mixture = fitted(data, n_clusters=4).mixture
    x = unit(data)
    few = data.comparisons.take(np.arange(len(data.comparisons)) % 7 < 2)
    entropies = []
    for votes in (few, data.comparisons):
        shares = mixture.posterior(x, wins_of(votes, evidence="sum"))
        entropies.append(float(-(shares * np.log(shares + 1e-300)).sum(1).mean()))
    assert entropies[0] > entropies[1]
