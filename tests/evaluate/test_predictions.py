import numpy as np
import pytest
from scipy.special import expit

from triskele.evaluate.baselines.global_ranking import GlobalBradleyTerry
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.predictions import (
    best_first,
    mean_log_likelihood,
    n_rows,
    pairwise,
)


def test_pairs_are_looked_up_by_the_names_of_their_models() -> None:
    pairs = Comparisons.from_arrays([1, 0], ["y", "x"], ["x", "y"], [1, 1])
    θ = np.array([[0.0, 5.0, 1.0], [0.0, 5.0, 3.0]])
    assert pairwise(θ, pairs, ("x", "z", "y")) == pytest.approx(expit([-3.0, 1.0]))


def test_equals_keep_the_order_of_the_models() -> None:
    assert best_first(np.array([[0.0, 1.0, 0.0, 1.0]])).tolist() == [[1, 3, 0, 2]]


def test_a_chance_of_zero_costs_much_but_not_everything() -> None:
    votes = Comparisons.from_arrays([0] * 3, ["x"] * 3, ["y"] * 3, [1, 1, 1])
    sure = GlobalBradleyTerry().fit(["q"], comparisons=votes)
    sure.global_ = np.array([1e4, 0.0])
    assert mean_log_likelihood(sure, ["q"], votes, None) == pytest.approx(np.log(1e-15))


def test_the_likelihood_of_nothing_is_not_a_number() -> None:
    votes = Comparisons.from_arrays([0], ["x"], ["y"], [1])
    method = GlobalBradleyTerry().fit(["q"], comparisons=votes)
    assert np.isnan(mean_log_likelihood(method, ["q"], None, None))


def test_comparisons_that_do_not_count_have_none() -> None:
    votes = Comparisons.from_arrays([0], ["x"], ["y"], [1], weight=[0.0])
    method = GlobalBradleyTerry().fit(["q"], comparisons=votes)
    with pytest.raises(ValueError, match="weight above 0"):
        mean_log_likelihood(method, ["q"], votes, None)


def test_rows_are_counted_whatever_they_are() -> None:
    assert (n_rows(["a", "b"]), n_rows(np.zeros((3, 2))), n_rows(np.zeros(4))) == (2, 3, 4)
