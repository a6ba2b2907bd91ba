"""Pairs of queries whose meaning and whose capabilities disagree.

A split is a query and one of its nearest in meaning that another model suits best; a merge is a
pair that is far apart in meaning, is suited best by one model, and departs from the ranking of all
queries in the same way. Capabilities are those of the clusters by embedding and evidence: of two
near queries, their comparisons decide.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.embedding.embedder import unit_rows

N_SEEKERS, N_POOL = 1_500, 20_000
N_NEAREST = 5
FAR = 0.25
"""Share of the pairs, those with the lowest cosines, that are far in meaning."""
N_TRIED = 20_000
"""Best pairs among which different ones are looked for."""
MAX_ALIKE = 2
"""Pairs that the same models lead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two queries."""

    first: int
    second: int
    cosine: float
    """Of their embeddings, less the mean of all."""
    difference: float
    """Root mean square over models of the difference of capabilities, in log odds."""


def splits_and_merges(
    X: NDArray[np.floating[Any]],
    capabilities: Floats,
    usual: Floats,
    compared: Integers,
    texts: Sequence[str],
    *,
    n_pairs: int,
    rng: np.random.Generator,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return splits and merges, the clearest first, no query in two of a kind, varied.

    Parameters
    ----------
    X
        Embeddings, (n_queries, n_features).
    capabilities
        Of the models for each query, (n_queries, n_models), as log odds.
    usual
        That for all queries, (n_models,).
    compared
        Rows that have comparisons; only they are paired.
    texts
        (n_queries,); a query is not paired with one of the same text.
    n_pairs
        Of each kind at most.
    rng
        Draws those that are looked at where there are very many.
    """
    pool = np.sort(rng.permutation(compared)[:N_POOL])
    if len(pool) < 2:
        return (), ()
    units = unit_rows(np.asarray(X[pool] - X.mean(0), np.float32))
    best = capabilities[pool].argmax(1)
    departure = capabilities[pool] - usual
    departure -= departure.mean(1, keepdims=True)
    seekers = np.sort(rng.permutation(len(pool))[:N_SEEKERS])
    cosine = units[seekers] @ units.T
    cosine[np.arange(len(seekers)), seekers] = -np.inf
    n_nearest = min(N_NEAREST, len(pool) - 1)
    nearest = np.argpartition(-cosine, n_nearest - 1, axis=1)[:, :n_nearest]
    first, second = np.repeat(seekers, n_nearest), nearest.ravel()
    meant = np.take_along_axis(cosine, nearest, 1).ravel()
    near = (meant >= np.median(meant)) & (best[first] != best[second])
    first, second = first[near], second[near]
    apart = _difference(departure, first, second)

    def pairs(first: Integers, second: Integers, score: Floats) -> tuple[Pair, ...]:
        order = np.argsort(-score, kind="stable")[:N_TRIED]
        leaders = np.sort(np.stack([best[first[order]], best[second[order]]], 1), 1)
        chosen = _different(pool[first[order]], pool[second[order]], leaders, texts, n_pairs)
        return tuple(
            Pair(
                first=int(pool[first[place]]),
                second=int(pool[second[place]]),
                cosine=float(units[first[place]] @ units[second[place]]),
                difference=float(_difference(departure, first[place], second[place])),
            )
            for place in order[chosen]
        )

    among = cosine[:, seekers]
    upper = np.triu_indices(len(seekers), 1)
    meant = among[upper]
    far = meant <= np.quantile(meant, FAR) if len(meant) else np.zeros(0, np.bool_)
    left, right = upper[0][far], upper[1][far]
    alike = best[seekers[left]] == best[seekers[right]]
    left, right = left[alike], right[alike]
    in_common = (departure[seekers] @ departure[seekers].T)[left, right]
    return (
        pairs(first, second, apart),
        pairs(seekers[left], seekers[right], in_common),
    )


def _difference(departure: Floats, first: Integers, second: Integers) -> Floats:
    away = departure[first] - departure[second]
    return np.asarray(np.sqrt(np.square(away).mean(-1)))


def _different(
    first: Integers,
    second: Integers,
    leaders: Integers,
    texts: Sequence[str],
    n_pairs: int,
) -> list[int]:
    """Return places of pairs in which no text stands twice and few have the same leaders."""
    chosen: list[int] = []
    seen: set[str] = set()
    n_led: Counter[tuple[int, ...]] = Counter()
    rows = zip(first.tolist(), second.tolist(), map(tuple, leaders.tolist()), strict=True)
    for place, (a, b, led_by) in enumerate(rows):
        names = {texts[a] or f"row {a}", texts[b] or f"row {b}"}
        if len(names) < 2 or names & seen or n_led[led_by] == MAX_ALIKE:
            continue
        chosen.append(place)
        seen |= names
        n_led[led_by] += 1
        if len(chosen) == n_pairs:
            break
    return chosen
