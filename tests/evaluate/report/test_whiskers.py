from tests.evaluate.kinds import few_comparisons

from triskele.evaluate.report.axes import Axis
from triskele.evaluate.report.whiskers import common_axis, whisker_chart
from triskele.evaluate.standings import global_leaderboard

LINES = global_leaderboard(few_comparisons()).lines


def test_each_model_has_a_line_and_all_have_an_axis() -> None:
    chart = whisker_chart(LINES, common_axis([LINES]))
    assert chart.count('class="track"') == 3
    assert chart.count('class="ticks"') == 1
    assert all(f">{line.model}<" in chart for line in LINES)


def test_whiskers_end_within_the_axis() -> None:
    axis = common_axis([LINES])
    assert axis.low < min(line.lower for line in LINES)
    assert axis.high > max(line.upper for line in LINES)


def test_the_average_is_drawn_where_it_is() -> None:
    assert 'class="zero"' in whisker_chart(LINES, Axis(low=-1, high=1))
    assert 'class="zero"' not in whisker_chart(LINES, Axis(low=1, high=2))
