"""How long to wait before asking again.

Waits grow exponentially to a bound, each drawn between half of its length and all of it, so that
callers who failed together do not come back together. What the endpoint itself asks for in
``Retry-After`` (RFC 9110, §10.2.3) is honoured, with a little more of the same kind. The clock is
not read here.
"""

import math
import random
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_PAUSE = 3600.0
"""Seconds; an endpoint that asks for more is not waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often to ask again, and the waits between, in seconds."""

    n_retries: int = 6
    first: float = 1.0
    longest: float = 60.0

    def wait(self, n_failed: int, *, retry_after: float | None, rng: random.Random) -> float:
        """Return the seconds to wait after so many attempts have failed, at least one.

        Parameters
        ----------
        n_failed
            Attempts so far.
        retry_after
            Seconds that the endpoint asked for, if it did.
        rng
            Draws the jitter.
        """
        # Beyond 2^60 every wait is the longest one.
        grown = min(self.longest, self.first * 2.0 ** min(n_failed - 1, 60))
        if retry_after is None:
            return grown * rng.uniform(0.5, 1.0)
        return retry_after + self.first * rng.random()


def seconds_of(retry_after: str | None, *, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, None if it does not say.

    Parameters
    ----------
    retry_after
        The header: seconds, or a date.
    now
        Unix time.
    """
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now
    return max(0.0, seconds) if math.isfinite(seconds) else None
