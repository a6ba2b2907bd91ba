import numpy as np
import pytest
from hypothesis import given
from tests.evaluate.tournaments import tournaments

from triskele.evaluate.bradley_terry.counts import count_wins, wins_by_query
from triskele.evaluate.comparisons import Comparisons


@given(tournaments())
def test_each_comparison_is_divided_between_the_two(comparisons: Comparisons) -> None:
    expected = np.zeros((comparisons.n_models,) * 2)
    for row in range(len(comparisons)):
        a, b = comparisons.model_a[row], comparisons.model_b[row]
        expected[b, a] += comparisons.weight[row] * comparisons.outcome[row]
        expected[a, b] += comparisons.weight[row] * (1 - comparisons.outcome[row])
    assert count_wins(comparisons) == pytest.approx(expected)
    assert count_wins(comparisons.swapped()) == pytest.approx(expected)


@given(tournaments())
def test_wins_by_query_add_up_to_the_wins_under_any_weights(comparisons: Comparisons) -> None:
    shape = (comparisons.n_models,) * 2
    matrix = wins_by_query(comparisons)
    assert matrix.shape == (comparisons.n_models**2, comparisons.n_queries)
    for weights in (np.ones(comparisons.n_queries), np.arange(comparisons.n_queries) / 3):
        weighed = count_wins(comparisons, weight=comparisons.weight * weights[comparisons.query])
        assert (matrix @ weights).reshape(shape) == pytest.approx(weighed)


def test_no_comparisons_are_no_wins() -> None:
    nothing = Comparisons.from_arrays([], [], [], [], models=["x", "y"], n_queries=2)
    assert count_wins(nothing).dtype == np.float64
    assert not count_wins(nothing).any()
    assert wins_by_query(nothing).shape == (4, 2)
