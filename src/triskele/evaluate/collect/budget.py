"""What a collection may cost: reserved before a call is made, settled when it has ended.

A call reserves what it may cost at most, and is not made if that no longer fits. What is spent thus
stays within the budget, but for the error of an estimate: a prompt's tokens are counted only by the
endpoint, and only afterwards.
"""

from dataclasses import dataclass

from triskele.evaluate.collect.prices import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most that may be spent, in tokens and in money; None is no bound."""

    tokens: int | None = None
    cost: float | None = None


class Budget:
    """Spending within bounds.

    Parameters
    ----------
    bounds
        The most that may be spent.
    spent
        What has been spent before.
    """

    def __init__(self, bounds: Bounds, *, spent: Amount) -> None:
        self._bounds, self._spent = bounds, spent
        self._reserved = Amount()
        self._n_reserved = 0

    @property
    def spent(self) -> Amount:
        """What has been spent."""
        return self._spent

    @property
    def n_reserved(self) -> int:
        """How many calls have a reservation."""
        return self._n_reserved

    def fits(self, most: Amount) -> bool:
        """Tell whether so much can be reserved."""
        total = self._spent + self._reserved + most
        tokens, cost = self._bounds.tokens, self._bounds.cost
        return (tokens is None or total.tokens <= tokens) and (cost is None or total.cost <= cost)

    def reserve(self, most: Amount) -> None:
        """Set so much aside for a call."""
        assert self.fits(most)
        self._reserved += most
        self._n_reserved += 1

    def settle(self, reserved: Amount, *, actual: Amount) -> None:
        """Give a reservation back, and spend what it came to."""
        self._reserved -= reserved
        self._spent += actual
        self._n_reserved -= 1
        if self._n_reserved == 0:
            # What rounding left of the costs goes too.
            self._reserved = Amount()
