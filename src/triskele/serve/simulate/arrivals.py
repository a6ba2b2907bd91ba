"""When requests arrive: a renewal process with gamma-distributed gaps.

With a coefficient of variation of 1 the gaps are exponential and the process is Poisson's; above 1
arrivals come in bursts, below 1 they are more regular than chance. (What ``vllm bench serve`` calls
burstiness is the shape of the same distribution, one over the square of ours.)
"""

import numpy as np
from numpy.typing import NDArray

from triskele.serve.simulate.bounds import require_at_least, require_positive


def arrival_times(
    n: int, rng: np.random.Generator, *, rate: float, burstiness: float = 1.0
) -> NDArray[np.float64]:
    """Return the times of the first ``n`` arrivals.

    Parameters
    ----------
    n
        How many.
    rng
        The source of all draws.
    rate
        Arrivals per second in the long run.
    burstiness
        Coefficient of variation of the gaps: their standard deviation over their mean.

    Returns
    -------
    NDArray, shape (n,)
        Seconds, never falling; the first arrival comes one gap after 0.

    Raises
    ------
    ValueError
        If ``rate`` or ``burstiness`` is not finite and above 0, or ``n`` is negative.
    """
    require_at_least(0, n=n)
    require_positive(rate=rate, burstiness=burstiness)
    # A gamma variable of shape k has the coefficient of variation 1/√k and, unscaled, the mean k.
    shape = burstiness**-2
    times: NDArray[np.float64] = np.cumsum(rng.standard_gamma(shape, n)) / (shape * rate)
    return times
