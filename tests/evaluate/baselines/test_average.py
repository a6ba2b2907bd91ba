import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from tests.evaluate.baselines.answers import world
from tests.evaluate.baselines.method_contract import MethodContract

from triskele.evaluate.baselines.average import AverageCapability
from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.baselines.linear import LinearCapability
from triskele.evaluate.baselines.neighbours import NeighbourBradleyTerry


class TestContract(MethodContract):
    def make(self) -> AverageCapability:
        near = NeighbourBradleyTerry(20)
        return AverageCapability([("near", near), ("linear", LinearCapability(ridge=10.0))])


def test_capabilities_are_the_mean() -> None:
    made = world(100)
    near, alike = NeighbourBradleyTerry(20), GlobalBradleyTerry()
    method = AverageCapability([("near", near), ("alike", alike)])
    method.fit(made.X, comparisons=made.votes)
    parts = [m.fit(made.X, comparisons=made.votes).capabilities(made.X) for m in (near, alike)]
    assert method.capabilities(made.X) == pytest.approx((parts[0] + parts[1]) / 2)


def test_what_is_given_is_not_changed_but_for_what_is_frozen_and_used_as_it_is() -> None:
    made, more = world(100), world(100, seed=1)
    given = GlobalBradleyTerry()
    fitted = GlobalBradleyTerry().fit(made.X, comparisons=made.votes)
    before = fitted.global_.copy()
    method = AverageCapability([("given", given), ("fitted", FrozenEstimator(fitted))])
    method.fit(more.X, comparisons=more.votes)
    assert not hasattr(given, "global_")
    assert (fitted.global_ == before).all()
    assert (method.estimators_[1].capabilities(more.X[:1])[0] == before).all()


def test_methods_need_different_names() -> None:
    one = GlobalBradleyTerry()
    with pytest.raises(ValueError, match="got 'x', 'x'"):
        AverageCapability([("x", one), ("x", one)]).fit(np.eye(3))
    with pytest.raises(ValueError, match="got none"):
        AverageCapability([]).fit(np.eye(3))


def test_methods_of_other_models_are_refused() -> None:
    made = world(100)
    other = GlobalBradleyTerry().fit(made.X)
    method = AverageCapability([("one", GlobalBradleyTerry()), ("two", FrozenEstimator(other))])
    with pytest.raises(ValueError, match="'two' is of others"):
        method.fit(made.X, comparisons=made.votes)
