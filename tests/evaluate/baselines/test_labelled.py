from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator
from tests.evaluate.baselines.answers import STRENGTHS, World, world
from tests.evaluate.baselines.method_contract import MethodContract

from triskele.evaluate.baselines.labelled import LabelledBradleyTerry
from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts


class TestContract(MethodContract):
    def make(self) -> LabelledBradleyTerry:
        return LabelledBradleyTerry()

    def queries(self, made: World) -> NDArray[Any]:
        return np.array(["maths", "poems"])[made.kind]

    def test_it_obeys_scikit_learn(self) -> None:
        # Which has no checks for what takes labels, and says so.
        with pytest.warns(SkipTestWarning, match="which requires input"):
            check_estimator(self.make())


def test_each_label_has_the_strengths_of_its_own_queries() -> None:
    made = world(3000)
    labels = np.array(["maths", "poems"])[made.kind]
    method = LabelledBradleyTerry(ridge=2.0).fit(labels, comparisons=made.votes)
    assert method.labels_ == ("maths", "poems")
    for number, name in enumerate(method.labels_):
        of_label = made.votes.of_queries(labels == name)
        expected = fit_counts(count_wins(of_label), ridge=2.0, prior=method.global_)
        assert method.profiles_[number] == pytest.approx(expected)
        assert method.capabilities([name])[0] == pytest.approx(expected)
    assert method.rank(["maths", "poems"]).tolist() == [[0, 1, 2, 3], [3, 2, 1, 0]]
    assert method.profiles_ == pytest.approx(STRENGTHS, abs=0.4)


@pytest.mark.parametrize("label", ["never seen", None])
def test_a_query_of_another_label_or_none_has_the_strengths_of_all(label: Any) -> None:
    made = world()
    method = LabelledBradleyTerry().fit(made.kind, comparisons=made.votes)
    assert method.labels_ == (0, 1)
    assert method.capabilities([label])[0] == pytest.approx(method.global_)


def test_queries_without_a_label_teach_the_strengths_of_all_alone() -> None:
    made = world(40)
    labels = ["maths", None] * 20
    method = LabelledBradleyTerry().fit(labels, comparisons=made.votes)
    assert method.labels_ == ("maths",)
    assert method.global_ == pytest.approx(fit_counts(count_wins(made.votes), ridge=1.0))


def test_a_label_without_comparisons_is_where_it_is_shrunk_to() -> None:
    made = world(40)
    votes = made.votes.take(made.kind[made.votes.query] == 0)
    method = LabelledBradleyTerry().fit(made.kind, comparisons=votes)
    assert method.profiles_[1] == pytest.approx(method.global_)
    zero = LabelledBradleyTerry(shrink="zero").fit(made.kind, comparisons=votes)
    assert zero.profiles_[1] == pytest.approx(np.zeros(4))


def test_labels_are_one_column() -> None:
    with pytest.raises(ValueError, match="one column"):
        LabelledBradleyTerry().fit(np.zeros((3, 2)))


def test_an_unknown_target_is_refused() -> None:
    wrong: Any = "mean"
    with pytest.raises(ValueError, match="'mean'"):
        LabelledBradleyTerry(shrink=wrong).fit(["x"])
