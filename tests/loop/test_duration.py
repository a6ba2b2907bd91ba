import pytest

from triskele.loop.duration import seconds_of


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("7d", 604800), ("2w", 1209600), (" 1s ", 1)],
)
def test_times_are_read_as_people_write_them(written: str, seconds: float) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize("written", ["", "10", "0s", "-1m", "1y", "ten minutes", "1e3s"])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        seconds_of(written)
