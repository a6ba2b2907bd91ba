import numpy as np
import pytest

from triskele.evaluate.columns import chosen, floats, integers, listed, require, unique_names


def test_a_column_that_others_can_write_to_is_copied() -> None:
    given = np.arange(3)
    kept = integers(given, "rows")
    given[0] = 7
    assert kept.tolist() == [0, 1, 2]
    assert not kept.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


def test_a_view_is_copied_too() -> None:
    given = np.arange(6, dtype=np.float64)
    kept = floats(given[:3], "numbers")
    given[0] = 7
    assert kept[0] == 0


def test_a_column_that_nobody_can_write_to_is_kept() -> None:
    given = np.arange(3)
    given.flags.writeable = False
    assert integers(given, "rows") is given


def test_small_integers_and_flags_are_numbers() -> None:
    assert integers(np.array([1, 2], np.uint8), "rows").dtype == np.int64
    assert floats([True, False], "outcomes").tolist() == [1.0, 0.0]


@pytest.mark.parametrize("given", [[1.5], ["1"], [True]])
def test_what_is_no_whole_number_is_no_integer(given: list[object]) -> None:
    with pytest.raises(ValueError, match="expected rows to be whole numbers"):
        integers(given, "rows")


def test_an_empty_list_is_an_empty_column() -> None:
    assert integers([], "rows").shape == floats([], "numbers").shape == (0,)


def test_a_table_is_no_column() -> None:
    with pytest.raises(ValueError, match=r"expected numbers to be one column, got shape \(2, 1\)"):
        floats([[1.0], [2.0]], "numbers")


def test_rows_are_chosen_by_mask_or_by_index() -> None:
    assert chosen([True, False, True], 3, "rows").tolist() == [0, 2]
    assert chosen([2, 0, 2], 3, "rows").tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match=r"expected a mask of 3 rows, got shape \(2,\)"):
        chosen([True, False], 3, "rows")
    with pytest.raises(ValueError, match="expected rows from 0 to 2, got -1"):
        chosen([0, -1], 3, "rows")


def test_names_are_unique() -> None:
    assert unique_names(["x", "y"]) == ("x", "y")
    with pytest.raises(ValueError, match="expected each model once, got 'x' more than once"):
        unique_names(["x", "y", "x"])
    with pytest.raises(ValueError, match="expected several names of models, got 'xy'"):
        unique_names("xy")


def test_the_first_row_that_is_wrong_is_named() -> None:
    require(np.array([True, True]), str)
    with pytest.raises(ValueError, match="row 1: got 1"):
        require(np.array([True, False, False]), lambda row: f"got {row}")


def test_a_message_lists_five_names_at_most() -> None:
    assert listed(["x"]) == "'x'"
    assert listed(list("abcdefg")) == "'a', 'b', 'c', 'd', 'e' and 2 more"
