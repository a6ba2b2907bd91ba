import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate.report.axes import Axis, signed


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(1, 10))
def test_all_values_and_ticks_lie_on_the_axis(values: list[float], n: int) -> None:
    axis = Axis.around(values)
    assert all(0 <= axis.place(value) <= 1 for value in values)
    ticks = axis.ticks(n)
    assert all(axis.low - 1e-6 <= tick <= axis.high + 1e-6 for tick in ticks)
    assert len(ticks) <= n + 1


def test_ticks_are_round() -> None:
    assert Axis(low=-1.2, high=0.9).ticks(5) == (-1.0, -0.5, 0.0, 0.5)


def test_what_is_not_finite_does_not_stretch_the_axis() -> None:
    assert Axis.around([0.0, 1.0, float("inf"), float("nan")], margin=0) == Axis(low=0, high=1)
    assert Axis.around([]).high > Axis.around([]).low


def test_places_are_percentages() -> None:
    assert Axis(low=0, high=4).percent(1) == "25.00%"
    assert Axis(low=0, high=4).percent(9) == "100.00%"


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (1.5, "+1.5"), (-2.0, "−2")])
def test_labels_have_signs(value: float, text: str) -> None:
    assert signed(value) == text
