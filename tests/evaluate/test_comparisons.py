import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from tests.evaluate.tournaments import tournaments

from triskele.evaluate.comparisons import Comparisons

THREE = Comparisons.from_arrays(
    [0, 1, 1], ["x", "y", "x"], ["y", "z", "z"], [1, 0, 0.5], weight=[1, 2, 3], n_queries=4
)


def rows(comparisons: Comparisons) -> list[tuple[object, ...]]:
    """Every comparison, with the names of the models."""
    names = comparisons.models
    return [
        (int(query), names[a], names[b], float(outcome), float(weight))
        for query, a, b, outcome, weight in zip(
            comparisons.query,
            comparisons.model_a,
            comparisons.model_b,
            comparisons.outcome,
            comparisons.weight,
            strict=True,
        )
    ]


def test_names_become_indices_into_the_sorted_models() -> None:
    assert THREE.models == ("x", "y", "z")
    assert THREE.model_a.tolist() == [0, 1, 0]
    assert THREE.model_b.tolist() == [1, 2, 2]
    assert (len(THREE), THREE.n_models, THREE.n_queries) == (3, 3, 4)


def test_indices_stay_and_are_named_by_their_digits_if_there_are_no_names() -> None:
    comparisons = Comparisons.from_arrays([5], [2], [0], [1])
    assert comparisons.models == ("0", "1", "2")
    assert comparisons.n_queries == 6
    assert comparisons.weight.tolist() == [1.0]


def test_names_may_be_given_in_another_order_and_with_others() -> None:
    comparisons = Comparisons.from_arrays([0], ["x"], ["y"], [1], models=["z", "y", "x"])
    assert rows(comparisons) == [(0, "x", "y", 1.0, 1.0)]
    assert comparisons.models == ("z", "y", "x")


def test_there_may_be_no_comparisons() -> None:
    assert len(Comparisons.from_arrays([], [], [], [])) == 0
    assert Comparisons.from_arrays([], [], [], [], models=["x"], n_queries=3).n_models == 1


def test_columns_are_read_only() -> None:
    for column in (THREE.query, THREE.model_a, THREE.model_b, THREE.outcome, THREE.weight):
        assert not column.flags.writeable
    with pytest.raises(FrozenInstanceError):
        THREE.n_queries = 1  # type: ignore[misc]


def test_a_later_change_to_what_was_given_changes_nothing() -> None:
    outcome = np.array([1.0])
    comparisons = Comparisons.from_arrays([0], [0], [1], outcome)
    outcome[0] = 0
    assert comparisons.outcome[0] == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 0], ["x", "x"], ["y", "x"], [1, 1]), "row 1: model_a and model_b are both 'x'"),
        (([0, 4], ["x", "x"], ["y", "y"], [1, 1]), "row 1: expected one of 4 queries, got query 4"),
        (([-1], ["x"], ["y"], [1]), "row 0: expected one of 4 queries, got query -1"),
        (([0], [0], [3], [1]), "row 0: expected model_b to be one of 2 models, got 3"),
        (([0], [-1], [1], [1]), "row 0: expected model_a to be one of 2 models, got -1"),
        (([0], ["x"], ["q"], [1]), "row 0: model_b 'q' is not one of the models"),
        (([0, 0], ["x"] * 2, ["y"] * 2, [1, 2]), "row 1: expected an outcome from 0 to 1, got 2"),
        (([0], ["x"], ["y"], [np.nan]), "row 0: expected an outcome from 0 to 1, got nan"),
        (([0], ["x"], [None], [1]), "expected names of models, got None"),
        (([0], ["x"], ["y"], [1, 1]), "expected columns of one length, got .*'outcome': 2"),
        (([0.5], ["x"], ["y"], [1]), "expected query to be whole numbers, got float64"),
    ],
)
def test_a_row_that_is_wrong_is_named(columns: tuple[list[object], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Comparisons.from_arrays(*columns, models=["x", "y"], n_queries=4)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [-1.0, np.inf, np.nan])
def test_a_weight_is_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(ValueError, match="row 1: expected a finite weight of at least 0"):
        Comparisons.from_arrays([0, 0], [0, 0], [1, 1], [1, 1], weight=[1, weight])


def test_models_are_named_once() -> None:
    with pytest.raises(ValueError, match="expected each model once, got 'x' more than once"):
        Comparisons.from_arrays([0], [0], [1], [1], models=["x", "x"])


def test_taking_keeps_models_and_queries() -> None:
    taken = THREE.take([2, 0])
    assert rows(taken) == [(1, "x", "z", 0.5, 3.0), (0, "x", "y", 1.0, 1.0)]
    assert (taken.models, taken.n_queries) == (THREE.models, 4)
    assert rows(THREE.take([False, True, False])) == [(1, "y", "z", 0.0, 2.0)]
    assert len(THREE.take([])) == 0


def test_queries_are_renumbered_in_the_order_that_is_wanted() -> None:
    of_two = THREE.of_queries([3, 1])
    assert rows(of_two) == [(1, "y", "z", 0.0, 2.0), (1, "x", "z", 0.5, 3.0)]
    assert of_two.n_queries == 2
    assert rows(THREE.of_queries([True, False, False, True])) == [(0, "x", "y", 1.0, 1.0)]


def test_a_query_is_wanted_once_and_exists() -> None:
    with pytest.raises(ValueError, match="expected each query once, got 1 more than once"):
        THREE.of_queries([1, 0, 1])
    with pytest.raises(ValueError, match="expected queries from 0 to 3, got 4"):
        THREE.of_queries([4])


@given(tournaments())
def test_swapping_twice_changes_nothing(comparisons: Comparisons) -> None:
    swapped = comparisons.swapped()
    assert (swapped.model_a == comparisons.model_b).all()
    assert swapped.outcome == pytest.approx(1 - comparisons.outcome)
    assert swapped.swapped().outcome == pytest.approx(comparisons.outcome)
    assert (swapped.swapped().model_a == comparisons.model_a).all()


@given(tournaments())
def test_other_models_change_indices_and_nothing_else(comparisons: Comparisons) -> None:
    wider = comparisons.with_models(["new", *reversed(comparisons.models)])
    assert rows(wider) == rows(comparisons)
    assert wider.models[0] == "new"


def test_no_model_may_be_left_out() -> None:
    with pytest.raises(ValueError, match="expected all models of the comparisons, 'y', 'z' miss"):
        THREE.with_models(["x", "w"])


def test_parts_are_put_together_with_the_models_of_all() -> None:
    other = Comparisons.from_arrays([2], ["v"], ["x"], [1], n_queries=4)
    together = Comparisons.concat([THREE, other])
    assert rows(together) == rows(THREE) + rows(other)
    assert together.models == ("x", "y", "z", "v")


def test_parts_speak_of_the_same_queries() -> None:
    with pytest.raises(ValueError, match=r"expected parts of the same queries, got \[4, 9\]"):
        Comparisons.concat([THREE, Comparisons.from_arrays([0], ["x"], ["y"], [1], n_queries=9)])
    with pytest.raises(ValueError, match="expected at least one part, got none"):
        Comparisons.concat([])


def test_comparisons_can_be_sent_to_another_process() -> None:
    assert rows(pickle.loads(pickle.dumps(THREE))) == rows(THREE)
