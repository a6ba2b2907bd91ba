import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles.dynmuon import logistic_exponent

from triskele.optim.schedule import PowerSchedule

SHAPES = ("logistic", "constant", "linear", "cosine")


@pytest.mark.parametrize("q", [0.0, 0.01, 0.04, 0.095, 0.5, 1.0])
def test_logistic_follows_the_published_formula(q: float) -> None:
    schedule = PowerSchedule(start=1.0, end=-0.25, midpoint=0.04, width=0.04)
    expected = logistic_exponent(q, p_max=1.0, p_min=-0.25, tau=0.04, w=0.04)
    assert schedule(q) == pytest.approx(expected, abs=1e-12)


def test_published_schedule_starts_at_two_thirds_not_at_one() -> None:
    schedule = PowerSchedule(start=1.0, end=-0.25, midpoint=0.04, width=0.04)
    assert schedule(0.0) == pytest.approx(0.664, abs=5e-4)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_linear_and_cosine_go_from_start_to_end(shape: str) -> None:
    schedule = PowerSchedule(shape=shape, start=0.3, end=-0.1)  # type: ignore[arg-type]
    assert schedule(0.0) == pytest.approx(0.3)
    assert schedule(0.5) == pytest.approx(0.1)
    assert schedule(1.0) == pytest.approx(-0.1)


def test_constant_ignores_end() -> None:
    schedule = PowerSchedule(shape="constant", start=-0.1, end=0.9)
    assert {schedule(q) for q in (0.0, 0.3, 1.0)} == {-0.1}


@given(q=st.floats(-2.0, 3.0), shape=st.sampled_from(SHAPES))
def test_exponent_stays_between_its_ends_and_holds_outside_training(q: float, shape: str) -> None:
    schedule = PowerSchedule(shape=shape)  # type: ignore[arg-type]
    assert -0.25 <= schedule(q) <= 0.25
    assert schedule(q) == schedule(min(max(q, 0.0), 1.0))


@given(q=st.floats(0.0, 1.0), shape=st.sampled_from(SHAPES))
def test_a_tensor_fraction_gives_the_same_exponent_on_its_device(q: float, shape: str) -> None:
    schedule = PowerSchedule(shape=shape)  # type: ignore[arg-type]
    p = schedule(torch.tensor(q, dtype=torch.float64))
    assert isinstance(p, torch.Tensor)
    assert p.item() == pytest.approx(schedule(q), abs=1e-9)


def test_extreme_widths_do_not_overflow() -> None:
    schedule = PowerSchedule(start=0.25, end=-0.25, midpoint=0.5, width=1e-6)
    assert schedule(0.0) == pytest.approx(0.25)
    assert schedule(1.0) == pytest.approx(-0.25)
    assert math.isfinite(schedule(0.5))


def test_plain_data_rebuilds_the_schedule() -> None:
    schedule = PowerSchedule(shape="cosine", start=0.1, end=-0.2)
    assert PowerSchedule(**schedule.to_dict()) == schedule  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": "step"}, "shape must be one of"),
        ({"start": 1.5}, r"start must lie in \[-0.5, 1\], got 1.5"),
        ({"end": -0.6}, r"end must lie in \[-0.5, 1\], got -0.6"),
        ({"width": 0.0}, "width must be positive, got 0.0"),
    ],
)
def test_wrong_values_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PowerSchedule(**wrong)  # type: ignore[arg-type]
