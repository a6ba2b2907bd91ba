import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.loop.evidence import Evidence, Gathering
from triskele.loop.recency import N_HALF_LIVES, REMEMBERED, recency


def at(times: list[float], model: str = "m") -> Evidence:
    gathering = Gathering()
    for number, time in enumerate(times):
        gathering.score(str(number), model, 1.0, answered=time, arrived=time, source="s")
    return gathering.evidence()


def test_after_a_half_life_it_counts_half_and_after_many_not_at_all() -> None:
    weight = recency(at([100.0, 90.0, 80.0, 100 - 10 * N_HALF_LIVES - 1]), now=100, half_life=10,
                     changed={})  # fmt: skip
    assert weight == pytest.approx([1.0, 0.5, 0.25, 0.0])


def test_what_was_said_before_a_model_changed_counts_little() -> None:
    evidence = at([99.0, 100.0])
    known = recency(evidence, now=100, half_life=1e9, changed={"m": 100.0, "other": 200.0})
    assert known == pytest.approx([REMEMBERED, 1.0])


@given(st.lists(st.floats(0, 1000), min_size=1), st.floats(1, 100))
def test_the_older_the_less(times: list[float], half_life: float) -> None:
    weight = recency(at(times), now=500.0, half_life=half_life, changed={})
    assert ((weight >= 0) & (weight <= 1)).all()
    assert (np.diff(weight[np.argsort(times)]) >= 0).all()
