"""Lengths of time as people write them: 90s, 10m, 36h, 7d."""

import re

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
WRITTEN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def seconds_of(written: str) -> float:
    """Return a length of time in seconds.

    Raises
    ------
    ValueError
        If it is none, or none at all.
    """
    match = WRITTEN.fullmatch(written.strip())
    if not match or not float(match[1]) > 0:
        raise ValueError(f"expected a time such as 90s, 10m, 36h or 7d, got {written!r}")
    return float(match[1]) * SECONDS[match[2]]
