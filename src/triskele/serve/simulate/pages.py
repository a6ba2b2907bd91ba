"""Hashes of pages that have no text: who owns a page, and at which place of the prompt it stands.

Two keys share a hash where both the owner and the place are the same: a group of prompts owns the
pages of its prefix, a prompt owns the rest, a conversation owns all that was ever said in it. The
number of a page, owner · 2²⁴ + place, goes through the finalizer of splitmix64, which maps 64-bit
numbers one to one: hashes stay unique and yet look like hashes, so that a router which takes them
modulo the number of workers is neither favoured nor fooled.
"""

import numpy as np
from numpy.typing import NDArray

PLACE_BITS = 24
"""A prompt has at most 2²⁴ pages; that leaves 2³⁹ owners."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def page_numbers(owners: NDArray[np.int64] | int, places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return one number below 2⁶³ per page, unique to its owner and place.

    Parameters
    ----------
    owners
        From 0, below 2³⁹; one for all pages or one per page.
    places
        From 0, below 2²⁴, shape (n_pages,).
    """
    assert not places.size or places.max() < 1 << PLACE_BITS
    return (np.left_shift(owners, PLACE_BITS) | places).astype(np.uint64)


def page_hashes(owners: NDArray[np.int64] | int, places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return one 64-bit hash per page, as unique as :func:`page_numbers`."""
    x = page_numbers(owners, places) + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    hashes: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return hashes
