import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.simulate.arrivals import arrival_times


@given(
    n=st.integers(0, 50),
    rate=st.floats(1e-3, 1e3),
    burstiness=st.floats(0.05, 5),
    seed=st.integers(0, 9),
)
def test_times_never_fall_and_stretch_with_the_rate(
    n: int, rate: float, burstiness: float, seed: int
) -> None:
    times = arrival_times(n, np.random.default_rng(seed), rate=rate, burstiness=burstiness)
    assert times.shape == (n,)
    assert (np.diff(times, prepend=0.0) >= 0).all()
    slower = arrival_times(n, np.random.default_rng(seed), rate=rate / 2, burstiness=burstiness)
    np.testing.assert_allclose(slower, 2 * times)


@pytest.mark.parametrize("burstiness", [0.2, 1.0, 3.0])
def test_gaps_have_the_mean_and_the_variation_asked_for(burstiness: float) -> None:
    times = arrival_times(200_000, np.random.default_rng(0), rate=4.0, burstiness=burstiness)
    gaps = np.diff(times, prepend=0.0)
    assert gaps.mean() == pytest.approx(1 / 4.0, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness, rel=0.02)


def test_a_variation_of_one_is_the_process_of_poisson() -> None:
    times = arrival_times(100, np.random.default_rng(7), rate=12.0)
    gaps = np.random.default_rng(7).exponential(1 / 12.0, 100)
    np.testing.assert_allclose(times, np.cumsum(gaps))


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(value: float) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="finite rate above 0"):
        arrival_times(1, rng, rate=value)
    with pytest.raises(ValueError, match="finite burstiness above 0"):
        arrival_times(1, rng, rate=1.0, burstiness=value)
    with pytest.raises(ValueError, match="n of at least 0, got -1"):
        arrival_times(-1, rng, rate=1.0)
