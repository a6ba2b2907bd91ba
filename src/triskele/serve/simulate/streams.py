"""Streams of random numbers by seed and purpose, independent of each other.

What one part of a workload draws never moves what another part draws: the order of the prompts is
the same at every rate, and a conversation thinks equally long whoever was answered before it.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is drawn for."""

    TIMES = 0
    ORDER = 1
    THINK = 2
    PREFIXES = 3
    PROMPTS = 4


def stream(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """Return the generator of a purpose.

    Parameters
    ----------
    seed
        The workload's; at least 0.
    purpose
        What is drawn.
    *place
        Which of many things of the same purpose, such as one turn of one conversation.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *place)))
