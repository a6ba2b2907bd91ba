import numpy as np
import pytest
from tests.evaluate.baselines.answers import STRENGTHS, world
from tests.evaluate.baselines.method_contract import MethodContract
from tests.evaluate.tournaments import tournament

from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.bradley_terry.estimator import BradleyTerry


class TestContract(MethodContract):
    def make(self) -> GlobalBradleyTerry:
        return GlobalBradleyTerry()


def test_every_query_has_the_strengths_of_all() -> None:
    votes = tournament([0.0, 1.0, -1.0], 300, np.random.default_rng(0), per_query=3, tie_share=0.1)
    expected = BradleyTerry(ridge=2.0, intervals=None).fit(votes).theta_
    method = GlobalBradleyTerry(ridge=2.0).fit(["a text"] * 100, comparisons=votes)
    assert method.capabilities(["other", "texts"]) == pytest.approx(np.tile(expected, (2, 1)))
    assert method.global_ == pytest.approx(expected)


def test_kinds_of_queries_that_cancel_are_no_ranking_at_all() -> None:
    made = world(2000)
    method = GlobalBradleyTerry().fit(made.X, comparisons=made.votes)
    assert np.abs(method.global_).max() < 0.1
    assert method.score(made.X, comparisons=made.votes) == pytest.approx(-np.log(2), abs=0.01)
    assert STRENGTHS.sum(0) == pytest.approx(np.zeros(4))


def test_a_single_value_is_no_queries() -> None:
    with pytest.raises(ValueError, match="queries in rows"):
        GlobalBradleyTerry().fit(3)
