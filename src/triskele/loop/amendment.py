"""What is changed in a table without any evidence: models that are new, and what models cost.

A model that nobody has tried cannot be chosen, nor explored, unless the table has it. So it is
added as one in the middle of the others, on all queries: the router's exploration does the rest.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from triskele.loop.fitting import priced
from triskele.serve.routing.capability_table import CapabilityTable, table_of


def amended(
    table: CapabilityTable, *, models: Sequence[str], prices: Mapping[str, float]
) -> CapabilityTable | None:
    """Return a table with other models and prices; ``None`` if it has them already.

    Parameters
    ----------
    table
        Of which all models are kept.
    models
        Those that it has to have; new ones come last.
    prices
        Of models; where one is not named, its price stays.
    """
    new = [name for name in dict.fromkeys(models) if name not in table.models]
    kept = dict(zip(table.models, table.prices.tolist(), strict=True))
    names = (*table.models, *new)
    price = np.array(priced(names, {**kept, **prices}), np.float32)
    if not new and np.array_equal(price, table.prices):
        return None
    bias = [*table.bias, *[np.median(table.bias)] * len(new)]
    weights = table.weights
    if new:
        middle = np.median(weights, axis=1, keepdims=True)
        weights = np.hstack([weights, np.repeat(middle, len(new), axis=1)])
    return table_of(
        names,
        prices=price,
        bias=bias,
        points=table.points,
        gamma=table.gamma,
        weights=weights,
        embedder=table.embedder,
    )
