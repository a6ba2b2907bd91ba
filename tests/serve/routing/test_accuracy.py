import pytest

from triskele.serve.routing.accuracy import ErrorReport, Errors


def test_there_is_no_report_before_the_first_outcome() -> None:
    assert Errors().report() is None


def test_the_report_is_of_predicted_minus_observed() -> None:
    errors = Errors()
    for predicted, observed in ((1.0, 2.0), (3.0, 2.0), (2.5, 1.0)):
        errors.add(predicted, observed)
    assert errors.report() == ErrorReport(n=3, bias=0.5, mean_absolute=3.5 / 3, relative=0.5)


def test_only_the_last_outcomes_count() -> None:
    errors = Errors(n_kept=2)
    for predicted in (100.0, 1.0, 3.0):
        errors.add(predicted, 2.0)
    assert errors.report() == ErrorReport(n=2, bias=0.0, mean_absolute=1.0, relative=0.5)


def test_nothing_observed_is_no_division_by_zero() -> None:
    errors = Errors()
    errors.add(1.0, 0.0)
    report = errors.report()
    assert report is not None
    assert report.relative == pytest.approx(1e9)
