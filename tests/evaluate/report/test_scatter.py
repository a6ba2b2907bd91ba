import numpy as np

from triskele.evaluate.report.scatter import HEIGHT, WIDTH, scatter


def test_every_query_is_a_dot_with_its_text() -> None:
    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.4, 0.4]])
    labels = np.array([0, 2, 2, 2])
    drawn = scatter(points, labels, ["<b>", "", "x" * 500, "d"], ["n"] * 4)
    assert drawn.count("data-t=") == 4
    assert 'data-t="&lt;b&gt;"' in drawn
    assert 'data-t="(no text)"' in drawn
    assert "x" * 200 not in drawn
    assert drawn.count('class="k2"') == 4, "three dots and a badge; one dot alone has none"
    assert drawn.count('class="k0"') == 1


def test_the_map_is_the_right_way_up() -> None:
    drawn = scatter(np.array([[0.0, 0.0]]), np.array([0]), ["a"], [""])
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in drawn
    assert 'cx="24" cy="616"' in drawn
