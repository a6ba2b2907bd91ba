from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from tests.evaluate.baselines.answers import world
from tests.evaluate.baselines.method_contract import MethodContract

from triskele.evaluate.baselines.embedding_clusters import EmbeddingClusters
from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.baselines.neighbours import NeighbourBradleyTerry
from triskele.evaluate.baselines.probes import WithProbes
from triskele.evaluate.sampling import sample_comparisons, split_probes


class TestUtility(MethodContract):
    def make(self) -> WithProbes:
        return WithProbes(NeighbourBradleyTerry(20))


class TestDeduction(MethodContract):
    def make(self) -> WithProbes:
        return WithProbes(GlobalBradleyTerry(), rule="deduction")


def test_without_probes_it_is_the_method_itself() -> None:
    made = world(100)
    inner = EmbeddingClusters(3).fit(made.X, comparisons=made.votes)
    for rule in ("plackett-luce", "deduction"):
        method = WithProbes(EmbeddingClusters(3), rule=rule).fit(made.X, comparisons=made.votes)
        assert (method.capabilities(made.X) == inner.capabilities(made.X)).all()
        chances = method.predict_pairwise(made.X, made.votes)
        assert (chances == inner.predict_pairwise(made.X, made.votes)).all()


def test_pairs_that_no_probe_touches_are_as_before() -> None:
    made = world(200)
    inner = EmbeddingClusters(3).fit(made.X, comparisons=made.votes)
    probes, apart = split_probes(
        made.votes, n_probes=1, disjoint=True, rng=np.random.default_rng(0)
    )
    assert len(apart) > 20
    for rule in ("plackett-luce", "deduction"):
        method = WithProbes(FrozenEstimator(inner), rule=rule).fit(made.X)
        chances = method.predict_pairwise(made.X, apart, comparisons=probes)
        assert (chances == inner.predict_pairwise(made.X, apart)).all()


def test_deduction_is_never_wrong_about_right_and_wrong() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((200, 6)) < 0.5).astype(float)
    votes = sample_comparisons(scores, per_query=None, rng=rng)
    probes, asked = split_probes(votes, n_probes=1, disjoint=False, rng=rng)
    X = np.zeros((200, 1))
    method = WithProbes(GlobalBradleyTerry(), rule="deduction").fit(X, comparisons=votes)
    chances = method.predict_pairwise(X, asked, comparisons=probes)
    is_decided = np.isin(chances, [0.999, 1 - 0.999])
    assert is_decided.mean() > 0.3
    assert (np.abs(chances - asked.outcome)[is_decided] < 0.0011).all()
    best = method.rank(X, probes)[probes.query, 0]
    assert (scores[probes.query, best] == 1).all()


def test_where_models_have_one_utility_per_query_the_rule_gains_what_it_promises() -> None:
    rng = np.random.default_rng(0)
    θ = np.array([0.8, 0.3, 0.0, -0.3, -0.8])
    utility = θ + rng.gumbel(size=(2000, 5))
    votes = sample_comparisons(utility, per_query=None, rng=rng)
    probes, asked = split_probes(votes, n_probes=1, disjoint=False, rng=rng)
    X = np.zeros((2000, 1))
    alike = GlobalBradleyTerry().fit(X, comparisons=votes)
    method = WithProbes(FrozenEstimator(alike)).fit(X)
    chances = method.predict_pairwise(X, asked, comparisons=probes)
    for low, high in ((0.1, 0.4), (0.4, 0.6), (0.6, 0.9)):
        among = (chances > low) & (chances < high)
        assert chances[among].mean() == pytest.approx(asked.outcome[among].mean(), abs=0.03)
    gain = method.score(X, comparisons=asked, evidence=probes) - alike.score(X, comparisons=asked)
    assert gain > 0.03


def test_several_probes_tell_more_than_one() -> None:
    rng = np.random.default_rng(1)
    θ = np.array([0.8, 0.3, 0.0, -0.3, -0.8])
    votes = sample_comparisons(θ + rng.gumbel(size=(2000, 5)), per_query=None, rng=rng)
    X = np.zeros((2000, 1))
    method = WithProbes(GlobalBradleyTerry()).fit(X, comparisons=votes)
    three, asked = split_probes(votes, n_probes=3, disjoint=False, rng=rng)
    one, _ = split_probes(three, n_probes=1, disjoint=False, rng=rng)
    scores = [method.score(X, comparisons=asked, evidence=known) for known in (None, one, three)]
    assert scores == sorted(scores)


def test_the_method_inside_is_never_shown_the_probes() -> None:
    made = world(100)
    inner = EmbeddingClusters(3).fit(made.X, comparisons=made.votes)
    probes = made.votes.take(np.arange(len(made.votes)) % 4 == 0)
    method = WithProbes(FrozenEstimator(inner)).fit(made.X)
    θ = inner.capabilities(made.X)
    after = method.capabilities(made.X, probes)
    untouched = np.ones_like(θ, dtype=bool)
    untouched[probes.query, probes.model_a] = untouched[probes.query, probes.model_b] = False
    assert (after[untouched] == θ[untouched]).all()
    told = probes.take(probes.outcome == 1)
    both = np.logaddexp(θ[told.query, told.model_a], θ[told.query, told.model_b])
    assert expit(after[told.query, told.model_b]) == pytest.approx(expit(both))


def test_parameters_of_the_method_inside_can_be_set() -> None:
    method = WithProbes(NeighbourBradleyTerry())
    copy = clone(method).set_params(estimator__n_neighbors=7, rule="deduction")
    assert (copy.estimator.n_neighbors, method.estimator.n_neighbors) == (7, 400)


def test_an_unknown_rule_is_refused() -> None:
    wrong: Any = "guess"
    with pytest.raises(ValueError, match="'guess'"):
        WithProbes(GlobalBradleyTerry(), rule=wrong).fit(np.eye(3))
