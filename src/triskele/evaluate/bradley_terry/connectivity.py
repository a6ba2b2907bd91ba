"""Which models the comparisons tie together, and when strengths have no finite maximum.

Strengths are only known relative to those with whom one is connected through comparisons. Without
a ridge they are finite only if, in every connected group and however it is cut in two, each part
has won something against the other (Ford 1957): each group is strongly connected by its wins.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from triskele.evaluate.columns import Flags, Floats, Integers

LIGHT = 2.0**-50
"""Less than this share of what both models have is lost in rounding, and ties nothing together."""


class Separation(NamedTuple):
    """Why there is no finite maximum: indices of models."""

    unbeaten: Integers
    """Won against others of their group and lost nothing to them."""
    winless: Integers
    """Lost to others of their group and won nothing against them."""


def links(wins: Floats) -> Flags:
    """Return who has been compared with whom, in either direction.

    Parameters
    ----------
    wins
        (…, n_models, n_models), what i won against j.

    Returns
    -------
    Array
        (…, n_models, n_models), symmetric; a comparison too light to count is none.
    """
    games = wins + wins.swapaxes(-1, -2)
    of_model = games.sum(-1)
    lesser = np.minimum(of_model[..., :, None], of_model[..., None, :])
    return np.asarray(games > LIGHT * lesser)


def groups(linked: Flags) -> Integers:
    """Return the connected group of each model, in many graphs at once.

    Parameters
    ----------
    linked
        (…, n_models, n_models), symmetric.

    Returns
    -------
    Array
        (…, n_models): a group is called by the smallest index in it.
    """
    n_models = linked.shape[-1]
    labels = np.broadcast_to(np.arange(n_models), linked.shape[:-1]).copy()
    if (linked.sum(-1) == n_models - 1).any(-1).all():
        # Someone was compared with everyone.
        return np.zeros_like(labels)
    while True:
        of_others = np.where(linked, labels[..., None, :], n_models).min(-1)
        lower = np.minimum(labels, of_others)
        lower = np.take_along_axis(lower, lower, -1)
        if (lower == labels).all():
            return labels
        labels = lower


def separation(wins: Floats) -> Separation | None:
    """Return who would be infinitely strong or weak without a ridge, if there is anyone.

    Parameters
    ----------
    wins
        (n_models, n_models), what i won against j.
    """
    won = links(wins) & (wins > 0)
    _, part = csgraph.connected_components(sparse.csr_array(won), connection="strong")
    crosses = won & (part[:, None] != part)
    if not crosses.any():
        return None
    above, below = np.unique(part[crosses.any(1)]), np.unique(part[crosses.any(0)])
    unbeaten = np.flatnonzero(np.isin(part, np.setdiff1d(above, below)))
    winless = np.flatnonzero(np.isin(part, np.setdiff1d(below, above)))
    return Separation(unbeaten, winless)
