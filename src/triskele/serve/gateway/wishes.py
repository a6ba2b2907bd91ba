"""What may be wished for in the model that answers ``auto``: in headers, or beside a key."""

from collections.abc import Mapping

from triskele.serve.routing.capability import Preference

# By the names of users, those of ``Preference``.
FIELDS = {
    "margin": "margin",
    "price-weight": "price",
    "latency-weight": "latency",
    "quality-weight": "quality",
}
Wishes = Mapping[str, float]


def parse_wish(word: str) -> tuple[str, float]:
    """Return the field and the value of ``NAME=NUMBER``.

    Raises
    ------
    ValueError
        If nothing of that name can be wished for, or not so much of it.
    """
    name, equals, value = word.partition("=")
    if not equals or name not in FIELDS:
        raise ValueError(f"expected wishes as NAME=NUMBER, of {', '.join(FIELDS)}")
    try:
        wish = {FIELDS[name]: float(value)}
        Preference(**wish)
    except ValueError:
        raise ValueError("expected a margin from 0 to 1, and weights of at least 0") from None
    return next(iter(wish.items()))
