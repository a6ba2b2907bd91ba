import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.train.config import ScheduleOptions
from triskele.train.lr import lr_at_step, lr_multiplier

SHAPES = ("wsd", "cosine", "linear", "power")
fractions = st.floats(0.0, 1.0)


@st.composite
def schedules(draw):
    warmup = draw(st.floats(0.0, 0.5))
    return ScheduleOptions(
        shape=draw(st.sampled_from(SHAPES)),
        warmup=warmup,
        cooldown=draw(st.floats(0.05, 0.5)),
        floor=draw(fractions),
    )


@given(schedule=schedules(), q=fractions)
def test_a_multiplier_lies_between_zero_and_one(schedule, q):
    value = lr_multiplier(q, schedule)
    assert 0.0 <= value <= 1.0
    if q >= schedule.warmup:
        assert value >= schedule.floor - 1e-12


@given(schedule=schedules())
def test_a_shape_ends_at_its_floor(schedule):
    assert lr_multiplier(1.0, schedule) == pytest.approx(schedule.floor, abs=1e-12)


@given(schedule=schedules())
def test_a_shape_is_at_its_peak_when_the_warmup_ends(schedule):
    assert lr_multiplier(schedule.warmup, schedule) == pytest.approx(1.0)


@given(schedule=schedules(), q=st.floats(0.0, 0.999))
def test_a_shape_has_no_jumps(schedule, q):
    step = 1e-6
    steepest = max(1.0 / max(schedule.warmup, step), 2.0 * 1.2 / schedule.cooldown, 6.0)
    change = abs(lr_multiplier(q + step, schedule) - lr_multiplier(q, schedule))
    if schedule.warmup == 0.0 or q >= schedule.warmup or q + step < schedule.warmup:
        assert change <= 1.01 * steepest * step
    else:
        assert change <= 2.02 * steepest * step


@given(schedule=schedules(), a=fractions, b=fractions)
def test_a_shape_never_rises_after_its_warmup(schedule, a, b):
    first, second = sorted((a, b))
    if first >= schedule.warmup:
        assert lr_multiplier(first, schedule) >= lr_multiplier(second, schedule) - 1e-12


@pytest.mark.parametrize(
    ("shape", "q", "expected"),
    [
        ("wsd", 0.05, 0.5),
        ("wsd", 0.6, 1.0),
        ("wsd", 0.8, 0.5),
        ("power", 0.6, 1.0),
        ("power", 0.8, 0.5**1.2),
        ("linear", 0.55, 0.5),
        ("cosine", 0.55, 0.5),
        ("cosine", 0.325, 0.853553),
    ],
)
def test_a_shape_has_the_value_worked_out_by_hand(shape, q, expected):
    schedule = ScheduleOptions(shape=shape, warmup=0.1, cooldown=0.4)
    assert lr_multiplier(q, schedule) == pytest.approx(expected, abs=1e-6)


def test_neither_the_first_nor_the_last_update_has_rate_zero():
    for shape in SHAPES:
        schedule = ScheduleOptions(shape=shape, warmup=0.3, cooldown=0.7)
        rates = [lr_at_step(step, 10, schedule) for step in range(10)]
        assert min(rates) > 0.0
        assert all(b > a for a, b in itertools.pairwise(rates[:3]))
        assert all(b < a for a, b in itertools.pairwise(rates[3:]))


@pytest.mark.parametrize("q", [-0.01, 1.01])
def test_a_fraction_outside_training_is_refused(q):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        lr_multiplier(q, ScheduleOptions())
