import numpy as np
import pytest
from tests.evaluate.planted import planted

from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.inputs import center_of, directions, of_models, of_queries


def test_the_center_is_the_mean_of_the_rows_that_tell_something() -> None:
    table = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(center_of(table), [0.5, 1.5])


def test_a_center_takes_two_rows() -> None:
    assert not center_of(np.array([[1.0, 2.0], [0.0, 0.0]])).any()


def test_directions_have_length_one_but_for_rows_of_zeros() -> None:
    table = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(
        directions(table, np.array([1.0, 1.0])), [[2 / 13**0.5, 3 / 13**0.5], [0, 0], [0, 0]]
    )
    np.testing.assert_allclose(directions(table, np.zeros(2))[:2], [[0.6, 0.8], [0, 0]])


def test_directions_are_of_the_type_of_the_embeddings_and_leave_them_alone() -> None:
    table = np.ones((3, 2), np.float32)
    table.flags.writeable = False
    assert directions(table, np.array([0.5, 0.25])).dtype == np.float32
    assert (table == 1).all()


def test_no_comparisons_are_none_of_no_models() -> None:
    none = of_queries(None, 5)
    assert (len(none), none.n_queries, none.models) == (0, 5, ())


def test_comparisons_of_other_queries_are_refused() -> None:
    votes = planted(5).comparisons
    assert of_queries(votes, 5) is votes
    with pytest.raises(ValueError, match="of the 4 rows of X, got 5 queries"):
        of_queries(votes, 4)


def test_comparisons_are_put_into_the_models_of_a_fit() -> None:
    votes = Comparisons.from_arrays([0], ["x"], ["z"], [1.0])
    put = of_models(votes, ("z", "y", "x"))
    assert (put.model_a.tolist(), put.model_b.tolist(), put.models) == ([2], [0], ("z", "y", "x"))


def test_no_comparisons_have_the_models_of_a_fit_too() -> None:
    none = of_models(of_queries(None, 3), ("x", "y"))
    assert (none.models, none.n_queries) == (("x", "y"), 3)


def test_a_model_that_was_not_fitted_is_named() -> None:
    votes = Comparisons.from_arrays([0], ["x"], ["new"], [1.0])
    with pytest.raises(ValueError, match="2 models that were fitted, got 'new'"):
        of_models(votes, ("x", "y"))
