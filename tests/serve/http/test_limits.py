from dataclasses import FrozenInstanceError, fields

import pytest

from triskele.serve.http import Limits


def test_limits_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Limits().body_bytes = 1  # type: ignore[misc]


@pytest.mark.parametrize("value", [0, -1, float("nan")])
@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_a_limit_that_lets_nobody_in_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"expected {name} above 0"):
        Limits(**{name: value})


def test_every_limit_can_be_set() -> None:
    values = {field.name: n for n, field in enumerate(fields(Limits), 1)}
    limits = Limits(**values)
    assert {name: getattr(limits, name) for name in values} == values
