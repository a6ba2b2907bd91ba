"""Learning rates over a run: pure shapes of the training fraction q = t / T.

A shape returns the multiple of the peak rate at q in [0, 1]: it rises linearly over the warm-up,
stays within [floor, 1] afterwards, and ends at the floor. ``power`` is the cool-down known from
the public speed-run records, min(1, c·(1 − q)^1.2), with c such that it leaves 1 where the
cool-down begins. The shapes know neither steps nor optimizers.
"""

import math

from triskele.train.config import ScheduleOptions

POWER = 1.2
"""Exponent of the power cool-down."""


def lr_multiplier(q: float, schedule: ScheduleOptions) -> float:
    """Return the learning rate at training fraction ``q``, as a multiple of its peak.

    Parameters
    ----------
    q
        Fraction of the steps already taken, in [0, 1].
    schedule
        Shape, warm-up, cool-down and floor.

    Raises
    ------
    ValueError
        If ``q`` lies outside [0, 1].
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"the training fraction must lie in [0, 1], got {q}")
    warmup, cooldown, floor = schedule.warmup, schedule.cooldown, schedule.floor
    if q < warmup:
        return q / warmup
    if schedule.shape in ("wsd", "power"):
        left = 1.0 if cooldown == 0.0 else min(1.0, (1.0 - q) / cooldown)
        fall = left if schedule.shape == "wsd" else left**POWER
    else:
        left = 1.0 if warmup == 1.0 else (1.0 - q) / (1.0 - warmup)
        fall = left if schedule.shape == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)
    return floor + (1.0 - floor) * fall


def lr_at_step(step: int, total_steps: int, schedule: ScheduleOptions) -> float:
    """Return the multiplier for the update numbered ``step`` (from 0) of ``total_steps``.

    The fraction is taken at the middle of the step, so that neither the first update nor the last
    one has a rate of zero.
    """
    return lr_multiplier((step + 0.5) / total_steps, schedule)
