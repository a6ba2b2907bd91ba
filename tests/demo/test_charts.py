import re

import pytest

from triskele.demo.charts import Axis, Curve, Part, curves, shares


def plain(value: float) -> str:
    return f"{value:g}"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.0, 10.0, [0, 2, 4, 6, 8, 10]), (4.7, 6.1, [5.0, 5.5, 6.0]), (3.0, 3.0, [3.0])],
)
def test_ticks_are_round_numbers_between_the_ends(low, high, ticks):
    assert Axis(low, high, plain).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(8.0, 60.0, [10, 20, 30, 50]), (1.0, 300.0, [1, 2, 5, 10, 20, 50, 100, 200])],
)
def test_ticks_of_a_logarithmic_axis_are_few_over_many_decades(low, high, ticks):
    assert Axis(low, high, plain, is_log=True).ticks() == pytest.approx(ticks)


def test_equal_factors_are_equally_far_apart_on_a_logarithmic_axis():
    axis = Axis(1.0, 100.0, plain, is_log=True)
    assert axis.place(10.0) == pytest.approx(0.5)
    assert axis.place(0.0) < 0.0


def test_an_axis_of_one_value_has_it_in_the_middle():
    assert Axis(2.0, 2.0, plain).place(2.0) == 0.5


def test_curves_are_drawn_below_the_upper_end_only_and_marks_are_named():
    line = Curve("ours", [(0.0, 9.0), (1.0, 2.0), (2.0, 1.0)], (1.0, 2.0), "<1>")
    x, y = Axis(0.0, 2.0, plain, "step"), Axis(0.0, 3.0, plain)
    drawn = curves([line], x, y, rule=2.0, described="a & b")
    path = re.search(r'd="([^"]*)"', drawn).group(1)
    assert path.startswith("M")
    assert path.count("L") == 1
    for said in ("&lt;1&gt;", "a &amp; b", ">step<", 'class="rule"', 'class="dot ours"'):
        assert said in drawn


def test_parts_of_a_bar_are_as_long_as_their_shares_and_small_ones_have_no_number():
    drawn = shares(
        [
            Part("code", 0.75, "27 of 36", is_marked=True),
            Part("english", 0.0, "none"),
            Part("arithmetic", 0.05, "2 of 36"),
        ]
    )
    assert re.findall(r'width="([\d.]+)%" y', drawn) == ["75.00", "5.00"]
    assert re.findall(r'x="([\d.]+)%" width', drawn) == ["0.00", "75.00"]
    assert "75%" in drawn
    assert ">5%<" not in drawn
    assert "<title>27 of 36</title>" in drawn
    assert "none" not in drawn
