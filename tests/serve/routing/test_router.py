from math import inf, nan

import pytest

from triskele.serve.routing import CacheListener, LearnedGreedy, Outcome, OverlapCost, Phase
from triskele.serve.routing.baselines import round_robin


@pytest.mark.parametrize("latency", [-0.1, inf, nan])
def test_a_latency_that_no_clock_can_measure_is_refused(latency: float) -> None:
    with pytest.raises(ValueError, match="latency of at least 0 seconds"):
        Outcome(1, "a", Phase.FINISHED, latency)


def test_those_that_take_events_are_told_from_those_that_do_not() -> None:
    assert isinstance(LearnedGreedy(page_size=16), CacheListener)
    assert issubclass(OverlapCost, CacheListener)
    assert not isinstance(round_robin(), CacheListener)
