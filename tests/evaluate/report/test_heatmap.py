import numpy as np

from triskele.evaluate.report.heatmap import MAX_MODELS, heatmap


def test_every_pair_has_a_square_and_its_count() -> None:
    counts = np.array([[0.0, 4, 0], [4, 0, 2.5], [0, 2.5, 0]])
    drawn = heatmap(["a", "b", "c"], counts)
    assert drawn.count("<rect") == 6
    assert drawn.count('class="none"') == 2
    assert "a and b: 4 comparisons" in drawn
    assert "b and c: 2.5 comparisons" in drawn


def test_more_models_than_anybody_reads_are_cut() -> None:
    n = MAX_MODELS + 5
    drawn = heatmap([f"m{i}" for i in range(n)], np.ones((n, n)))
    assert drawn.count("<rect") == MAX_MODELS * (MAX_MODELS - 1)


def test_no_comparison_is_a_picture_too() -> None:
    assert heatmap(["a", "b"], np.zeros((2, 2))).count('class="none"') == 2
    assert "<rect" not in heatmap(["a"], np.zeros((1, 1)))
