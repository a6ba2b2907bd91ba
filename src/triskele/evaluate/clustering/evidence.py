"""What the comparisons of a query say of the very models in them.

Beside the cluster, which tells of all models, a comparison tells of its own two. Where scores are
right or wrong, "a beats b" says that a was right and b wrong, and decides whatever either meets
next; where they are graded, it says less. How much is not assumed but learned, as the weights of
three numbers per query and model:

- wins less losses, up to one either way;
- how far they go beyond one;
- the surprise: −log of the probability of each outcome as expected before, added for the winner and
  taken from the loser. With one shared Gumbel utility per query and model (Plackett 1975, Luce
  1959) its weight for a winner is 1: P(a ≻ c | a ≻ b) has the log odds θ_a − θ_c − log P(a ≻ b).
"""

import numpy as np

from triskele.evaluate.columns import Floats
from triskele.evaluate.comparisons import Comparisons

N_TRACES = 3


def traces(comparisons: Comparisons, expected_QM: Floats) -> Floats:
    """Return what evidence leaves on its models.

    Parameters
    ----------
    comparisons
        The evidence. A tie leaves no trace, half the weight half of one.
    expected_QM
        Capabilities as expected without it, (n_queries, n_models).

    Returns
    -------
    Array
        (3, n_queries, n_models): net wins up to one, net wins beyond it, surprise.
    """
    query, a, b = comparisons.query, comparisons.model_a, comparisons.model_b
    shape = (comparisons.n_queries, comparisons.n_models)
    for_b = (2 * comparisons.outcome - 1) * comparisons.weight
    lead = expected_QM[query, b] - expected_QM[query, a]
    surprise = for_b * np.logaddexp(0.0, -np.sign(for_b) * lead)

    def tally(value: Floats) -> Floats:
        size = shape[0] * shape[1]
        won = np.bincount(query * shape[1] + b, value, size)
        lost = np.bincount(query * shape[1] + a, value, size)
        return np.subtract(won, lost, dtype=np.float64).reshape(shape)

    net = tally(for_b)
    first = net.clip(-1.0, 1.0)
    return np.stack([first, net - first, tally(surprise)])
