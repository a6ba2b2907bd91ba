"""Scores that stand in the order of a data-parallel run's ranks, and how many ranks there were.

A harness that deals n documents to w ranks in turn, and puts the ranks' results one after the
other, leaves the order 0, w, 2w, …, 1, w + 1, …. Columns of runs of different w then speak of
different documents in the same row. Put back in order they agree again: hard questions are hard for
most models. So the w of all columns are sought that make them agree best.

Agreement alone cannot see what is common to all columns: if all are put in the order of the same w
they agree just as well. Where several choices do, all are returned.

Legend: n rows, M models, W numbers of ranks that are tried; columns x are centred within blocks and
of length 1, so that products are correlations.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.columns import Floats, Integers

N_ROWS = 20_000
"""Rows that the search looks at, drawn at random; what it finds is judged on all of them."""
N_LEADERS = 48
"""Models whose ranks are sought together, those with the most scores; the others follow them."""
N_ROUNDS = 20
CHUNK = 4096
TINY, ROUNDING = 1e-12, 1e-9
MAX_RUNS = 64
"""Runs of a label up to which it is asked which of them belong together."""


def in_order(blocks: Integers, n_ranks: int) -> Integers:
    """Return the rows that put columns of a run with so many ranks back in order.

    Parameters
    ----------
    blocks
        The number of each row's task, (n,): each task is dealt to the ranks on its own.
    n_ranks
        How many ranks there were.

    Returns
    -------
    Array
        (n,): row q of the ordered column is row ``rows[q]`` of the one that was given.
    """
    rows = np.arange(len(blocks))
    if n_ranks == 1:
        return rows
    by_block = np.argsort(blocks, kind="stable")
    begins = np.flatnonzero(np.diff(blocks[by_block], prepend=-1))
    for members in np.split(by_block, begins[1:]):
        dealt = [members[rank::n_ranks] for rank in range(n_ranks)]
        rows[np.concatenate(dealt)] = members
    return rows


def standardized(scores: Floats, blocks: Integers) -> Floats:
    """Return columns centred within each block and of length 1, zero where a score is missing.

    A column that is constant within all blocks is all zeros.
    """
    is_known = ~np.isnan(scores)
    filled = np.where(is_known, scores, 0.0)
    counts = _sums(is_known.astype(np.float64), blocks)
    means = _sums(filled, blocks) / np.maximum(counts, 1)
    centred = np.where(is_known, filled - means[blocks], 0.0)
    spread = np.abs(filled).max(axis=0, initial=0.0)
    lengths = np.linalg.norm(centred, axis=0)
    # What is left of a constant after centring is rounding.
    is_constant = lengths <= ROUNDING * spread * np.sqrt(len(scores))
    columns: Floats = centred / np.where(is_constant, np.inf, lengths)
    return columns


def ordered(columns: Floats, orders: Sequence[Integers], choice: Integers) -> Floats:
    """Return each column in the order that is chosen for it: (n, M), or the rows in the orders."""
    return np.stack([columns[orders[c], i] for i, c in enumerate(choice)], axis=1)


def agreement(
    columns: Floats, blocks: Integers, orders: Sequence[Integers], choice: Integers
) -> Floats:
    """Return how well each column agrees with the sum of the others, in each of the orders.

    Parameters
    ----------
    columns
        Standardized columns, (n, M).
    blocks
        Number of each row's task, (n,).
    orders
        The rows of each order, W of them.
    choice
        The order that each column is in when it is one of the others, (M,).

    Returns
    -------
    Array
        (M, W), in standard deviations under a random permutation within blocks.
    """
    aligned = ordered(columns, orders, choice)
    others = aligned.sum(axis=1, keepdims=True) - aligned
    # An order moves rows within blocks only, and chance is the same for all orders.
    deviations = _deviations(columns, others, blocks)
    products = [(columns[order] * others).sum(axis=0) for order in orders]
    return np.stack(products, axis=1) / deviations[:, None]


def relation(columns: Floats, references: Floats, blocks: Integers) -> Floats:
    """Return how well each column agrees with a reference of its own.

    Parameters
    ----------
    columns
        Standardized columns, (n, M).
    references
        Centred within blocks, (n, M).
    blocks
        Number of each row's task, (n,).

    Returns
    -------
    Array
        (M,), in standard deviations under a random permutation within blocks.
    """
    products: Floats = (columns * references).sum(axis=0)
    return products / _deviations(columns, references, blocks)


def candidate_orders(
    columns: Floats,
    orders: Sequence[Integers],
    *,
    critical: float,
    n_known: Integers,
    rng: np.random.Generator,
) -> list[Integers]:
    """Return the choices of an order for each column that let the columns agree best.

    Parameters
    ----------
    columns
        Standardized columns, (n, M).
    orders
        The rows of each order; the first leaves everything as it is.
    critical
        By how many standard deviations an order must be better than the first to be chosen.
    n_known
        How many scores each model has, (M,).
    rng
        Draws the rows that are looked at.

    Returns
    -------
    list of Array
        Choices, (M,) each, that agree equally well, the one that changes the fewest columns first.
    """
    n, n_models = columns.shape
    if n_models == 1:
        return [np.array([choice]) for choice in range(len(orders))]
    rows = np.sort(rng.permutation(n)[:N_ROWS])
    leaders = np.sort(np.argsort(-n_known, kind="stable")[:N_LEADERS])
    gram = _gram(columns[:, leaders], orders, rows)
    found = {
        simpler
        for begin in range(len(orders))
        for simpler in _divided(_ascended(gram, np.full(len(leaders), begin), critical, len(rows)))
    }
    choices = sorted((np.array(choice) for choice in found), key=np.count_nonzero)
    totals = [ordered(columns[:, leaders], orders, choice).sum(axis=1) for choice in choices]
    # Twice the sum of all correlations, up to what is the same for all choices.
    values = np.array([total @ total for total in totals])
    margin = critical * np.sqrt(len(leaders) * values.max() / n)
    return [
        _with_followers(choice, total, columns, orders, leaders, critical)
        for choice, total, value in zip(choices, totals, values, strict=True)
        if value >= values.max() - margin
    ]


def settled(
    columns: Floats,
    blocks: Integers,
    orders: Sequence[Integers],
    choice: Integers,
    *,
    critical: float,
) -> Integers:
    """Return the choice after every column has looked once more at all rows of the others."""
    for _ in range(N_ROUNDS):
        revised = _simplest(agreement(columns, blocks, orders, choice), critical)
        if (revised == choice).all():
            break
        choice = revised
    return choice


def merged_runs(columns: Floats, runs: Integers, n_ranks: Integers) -> Integers:
    """Return which neighbouring runs of rows are one task, if columns are in the ranks' order.

    Taken together, the runs of one task come back in order; taken apart, they do not. The best
    partition into neighbours is found by dynamic programming over where the last task begins.

    Parameters
    ----------
    columns
        Standardized columns, (n, M).
    runs
        Number of each row's run, (n,), rising; at most ``MAX_RUNS`` of them.
    n_ranks
        How many ranks each column had, (M,).

    Returns
    -------
    Array
        Number of each row's task, (n,), rising.
    """
    begins = np.flatnonzero(np.diff(runs, prepend=-1))
    ends = np.append(begins[1:], len(runs))
    # Columns of the same run move together.
    groups = [(int(w), columns[:, n_ranks == w].sum(axis=1)) for w in np.unique(n_ranks)]
    best: Floats = np.zeros(len(begins) + 1)
    first = np.zeros(len(begins) + 1, np.int64)
    for last in range(1, len(best)):
        energies = [_energy(groups, begins[run], ends[last - 1]) for run in range(last)]
        values = best[:last] + energies
        # Of equals the shortest: what is not seen to belong together does not.
        is_best = values >= values.max() * (1 - ROUNDING)
        first[last] = np.flatnonzero(is_best)[-1]
        best[last] = values[first[last]]
    tasks = np.zeros(len(runs), np.int64)
    last = len(begins)
    while last > 0:
        tasks[begins[first[last]]] = 1
        last = int(first[last])
    return tasks.cumsum() - 1


def _deviations(columns: Floats, references: Floats, blocks: Integers) -> Floats:
    """Return how much a product with a reference varies under permutation: (M,), not zero."""
    sizes = np.maximum(np.bincount(blocks) - 1, 1)
    products = _sums(columns**2, blocks) * _sums(references**2, blocks)
    deviations: Floats = np.sqrt(products.T @ (1 / sizes))
    return np.where(deviations > 0, deviations, np.inf)


def _sums(values: Floats, blocks: Integers) -> Floats:
    """Return the sums of columns within each block: (blocks, M)."""
    n_blocks = int(blocks.max(initial=0)) + 1
    sums = np.zeros((n_blocks, values.shape[1]))
    for i, column in enumerate(values.T):
        sums[:, i] = np.bincount(blocks, column, n_blocks)
    return sums


def _gram(columns: Floats, orders: Sequence[Integers], rows: Integers) -> NDArray[np.float32]:
    """Return products of all columns in all orders: (M, W, M, W)."""
    n_models, n_orders = columns.shape[1], len(orders)
    width = n_models * n_orders
    gram = np.zeros((width, width), np.float32)
    for begin in range(0, len(rows), CHUNK):
        part = rows[begin : begin + CHUNK]
        moved = np.stack([columns[order[part]] for order in orders], axis=2, dtype=np.float32)
        flat = moved.reshape(len(part), width)
        gram += flat.T @ flat
    scale = np.float32(len(columns) / max(1, len(rows)))
    return (gram * scale).reshape(n_models, n_orders, n_models, n_orders)


def _ascended(
    gram: NDArray[np.float32], choice: Integers, critical: float, n_rows: int
) -> Integers:
    """Let one column after the other take the order in which it agrees best with the others."""
    everyone = np.arange(len(choice))
    for _ in range(N_ROUNDS):
        before = choice.copy()
        for i in everyone:
            others = everyone != i
            chosen = choice[others]
            products = gram[i][:, everyone[others], chosen].sum(axis=1)
            among = gram[everyone[others], chosen][:, everyone[others], chosen].sum()
            z = products * np.sqrt(n_rows / max(among, TINY))
            choice[i] = _simplest(z[None], critical)[0]
        if (choice == before).all():
            break
    return choice


def _divided(choice: Integers) -> list[tuple[int, ...]]:
    """Return a choice, and those with a common factor of the ranks taken out.

    Ranks w and 2w are in about the same order relative to each other as 1 and 2 are.
    """
    n_ranks = choice + 1
    factor = int(np.gcd.reduce(n_ranks[n_ranks > 1], initial=0))
    divisors = [divisor for divisor in range(1, factor + 1) if factor % divisor == 0] or [1]
    return [
        tuple((np.where(n_ranks > 1, n_ranks // divisor, 1) - 1).tolist()) for divisor in divisors
    ]


def _with_followers(
    choice: Integers,
    total: Floats,
    columns: Floats,
    orders: Sequence[Integers],
    leaders: Integers,
    critical: float,
) -> Integers:
    """Extend a choice for the leaders to all models."""
    whole = np.zeros(columns.shape[1], np.int64)
    whole[leaders] = choice
    deviation = np.sqrt(max(float(total @ total), TINY) / len(total))
    for i in np.setdiff1d(np.arange(len(whole)), leaders):
        z = np.array([columns[order, i] @ total for order in orders]) / deviation
        whole[i] = _simplest(z[None], critical)[0]
    return whole


def _simplest(z: Floats, critical: float) -> Integers:
    """Return the best order of each column, unless leaving it as it is is about as good."""
    best = z.argmax(axis=1)
    rows = np.arange(len(best))
    is_better = (z[rows, best] - z[:, 0] > critical) & (z[rows, best] > critical)
    return np.where(is_better, best, 0)


def _energy(groups: Sequence[tuple[int, Floats]], begin: int, end: int) -> float:
    """Return the squared length of the sum of the columns, rows from begin to end as one task."""
    block = np.zeros(end - begin, np.int64)
    total = sum(column[begin:end][in_order(block, w)] for w, column in groups)
    return float(np.dot(total, total))
