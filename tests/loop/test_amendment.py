import numpy as np
import pytest
from tests.loop.worlds import MODELS, true_table

from triskele.loop.amendment import amended


def test_a_new_model_is_one_in_the_middle_of_the_others() -> None:
    before = true_table()
    table = amended(before, models=["new", "coder"], prices={"new": 4.0})
    assert table is not None
    assert table.models == (*MODELS, "new")
    assert table.prices.tolist() == [1, 1, 1, 4]
    for x in (None, [1.0, 0.0], [0.6, 0.8]):
        assert table.quality(x)[:3] == pytest.approx(before.quality(x))
        assert before.quality(x).min() < table.quality(x)[3] <= before.quality(x).max()


def test_prices_change_and_nothing_else() -> None:
    before = true_table()
    table = amended(before, models=[], prices={"plain": 0.5})
    assert table is not None
    assert table.prices.tolist() == [1, 1, 0.5]
    assert np.array_equal(table.weights, before.weights)


def test_what_is_there_already_is_no_change() -> None:
    assert amended(true_table(), models=MODELS, prices={"coder": 1.0}) is None
    assert amended(true_table(), models=[], prices={}) is None
