"""What calls cost: prices per million tokens, and amounts of tokens and money."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in whatever currency the user counts in."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens in and out together, and what they cost; models without a price cost nothing."""

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens - other.tokens, self.cost - other.cost)


def read_prices(words: Sequence[str], labels: Collection[str]) -> dict[str, Price]:
    """Return the prices by label from words ``LABEL=INPUT/OUTPUT``.

    Raises
    ------
    ValueError
        If a word is not of that form, a price is negative, or no such model is asked.
    """
    prices: dict[str, Price] = {}
    for word in words:
        label, _, price = word.rpartition("=")
        values = [_number(part) for part in price.split("/")]
        if not label or len(values) != 2 or None in values:
            raise ValueError(f"expected a price MODEL=INPUT/OUTPUT per million tokens, got {word}")
        if label not in labels:
            known = ", ".join(labels)
            raise ValueError(f"no model {label!r} to have a price; there are: {known}")
        if label in prices:
            raise ValueError(f"expected one price for {label}, got two")
        prices[label] = Price(*(value for value in values if value is not None))
    return prices


def amount_of(
    label: str, tokens_in: float, tokens_out: float, prices: Mapping[str, Price]
) -> Amount:
    """Return what so many tokens of a model amount to."""
    price = prices.get(label, Price(0.0, 0.0))
    cost = (tokens_in * price.input + tokens_out * price.output) / MILLION
    return Amount(round(tokens_in + tokens_out), cost)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
