from triskele.evaluate.holdout import Bin
from triskele.evaluate.report.reliability import reliability


def test_each_bin_is_a_dot_with_its_error() -> None:
    bins = [Bin(predicted=p, observed=p - 0.1, error=0.03, n=50) for p in (0.5, 0.7, 0.95)]
    drawn = reliability(bins)
    assert drawn.count("<circle") == drawn.count('class="error"') == 3
    assert "predicted 70.0%, observed 60.0% ± 4.9%, 50 comparisons" in drawn


def test_favourites_that_never_win_still_fit_in() -> None:
    drawn = reliability([Bin(predicted=0.9, observed=0.0, error=0.0, n=1)])
    assert 'cy="-' not in drawn
    assert reliability([])
