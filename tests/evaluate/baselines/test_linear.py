import numpy as np
import pytest
from scipy.optimize import minimize
from tests.evaluate.baselines.answers import world
from tests.evaluate.baselines.method_contract import MethodContract

from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.baselines.linear import CAUTIOUS, RIDGES, LinearCapability


class TestContract(MethodContract):
    def make(self) -> LinearCapability:
        return LinearCapability()


def test_the_weights_are_the_penalised_maximum() -> None:
    made = world(40)
    method = LinearCapability(ridge=2.0, max_iter=500).fit(made.X, comparisons=made.votes)
    features = made.X - made.X.mean(0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    votes = made.votes

    def loss(flat: np.ndarray) -> float:
        θ = features @ flat.reshape(6, 4) + method.global_
        z = θ[votes.query, votes.model_b] - θ[votes.query, votes.model_a]
        return float((np.logaddexp(0, z) - votes.outcome * z).sum() + flat @ flat)

    best = minimize(loss, np.zeros(24), method="BFGS").x.reshape(6, 4)
    assert method.coef_ == pytest.approx(best, abs=1e-3)
    assert method.capabilities(made.X) == pytest.approx(features @ best + method.global_, abs=0.01)


def test_kinds_of_queries_are_told_apart() -> None:
    made, asked = world(600), world(100, seed=1)
    method = LinearCapability().fit(made.X, comparisons=made.votes)
    alike = GlobalBradleyTerry().fit(made.X, comparisons=made.votes)
    assert method.ridge_ in RIDGES
    assert (method.rank(asked.X)[:, 0] == np.where(asked.kind == 0, 0, 3)).mean() > 0.95
    gain = method.score(asked.X, comparisons=asked.votes)
    assert gain > alike.score(asked.X, comparisons=asked.votes) + 0.1


def test_where_embeddings_say_nothing_a_strong_prior_is_chosen() -> None:
    made = world(600)
    X = np.random.default_rng(5).standard_normal((600, 60))
    assert LinearCapability().fit(X, comparisons=made.votes).ridge_ in RIDGES[2:]


def test_few_queries_are_not_held_out() -> None:
    made = world(30)
    assert LinearCapability().fit(made.X, comparisons=made.votes).ridge_ == CAUTIOUS


def test_the_scale_of_embeddings_does_not_matter() -> None:
    made = world(100)
    one, other = (
        LinearCapability(ridge=5.0).fit(X, comparisons=made.votes).capabilities(X)
        for X in (made.X, 7 * made.X)
    )
    assert other == pytest.approx(one, abs=1e-6)


def test_a_query_nothing_is_known_of_has_the_strengths_of_all() -> None:
    made = world(100)
    method = LinearCapability(ridge=3.0).fit(made.X, comparisons=made.votes)
    assert method.capabilities(np.zeros((1, 6)))[0] == pytest.approx(method.global_)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.inf, np.nan])
def test_a_ridge_that_is_none_is_refused(ridge: float) -> None:
    with pytest.raises(ValueError, match="ridge above 0"):
        LinearCapability(ridge=ridge).fit(np.eye(3))
