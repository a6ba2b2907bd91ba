"""How much of the fleet one API key may use: token buckets of requests and of tokens.

A bucket holds what may be used at once and fills at a steady rate. Work whose size is known before
it is done is refused when the bucket holds too little; work that is known only afterwards, such as
the tokens of an answer, is charged then and may leave a debt, which the next request waits for.
So in any t seconds no more is admitted than burst + rate·t.

Nothing here reads a clock: ``now`` is any clock that does not run backwards.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import inf

MINUTE = 60.0
# Below this a wait is rounding, not something anybody could sleep for.
INSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key may use; ``None`` is without limit.

    Attributes
    ----------
    requests_per_minute, tokens_per_minute
        The steady rates, and also how much may be used at once after idling.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that nothing can pass."""
        for limit in (self.requests_per_minute, self.tokens_per_minute):
            if limit is not None and limit < 1:
                raise ValueError(f"expected limits of at least 1 per minute, got {self}")


class Bucket:
    """Holds up to ``burst`` and fills at ``rate`` per second.

    Parameters
    ----------
    burst, rate
        Both above 0.
    now
        When it begins, full.
    """

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        if not (0 < burst < inf and 0 < rate < inf):
            raise ValueError(f"expected a burst and a rate above 0, got {burst} and {rate}")
        self.burst = burst
        self.rate = rate
        self._level = burst
        self._at = now

    def level(self, now: float) -> float:
        """Return what may be used now; negative if more was charged than there was."""
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until ``amount`` may be used: 0 now, infinite if it never fits."""
        if amount > self.burst:
            return inf
        seconds = (amount - self.level(now)) / self.rate
        return seconds if seconds > INSTANT else 0.0

    def charge(self, amount: float, now: float) -> None:
        """Take ``amount`` out, whether it is there or not; a negative amount is given back."""
        self._level = min(self.burst, self.level(now) - amount)

    def resize(self, burst: float, rate: float, now: float) -> None:
        """Change the limits; what has been used stays used."""
        used = self.burst - self.level(now)
        self.burst, self.rate = burst, rate
        self._level = burst - used


class RateLimiter:
    """The buckets of all keys, by the names of the keys.

    Examples
    --------
    >>> limiter = RateLimiter()
    >>> seconds = limiter.admit("ann", Allowance(requests_per_minute=60), n_tokens=900, now=now)
    >>> limiter.charge("ann", n_tokens=41, now=now)
    """

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[Allowance, Bucket | None, Bucket | None]] = {}

    def admit(self, name: str, allowance: Allowance, *, n_tokens: int, now: float) -> float | None:
        """Use one request and ``n_tokens``, or say how long to wait.

        Parameters
        ----------
        name
            Of the key.
        allowance
            Its limits; they may change from one call to the next.
        n_tokens
            What is known to be needed: the tokens of the prompt.

        Returns
        -------
        float or None
            ``None`` when admitted. Else nothing was used, and these are the seconds after which
            the same call is admitted if nobody else uses the key; infinite if it asks for more
            than the key may ever use at once.
        """
        if n_tokens < 0:
            raise ValueError(f"expected at least 0 tokens, got {n_tokens}")
        requests, tokens = self._of(name, allowance, now)
        wait = 0.0 if requests is None else requests.wait(1, now)
        if tokens is not None:
            # A debt is waited for even by a request of which no tokens are known.
            wait = max(wait, tokens.wait(n_tokens, now))
        if wait:
            return wait
        if requests is not None:
            requests.charge(1, now)
        if tokens is not None:
            tokens.charge(n_tokens, now)
        return None

    def charge(self, name: str, *, n_tokens: int, now: float) -> None:
        """Charge tokens that were used after admission; negative ones are given back."""
        entry = self._buckets.get(name)
        if entry is not None and entry[2] is not None:
            entry[2].charge(n_tokens, now)

    def keep(self, names: Collection[str]) -> None:
        """Forget all keys but these."""
        for name in self._buckets.keys() - set(names):
            del self._buckets[name]

    def _of(
        self, name: str, allowance: Allowance, now: float
    ) -> tuple[Bucket | None, Bucket | None]:
        entry = self._buckets.get(name)
        if entry is None or entry[0] != allowance:
            _, requests, tokens = entry or (allowance, None, None)
            entry = self._buckets[name] = (
                allowance,
                _resized(requests, allowance.requests_per_minute, now),
                _resized(tokens, allowance.tokens_per_minute, now),
            )
        return entry[1], entry[2]


def _resized(bucket: Bucket | None, per_minute: int | None, now: float) -> Bucket | None:
    if per_minute is None:
        return None
    if bucket is None:
        return Bucket(per_minute, per_minute / MINUTE, now)
    bucket.resize(per_minute, per_minute / MINUTE, now)
    return bucket
