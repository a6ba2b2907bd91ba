from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from tests.evaluate.baselines.answers import world
from tests.evaluate.baselines.method_contract import MethodContract

from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.baselines.latent_factors import LatentFactorBradleyTerry
from triskele.evaluate.columns import Floats
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.sampling import split_probes

LOADINGS = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.5], [0.0, -1.5], [1.0, 1.0], [-1.0, -1.0]])
MEAN = np.array([0.5, 0.3, 0.0, 0.0, -0.3, -0.5])


class TestContract(MethodContract):
    def make(self) -> LatentFactorBradleyTerry:
        return LatentFactorBradleyTerry(2, max_iter=3)

    # A random start breaks the tie between models that the comparisons do not.
    def test_if_all_tie_all_models_are_alike(self) -> None:
        made = world(60, ties=1.0)
        method = self.make().fit(made.X, comparisons=made.votes)
        assert method.capabilities(made.X) == pytest.approx(np.zeros((60, 4)), abs=0.2)


def factored(n_queries: int, *, per_query: int = 12, seed: int = 0) -> Comparisons:
    rng = np.random.default_rng(seed)
    θ = MEAN + rng.standard_normal((n_queries, 2)) @ LOADINGS.T
    query = np.repeat(np.arange(n_queries), per_query)
    a = rng.integers(6, size=len(query))
    b = (a + rng.integers(1, 6, size=len(query))) % 6
    outcome = rng.random(len(query)) < expit(θ[query, b] - θ[query, a])
    return Comparisons.from_arrays(query, a, b, outcome, models="abcdef", n_queries=n_queries)


def covariance(loadings: Floats) -> Floats:
    moved = loadings - loadings.mean(0)
    return np.asarray(moved @ moved.T)


def test_factors_are_recovered_up_to_a_rotation() -> None:
    votes = factored(1500)
    method = LatentFactorBradleyTerry(2, ridge=1.0).fit(np.zeros(1500), comparisons=votes)
    truth = covariance(LOADINGS)
    away = np.linalg.norm(covariance(method.loadings_) - truth) / np.linalg.norm(truth)
    assert away < 0.25
    assert method.global_ == pytest.approx(MEAN, abs=0.25)


def test_what_is_known_of_a_query_tells_of_models_it_does_not_name() -> None:
    votes, new = factored(1500), factored(300, seed=1)
    method = LatentFactorBradleyTerry(2).fit(np.zeros(1500), comparisons=votes)
    alike = GlobalBradleyTerry().fit(np.zeros(1500), comparisons=votes)
    probes, asked = split_probes(new, n_probes=4, disjoint=False, rng=np.random.default_rng(0))
    X = np.zeros(300)
    told = method.score(X, comparisons=asked, evidence=probes)
    untold = method.score(X, comparisons=asked)
    assert told > untold + 0.1
    assert untold == pytest.approx(alike.score(X, comparisons=asked), abs=0.02)
    one, apart = split_probes(new, n_probes=1, disjoint=True, rng=np.random.default_rng(0))
    assert method.score(X, comparisons=apart, evidence=one) > method.score(X, comparisons=apart)


def test_the_factors_of_a_query_are_their_most_likely_values() -> None:
    votes = factored(200)
    method = LatentFactorBradleyTerry(2, max_iter=5).fit(np.zeros(200), comparisons=votes)
    known = votes.of_queries([3])

    def loss(z: Floats) -> float:
        θ = method.global_ + method.loadings_ @ z
        lead = θ[known.model_b] - θ[known.model_a]
        return float((np.logaddexp(0, lead) - known.outcome * lead).sum() + z @ z / 2)

    z = minimize(loss, np.zeros(2)).x
    expected = method.global_ + method.loadings_ @ z
    assert method.capabilities([0.0], known)[0] == pytest.approx(expected, abs=1e-4)


def test_a_chance_is_nearer_to_a_half_than_that_of_the_typical_query() -> None:
    votes = factored(200)
    method = LatentFactorBradleyTerry(2, max_iter=5).fit(np.zeros(200), comparisons=votes)
    θ = method.capabilities(np.zeros(200))
    assert (θ == method.global_).all()
    sure = expit(θ[votes.query, votes.model_b] - θ[votes.query, votes.model_a])
    chance = method.predict_pairwise(np.zeros(200), votes)
    assert (np.abs(chance - 0.5) <= np.abs(sure - 0.5)).all()
    assert ((chance > 0.5) == (sure > 0.5)).all()


def test_there_are_fewer_factors_than_models() -> None:
    votes = Comparisons.from_arrays([0, 1], [0, 1], [1, 0], [1, 1])
    method = LatentFactorBradleyTerry(3).fit(np.zeros(2), comparisons=votes)
    assert method.n_factors_ == 1
    assert method.loadings_.shape == (2, 1)


@pytest.mark.parametrize("wrong", [{"n_factors": 0}, {"max_iter": 0}, {"ridge": 0.0}])
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        LatentFactorBradleyTerry(**wrong).fit(np.eye(3))
