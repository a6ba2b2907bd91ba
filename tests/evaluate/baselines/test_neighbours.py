import numpy as np
import pytest
from tests.evaluate.baselines.answers import world
from tests.evaluate.baselines.method_contract import MethodContract

from triskele.evaluate.baselines import neighbours
from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.baselines.neighbours import NeighbourBradleyTerry
from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts


class TestContract(MethodContract):
    def make(self) -> NeighbourBradleyTerry:
        return NeighbourBradleyTerry(20)


def test_a_query_is_like_its_nearest_ones_in_proportion_to_the_cosine() -> None:
    made, asked = world(60), world(7, seed=1)
    method = NeighbourBradleyTerry(10, ridge=3.0).fit(made.X, comparisons=made.votes)
    center = made.X.mean(0)
    moved = made.X - center
    for row, x in enumerate(asked.X):
        y = x - center
        cosine = moved @ y / np.linalg.norm(moved, axis=1) / np.linalg.norm(y)
        near = np.argsort(-cosine)[:10]
        weight = np.zeros(60)
        weight[near] = cosine[near] / cosine[near].mean()
        wins = count_wins(made.votes, weight=made.votes.weight * weight[made.votes.query])
        expected = fit_counts(wins, ridge=3.0, prior=method.global_)
        assert method.capabilities(asked.X)[row] == pytest.approx(expected, abs=1e-6)


def test_kinds_of_queries_are_told_apart() -> None:
    made, asked = world(600), world(100, seed=1)
    method = NeighbourBradleyTerry(100).fit(made.X, comparisons=made.votes)
    alike = GlobalBradleyTerry().fit(made.X, comparisons=made.votes)
    assert (method.rank(asked.X)[:, 0] == np.where(asked.kind == 0, 0, 3)).mean() > 0.95
    gain = method.score(asked.X, comparisons=asked.votes)
    assert gain > alike.score(asked.X, comparisons=asked.votes) + 0.1


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = world(100), world(50, seed=1)
    method = NeighbourBradleyTerry(20).fit(made.X, comparisons=made.votes)
    whole = method.capabilities(asked.X)
    monkeypatch.setattr(neighbours, "AT_ONCE", 1000)
    assert method.capabilities(asked.X) == pytest.approx(whole, abs=1e-9)


def test_queries_that_were_not_compared_are_no_neighbours() -> None:
    made = world(100)
    votes = made.votes.take(made.votes.query >= 50)
    shuffled = made.X.copy()
    shuffled[:50] = shuffled[np.random.default_rng(0).permutation(50)]
    one, other = (NeighbourBradleyTerry(10).fit(X, comparisons=votes) for X in (made.X, shuffled))
    assert other.capabilities(made.X) == pytest.approx(one.capabilities(made.X), abs=1e-6)


def test_a_query_nothing_is_known_of_has_the_strengths_of_all() -> None:
    made = world(100)
    method = NeighbourBradleyTerry(10).fit(made.X, comparisons=made.votes)
    assert method.capabilities(np.zeros((1, 6)))[0] == pytest.approx(method.global_)


def test_a_query_that_was_fitted_is_its_own_neighbour() -> None:
    made = world(1)
    method = NeighbourBradleyTerry(ridge=2.0).fit(made.X, comparisons=made.votes)
    expected = fit_counts(count_wins(made.votes), ridge=2.0, prior=method.global_)
    assert method.capabilities(made.X)[0] == pytest.approx(expected)


def test_less_than_one_neighbour_is_refused() -> None:
    with pytest.raises(ValueError, match="one neighbour"):
        NeighbourBradleyTerry(0).fit(np.eye(3))
