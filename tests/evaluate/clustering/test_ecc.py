import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.evaluate.planted import Planted, planted
from tests.oracles.evidence_calibrated_clustering import expectation, pairwise, published_rounds
from threadpoolctl import threadpool_limits

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.clustering.starts import by_chance
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.sampling import sample_comparisons, split_probes


def fitted(
    data: Planted, n_clusters: int = 4, **parameters: object
) -> EvidenceCalibratedClustering:
    given: dict[str, object] = {"n_landmarks": 50, **parameters}
    ecc = EvidenceCalibratedClustering(n_clusters, **given)
    return ecc.fit(data.embeddings, comparisons=data.comparisons)


def log_loss_of_global(ecc: EvidenceCalibratedClustering, votes: Comparisons) -> float:
    lead = ecc.global_[votes.model_b] - ecc.global_[votes.model_a]
    return float(np.average(np.logaddexp(0, lead) - votes.outcome * lead, weights=votes.weight))


def accuracy(p: NDArray[np.float64], votes: Comparisons) -> float:
    return float(np.mean((p > 0.5) == (votes.outcome > 0.5)))


def none_of(n: int, models: tuple[str, ...] = ()) -> Comparisons:
    return Comparisons.from_arrays([], [], [], [], models=models, n_queries=n)


@parametrize_with_checks(
    [EvidenceCalibratedClustering(3), EvidenceCalibratedClustering.published(3)]
)
def test_it_is_an_estimator_to_the_letter(
    estimator: EvidenceCalibratedClustering, check: Callable[[object], None]
) -> None:
    check(estimator)


# The published method.


@pytest.mark.parametrize("seed", [0, 1])
def test_the_published_settings_are_the_published_method_round_by_round(seed: int) -> None:
    data = planted(24, seed=seed, n_kinds=2, n_models=4, per_query=3, n_features=3)
    # Not all queries have as many votes, and a query has none.
    kept = (np.random.default_rng(seed).random(72) < 0.7) & (data.comparisons.query != 5)
    votes = data.comparisons.take(kept)
    unit = data.embeddings / np.linalg.norm(data.embeddings, axis=1, keepdims=True)
    drawn = np.random.RandomState(seed).randint(1 << 31)
    start = by_chance(24, 3, np.random.default_rng(drawn))
    rounds = published_rounds(unit, votes, start, 6)
    for n, expected in enumerate(rounds, start=1):
        ecc = EvidenceCalibratedClustering.published(3, random_state=seed)
        ecc.set_params(max_iter=n, tol=0.0).fit(data.embeddings, comparisons=votes)
        assert ecc.n_iter_ == n
        np.testing.assert_allclose(ecc.profiles_, expected.profiles, atol=1e-4)
        np.testing.assert_allclose(ecc.cluster_centers_, expected.centroids, atol=1e-4)
        np.testing.assert_allclose(ecc.responsibilities_, expected.responsibilities, atol=2e-3)
        np.testing.assert_allclose(ecc.objective_[-1] * ecc.temperature, expected.objective)


def test_the_published_method_predicts_as_published() -> None:
    data = planted(24, n_kinds=2, n_models=4, per_query=3, n_features=3)
    ecc = EvidenceCalibratedClustering.published(3)
    ecc.fit(data.embeddings, comparisons=data.comparisons)
    new = planted(10, seed=5, n_kinds=2, n_models=4, per_query=3, n_features=3)
    probes, asked = split_probes(
        new.comparisons, n_probes=1, disjoint=False, rng=np.random.default_rng(0)
    )
    unit = new.embeddings / np.linalg.norm(new.embeddings, axis=1, keepdims=True)
    votes = [
        [
            (int(probes.model_a[row]), int(probes.model_b[row]), float(probes.outcome[row]))
            for row in np.flatnonzero(probes.query == query)
        ]
        for query in range(10)
    ]
    shares, _ = expectation(unit, votes, ecc.profiles_, ecc.cluster_centers_)
    found = ecc.predict_proba(new.embeddings, comparisons=probes)
    np.testing.assert_allclose(found, shares, atol=1e-9)
    expected = [
        pairwise(ecc.profiles_, shares, query, a, b)
        for query, a, b in zip(asked.query, asked.model_a, asked.model_b, strict=True)
    ]
    np.testing.assert_allclose(
        ecc.predict_pairwise(new.embeddings, asked, comparisons=probes), expected
    )


@pytest.mark.parametrize("seed", range(3))
def test_no_round_lowers_the_published_objective(seed: int) -> None:
    data = planted(120, seed=seed)
    ecc = EvidenceCalibratedClustering.published(5, random_state=seed).set_params(tol=0.0)
    rises = np.diff(ecc.fit(data.embeddings, comparisons=data.comparisons).objective_)
    assert (rises > -1e-9 * abs(ecc.objective_[-1])).all()


# What is found.


def test_planted_clusters_are_recovered() -> None:
    data = planted(1500)
    ecc = fitted(data)
    assert adjusted_rand_score(data.kind, ecc.labels_) >= 0.98
    assert ecc.n_clusters_ == 4


def test_evidence_recovers_what_embeddings_tell_little_of() -> None:
    data = planted(1500, signal=0.6)
    by_embedding = fitted(data._replace(comparisons=none_of(1500)))
    assert adjusted_rand_score(data.kind, by_embedding.labels_) < 0.8
    assert adjusted_rand_score(data.kind, fitted(data).labels_) >= 0.9


@pytest.mark.parametrize("seed", range(3))
def test_clusters_of_unlike_sizes_are_recovered_by_several_starts(seed: int) -> None:
    data = planted(1500, seed=seed, shares=(0.55, 0.25, 0.15, 0.05))
    ecc = fitted(data, n_init=5, n_folds=0, random_state=seed)
    assert adjusted_rand_score(data.kind, ecc.labels_) >= 0.9


@pytest.mark.parametrize("parameters", [{}, {"n_landmarks": 0}, {"evidence": "mean"}])
def test_held_out_predictions_beat_one_ranking(parameters: dict[str, object]) -> None:
    data = planted(1500)
    train, test = data.of(slice(1000)), data.of(slice(1000, None))
    ecc = fitted(train, **parameters)
    asked = test.comparisons
    overall = ecc.global_[asked.model_b] > ecc.global_[asked.model_a]
    p = ecc.predict_pairwise(test.embeddings, asked)
    assert accuracy(p, asked) > np.mean(overall == (asked.outcome > 0.5)) + 0.04
    assert -ecc.score(test.embeddings, comparisons=asked) < 0.8 * log_loss_of_global(ecc, asked)
    assert ecc.calibration_ is not None
    gain = log_loss_of_global(ecc, asked) + ecc.score(test.embeddings, comparisons=asked)
    assert ecc.calibration_.gain == pytest.approx(gain, rel=0.3)


def test_what_is_known_of_a_query_helps() -> None:
    data = planted(1500, signal=0.4)
    train, test = data.of(slice(1000)), data.of(slice(1000, None))
    ecc = fitted(train)
    probes, asked = split_probes(
        test.comparisons, n_probes=3, disjoint=True, rng=np.random.default_rng(0)
    )
    without = ecc.score(test.embeddings, comparisons=asked)
    assert ecc.score(test.embeddings, comparisons=asked, evidence=probes) > without + 0.005


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_evidence_leaves_one_ranking_for_all(seed: int) -> None:
    data = planted(600, seed=seed)
    order = np.random.default_rng(seed).permutation(len(data.comparisons))
    votes = replace(data.comparisons, query=data.comparisons.query[order])
    ecc = fitted(data._replace(comparisons=votes))
    assert ecc.calibration_ is not None
    assert abs(ecc.calibration_.gain) < 0.01
    assert ecc.n_clusters_ == 1
    assert not ecc.labels_.any()
    expected = np.tile(ecc.global_, (600, 1))
    np.testing.assert_allclose(ecc.capabilities(data.embeddings), expected)
    np.testing.assert_allclose(ecc.capabilities(data.embeddings, votes), expected)
    np.testing.assert_allclose(ecc.profiles_, ecc.global_[None])


def test_right_and_wrong_by_chance_are_deduced_but_make_no_kinds_of_queries() -> None:
    rng = np.random.default_rng(5)
    scores = (rng.random((900, 10)) < expit(rng.standard_normal(10))).astype(np.float64)
    votes = sample_comparisons(scores, rng=rng)
    ecc = EvidenceCalibratedClustering(6).fit(rng.standard_normal((900, 8)), comparisons=votes)
    assert ecc.calibration_ is not None
    assert ecc.calibration_.gain > 0.1
    assert not ecc.calibration_.is_structured
    assert ecc.n_clusters_ == 1


def test_right_and_wrong_are_deduced_from_a_probe() -> None:
    rng = np.random.default_rng(0)
    ability = rng.standard_normal(10)
    right = (rng.random((1500, 10)) < 1 / (1 + np.exp(-ability))).astype(float)
    votes = sample_comparisons(right, per_query=7, rng=rng)
    x = rng.standard_normal((1500, 8))
    ecc = EvidenceCalibratedClustering(4, n_landmarks=20).fit(
        x[:1000], comparisons=votes.of_queries(np.arange(1000))
    )
    probes, asked = split_probes(
        votes.of_queries(np.arange(1000, 1500)), n_probes=1, disjoint=False, rng=rng
    )
    p = ecc.predict_pairwise(x[1000:], asked, comparisons=probes)
    cells = probes.query * 10
    shown = np.concatenate([cells + probes.model_a, cells + probes.model_b])
    is_decided = np.isin(asked.query * 10 + asked.model_a, shown) | np.isin(
        asked.query * 10 + asked.model_b, shown
    )
    assert is_decided.mean() > 0.2
    assert accuracy(p[is_decided], asked.take(is_decided)) > 0.99
    assert np.abs(p[is_decided] - 0.5).mean() > 0.45


# What should not matter.


@pytest.fixture
def data() -> Planted:
    return planted(160, n_models=6)


def assert_alike(
    ecc: EvidenceCalibratedClustering, other: EvidenceCalibratedClustering, data: Planted
) -> None:
    np.testing.assert_allclose(
        ecc.capabilities(data.embeddings), other.capabilities(data.embeddings), atol=5e-3
    )
    np.testing.assert_array_equal(ecc.labels_, other.labels_)


def test_models_may_be_in_any_order(data: Planted) -> None:
    order = np.random.default_rng(0).permutation(6)
    votes = data.comparisons.with_models([data.comparisons.models[index] for index in order])
    ecc, other = fitted(data), fitted(data._replace(comparisons=votes))
    θ = ecc.capabilities(data.embeddings)
    np.testing.assert_allclose(θ[:, order], other.capabilities(data.embeddings), atol=5e-3)


def test_models_may_have_any_name(data: Planted) -> None:
    votes = replace(data.comparisons, models=tuple("uvwxyz"))
    ecc, other = fitted(data), fitted(data._replace(comparisons=votes))
    np.testing.assert_array_equal(
        ecc.capabilities(data.embeddings), other.capabilities(data.embeddings)
    )
    assert other.models_ == tuple("uvwxyz")


def test_comparisons_may_be_told_the_other_way_round(data: Planted) -> None:
    assert_alike(fitted(data), fitted(data._replace(comparisons=data.comparisons.swapped())), data)


@pytest.mark.parametrize("scale", [1e-3, 4.0, 1e4])
def test_embeddings_may_be_of_any_scale(data: Planted, scale: float) -> None:
    other = fitted(data._replace(embeddings=scale * data.embeddings))
    np.testing.assert_allclose(
        fitted(data).capabilities(data.embeddings),
        other.capabilities(scale * data.embeddings),
        atol=5e-3,
    )


def test_embeddings_may_be_turned(data: Planted) -> None:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    other = fitted(data._replace(embeddings=data.embeddings @ turn))
    np.testing.assert_allclose(
        fitted(data).capabilities(data.embeddings),
        other.capabilities(data.embeddings @ turn),
        atol=5e-3,
    )


def test_a_vote_is_two_of_half_the_weight(data: Planted) -> None:
    half = replace(data.comparisons, weight=data.comparisons.weight / 2)
    halves = data._replace(comparisons=Comparisons.concat([half, half]))
    ecc, other = (fitted(each, n_folds=0) for each in (data, halves))
    assert_alike(ecc, other, data)
    calibrated = fitted(data)
    np.testing.assert_allclose(
        calibrated.capabilities(data.embeddings, data.comparisons),
        calibrated.capabilities(data.embeddings, halves.comparisons),
    )


def test_queries_are_answered_in_any_order_and_alone(data: Planted) -> None:
    ecc = fitted(data)
    order = np.random.default_rng(0).permutation(160)
    part = data.of(order)
    θ = ecc.capabilities(data.embeddings, data.comparisons)
    np.testing.assert_allclose(ecc.capabilities(part.embeddings, part.comparisons), θ[order])
    alone = data.of(slice(3, 4))
    np.testing.assert_allclose(ecc.capabilities(alone.embeddings, alone.comparisons), θ[3:4])


def test_queries_may_be_fitted_in_any_order() -> None:
    data = planted(800)
    other = data.of(np.random.default_rng(0).permutation(800))
    test = planted(800, seed=0).of(slice(100))
    scores = [
        fitted(each).score(test.embeddings, comparisons=test.comparisons) for each in (data, other)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=0.03)


def test_equal_seeds_give_equal_fits_bit_by_bit(data: Planted) -> None:
    with threadpool_limits(1):
        one, other = fitted(data, random_state=3), fitted(data, random_state=3)
    np.testing.assert_array_equal(
        one.capabilities(data.embeddings, data.comparisons),
        other.capabilities(data.embeddings, data.comparisons),
    )
    assert one.calibration_ == other.calibration_
    assert one.objective_ == other.objective_


def test_a_fit_does_not_depend_on_fits_before(data: Planted) -> None:
    ecc = fitted(planted(50, seed=7, n_features=5))
    with threadpool_limits(1):
        ecc.fit(data.embeddings, comparisons=data.comparisons)
        fresh = fitted(data)
    np.testing.assert_array_equal(ecc.responsibilities_, fresh.responsibilities_)
    assert ecc.n_features_in_ == 16


# What it is handed.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_embeddings_may_be_of_any_precision(data: Planted, dtype: type) -> None:
    other = fitted(data._replace(embeddings=data.embeddings.astype(dtype)))
    found = other.capabilities(data.embeddings.astype(dtype))
    assert found.dtype == np.float64
    correlation = np.corrcoef(found.ravel(), fitted(data).capabilities(data.embeddings).ravel())
    assert correlation[0, 1] > 0.98


def test_embeddings_may_lie_in_a_file(data: Planted, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", data.embeddings)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with threadpool_limits(1):
        ecc, other = fitted(data), fitted(data._replace(embeddings=mapped))
    np.testing.assert_array_equal(ecc.capabilities(data.embeddings), other.capabilities(mapped))


def test_what_it_is_handed_is_not_changed(data: Planted) -> None:
    before = data.embeddings.copy()
    data.embeddings.flags.writeable = False
    ecc = fitted(data)
    ecc.capabilities(data.embeddings, data.comparisons)
    ecc.partial_fit(data.embeddings, comparisons=data.comparisons)
    np.testing.assert_array_equal(data.embeddings, before)


def test_parameters_are_kept_as_given_and_cloned() -> None:
    ecc = EvidenceCalibratedClustering(7, temperature=0.5, evidence="mean", trend_ridge=3.0)
    parameters = ecc.get_params()
    assert parameters["n_clusters"] == 7
    assert clone(ecc).get_params() == parameters
    assert fitted(planted(50), temperature=0.5).get_params()["temperature"] == 0.5


def test_it_comes_back_from_a_pickle(data: Planted) -> None:
    ecc = fitted(data)
    again = pickle.loads(pickle.dumps(ecc))
    np.testing.assert_array_equal(
        ecc.capabilities(data.embeddings, data.comparisons),
        again.capabilities(data.embeddings, data.comparisons),
    )
    again.partial_fit(data.embeddings, comparisons=data.comparisons)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(data: Planted, bad: float) -> None:
    ecc = fitted(data)
    x = data.embeddings.copy()
    x[3, 2] = bad
    for call in (
        lambda: EvidenceCalibratedClustering().fit(x, comparisons=data.comparisons),
        lambda: ecc.capabilities(x),
        lambda: ecc.partial_fit(x, comparisons=data.comparisons),
    ):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            call()


def test_no_rows_are_refused(data: Planted) -> None:
    ecc = fitted(data)
    with pytest.raises(ValueError, match="0 sample"):
        ecc.capabilities(data.embeddings[:0])
    with pytest.raises(ValueError, match="0 sample"):
        EvidenceCalibratedClustering().fit(data.embeddings[:0])


def test_comparisons_of_other_queries_are_refused(data: Planted) -> None:
    ecc, x, votes = fitted(data), data.embeddings, data.comparisons
    for call in (
        lambda: ecc.capabilities(x[:5], votes),
        lambda: ecc.predict_pairwise(x[:5], votes),
        lambda: ecc.partial_fit(x[:5], comparisons=votes),
        lambda: clone(ecc).fit(x[:5], comparisons=votes),
    ):
        with pytest.raises(ValueError, match="5 rows of X, got 160 queries"):
            call()


def test_models_that_were_not_fitted_are_refused(data: Planted) -> None:
    ecc, x = fitted(data), data.embeddings[:1]
    strange = Comparisons.from_arrays([0], ["m0"], ["new"], [1.0])
    for call in (
        lambda: ecc.capabilities(x, strange),
        lambda: ecc.predict_proba(x, comparisons=strange),
        lambda: ecc.predict_pairwise(x, strange),
        lambda: ecc.partial_fit(x, comparisons=strange),
    ):
        with pytest.raises(ValueError, match="'new'"):
            call()


def test_evidence_may_be_of_some_of_the_models_in_any_order(data: Planted) -> None:
    ecc, x = fitted(data), data.embeddings[:1]
    few = Comparisons.from_arrays([0], ["m5"], ["m2"], [1.0])
    np.testing.assert_allclose(
        ecc.capabilities(x, few), ecc.capabilities(x, few.with_models(ecc.models_))
    )
    assert few.models != ecc.models_


@pytest.mark.parametrize(
    "ask",
    [
        lambda ecc, data: ecc.predict(data.embeddings),
        lambda ecc, data: ecc.capabilities(data.embeddings),
        lambda ecc, data: ecc.rank(data.embeddings),
        lambda ecc, data: ecc.predict_pairwise(data.embeddings, data.comparisons),
        lambda ecc, data: ecc.score(data.embeddings, comparisons=data.comparisons),
        lambda ecc, data: ecc.score(data.embeddings),
    ],
)
def test_nothing_is_said_before_a_fit(
    data: Planted, ask: Callable[[EvidenceCalibratedClustering, Planted], object]
) -> None:
    with pytest.raises(NotFittedError):
        ask(EvidenceCalibratedClustering(), data)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_clusters": 0},
        {"temperature": 0.0},
        {"prior_weight": -1.0},
        {"evidence": "median"},
        {"ridge": 0.0},
        {"shrink": "mean"},
        {"init": "luck"},
        {"n_init": 0},
        {"max_iter": 0},
        {"tol": -1.0},
        {"trend_ridge": -1.0},
        {"n_landmarks": -1},
        {"n_folds": 1},
    ],
)
def test_parameters_out_of_range_are_refused(data: Planted, parameters: dict[str, object]) -> None:
    ecc = EvidenceCalibratedClustering().set_params(**parameters)
    with pytest.raises(ValueError, match="expected"):
        ecc.fit(data.embeddings, comparisons=data.comparisons)


# What is at the edge.


def assert_sound(ecc: EvidenceCalibratedClustering, data: Planted) -> None:
    """Everything can be asked, and all answers are finite."""
    n, n_models = len(data.embeddings), len(ecc.models_)
    for evidence in (None, data.comparisons):
        θ = ecc.capabilities(data.embeddings, evidence)
        assert θ.shape == (n, n_models)
        assert np.isfinite(θ).all()
        shares = ecc.predict_proba(data.embeddings, comparisons=evidence)
        np.testing.assert_allclose(shares.sum(1), 1.0)
        assert shares.shape == (n, ecc.n_clusters_)
        assert ecc.rank(data.embeddings, evidence).shape == (n, n_models)
        p = ecc.predict_pairwise(data.embeddings, data.comparisons, comparisons=evidence)
        assert ((p >= 0) & (p <= 1)).all()
    assert ecc.predict(data.embeddings).shape == ecc.labels_.shape == (n,)
    assert np.isfinite(ecc.profiles_).all()
    assert np.isfinite(ecc.score(data.embeddings))


def settings() -> list[dict[str, object]]:
    published = EvidenceCalibratedClustering.published(4).get_params()
    return [{}, published, {"n_landmarks": 0, "evidence": "mean"}]


@pytest.mark.parametrize("parameters", settings(), ids=["ours", "published", "mean"])
class TestAtTheEdge:
    def fit(self, data: Planted, parameters: dict[str, object]) -> EvidenceCalibratedClustering:
        ecc = fitted(data, **{"n_clusters": 4, **parameters})
        assert_sound(ecc, data)
        return ecc

    def test_no_comparisons_at_all(self, parameters: dict[str, object]) -> None:
        data = planted(60, n_kinds=2, signal=5.0)
        ecc = fitted(data._replace(comparisons=none_of(60)), **{"n_clusters": 4, **parameters})
        assert ecc.models_ == ()
        assert ecc.capabilities(data.embeddings).shape == (60, 0)
        assert ecc.rank(data.embeddings).shape == (60, 0)
        assert np.isfinite(ecc.score(data.embeddings))
        for label in range(4):
            assert len(set(data.kind[ecc.labels_ == label])) <= 1

    def test_models_without_comparisons(self, parameters: dict[str, object]) -> None:
        data = planted(60)._replace(comparisons=none_of(60, ("x", "y", "z")))
        ecc = self.fit(data, parameters)
        assert not ecc.capabilities(data.embeddings).any()

    def test_one_model(self, parameters: dict[str, object]) -> None:
        data = planted(60)._replace(comparisons=none_of(60, ("x",)))
        assert not self.fit(data, parameters).capabilities(data.embeddings).any()

    def test_one_query(self, parameters: dict[str, object]) -> None:
        assert self.fit(planted(60).of(slice(1)), parameters).n_clusters_ == 1

    def test_fewer_queries_than_clusters(self, parameters: dict[str, object]) -> None:
        assert self.fit(planted(60).of(slice(3)), parameters).n_clusters_ == 3

    def test_one_comparison(self, parameters: dict[str, object]) -> None:
        data = planted(60)
        ecc = self.fit(data._replace(comparisons=data.comparisons.take([5])), parameters)
        assert ecc.models_ == data.comparisons.models

    def test_all_ties(self, parameters: dict[str, object]) -> None:
        data = planted(60)
        votes = data.comparisons
        tied = replace(votes, outcome=np.full(len(votes), 0.5))
        ecc = self.fit(data._replace(comparisons=tied), parameters)
        np.testing.assert_allclose(ecc.capabilities(data.embeddings), 0.0, atol=1e-9)

    def test_outcomes_that_are_shares(self, parameters: dict[str, object]) -> None:
        data = planted(60)
        votes = data.comparisons
        shares = replace(votes, outcome=np.random.default_rng(0).random(len(votes)))
        self.fit(data._replace(comparisons=shares), parameters)

    def test_queries_without_votes(self, parameters: dict[str, object]) -> None:
        data = planted(120)
        votes = data.comparisons.take(data.comparisons.query < 60)
        self.fit(data._replace(comparisons=votes), parameters)

    def test_models_that_win_or_lose_everything(self, parameters: dict[str, object]) -> None:
        data = planted(100, n_models=4)
        votes = data.comparisons
        outcome = (votes.model_b > votes.model_a).astype(float)
        ecc = self.fit(data._replace(comparisons=replace(votes, outcome=outcome)), parameters)
        np.testing.assert_array_equal(ecc.rank(data.embeddings), np.tile([3, 2, 1, 0], (100, 1)))

    def test_models_that_never_met(self, parameters: dict[str, object]) -> None:
        data = planted(100, n_models=4)
        votes = data.comparisons
        self.fit(
            data._replace(comparisons=votes.take(votes.model_a // 2 == votes.model_b // 2)),
            parameters,
        )

    def test_rows_of_zeros(self, parameters: dict[str, object]) -> None:
        data = planted(100)
        data.embeddings[::3] = 0.0
        ecc = self.fit(data, parameters)
        np.testing.assert_allclose(ecc.predict_proba(np.zeros((1, 16)))[0], ecc.shares_, rtol=1e-9)

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_queries_that_are_all_alike(self, parameters: dict[str, object], value: float) -> None:
        data = planted(100)
        self.fit(data._replace(embeddings=np.full((100, 3), value)), parameters)

    def test_votes_that_contradict_each_other(self, parameters: dict[str, object]) -> None:
        data = planted(100, n_models=4)
        votes = data.comparisons
        opposite = replace(votes, outcome=1 - votes.outcome)
        ecc = self.fit(data._replace(comparisons=Comparisons.concat([votes, opposite])), parameters)
        np.testing.assert_allclose(ecc.capabilities(data.embeddings), 0.0, atol=1e-6)

    @pytest.mark.parametrize("weight", [0.0, 1e-300, 1e-12, 1e9])
    def test_weights_of_any_size(self, parameters: dict[str, object], weight: float) -> None:
        data = planted(100)
        votes = replace(data.comparisons, weight=np.full(len(data.comparisons), weight))
        ecc = self.fit(data._replace(comparisons=votes), parameters)
        if weight == 0:
            assert not ecc.capabilities(data.embeddings).any()

    def test_one_feature(self, parameters: dict[str, object]) -> None:
        self.fit(planted(100, n_features=1), parameters)


def test_without_a_weight_of_embeddings_clusters_follow_the_evidence() -> None:
    data = planted(800, signal=0.0, per_query=20, spread=2.0)
    ecc = fitted(data, prior_weight=0.0, n_init=4, init="chance", n_folds=0)
    assert adjusted_rand_score(data.kind, ecc.labels_) > 0.8


def test_little_evidence_is_nearly_none(data: Planted) -> None:
    votes = data.comparisons
    parameters = {"n_folds": 0, "random_state": 0}
    nearly = replace(votes, weight=np.full(len(votes), 1e-9))
    with_little, without = (
        fitted(data._replace(comparisons=each), **parameters)
        for each in (nearly, replace(votes, weight=np.zeros(len(votes))))
    )
    np.testing.assert_allclose(with_little.responsibilities_, without.responsibilities_, atol=1e-6)


def test_a_score_takes_a_comparison_that_counts(data: Planted) -> None:
    ecc, votes = fitted(data), data.comparisons
    for nothing in (votes.take(votes.query < 0), replace(votes, weight=np.zeros(len(votes)))):
        with pytest.raises(ValueError, match="weight above 0"):
            ecc.score(data.embeddings, comparisons=nothing)


def test_a_score_is_the_mean_log_likelihood(data: Planted) -> None:
    ecc, votes = fitted(data), data.comparisons
    weighted = replace(votes, weight=np.arange(len(votes), dtype=float))
    p = ecc.predict_pairwise(data.embeddings, votes)
    loss = np.log(np.where(votes.outcome == 1, p, 1 - p))
    assert ecc.score(data.embeddings, comparisons=weighted) == pytest.approx(
        np.average(loss, weights=weighted.weight)
    )


def test_ranks_are_by_capability(data: Planted) -> None:
    ecc = fitted(data)
    θ, rank = ecc.capabilities(data.embeddings), ecc.rank(data.embeddings)
    assert (np.diff(np.take_along_axis(θ, rank, 1), axis=1) <= 0).all()


def test_chances_of_both_sides_add_up(data: Planted) -> None:
    ecc, votes = fitted(data), data.comparisons
    np.testing.assert_allclose(
        ecc.predict_pairwise(data.embeddings, votes)
        + ecc.predict_pairwise(data.embeddings, votes.swapped()),
        1.0,
    )
