"""The Gittins index of a run that waits for its next use, by trying every age to give up at."""

from collections.abc import Sequence


def gittins_index(hazards: Sequence[float], widths: Sequence[float], start: int) -> float:
    """Return the most uses to expect per request of waiting, from the beginning of a bin on."""
    best = 0.0
    for stop in range(start, len(hazards)):
        alive, uses, waiting = 1.0, 0.0, 0.0
        for bin_ in range(start, stop + 1):
            is_used, width = hazards[bin_], widths[bin_]
            uses += alive * is_used
            waiting += alive * (is_used * width / 2 + (1 - is_used) * width)
            alive *= 1 - is_used
        best = max(best, uses / waiting)
    return best
