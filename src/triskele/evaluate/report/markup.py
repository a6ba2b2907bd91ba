"""Markup that text cannot break out of: every plain string is escaped where it is put in.

Only what :func:`element` has made is taken as markup, by its type.
"""

from collections.abc import Iterable, Mapping
from html import escape

Value = str | int | float


class Html(str):
    """Markup, to be taken as it is."""

    __slots__ = ()


def element(name: str, attributes: Mapping[str, Value] | None = None, *children: str) -> Html:
    """Return an element.

    Parameters
    ----------
    name
        Its tag.
    attributes
        Numbers are written with two decimals at most.
    children
        Text, which is escaped, or :class:`Html`, which is not.
    """
    written = "".join(
        f' {key}="{escape(_written(value))}"' for key, value in (attributes or {}).items()
    )
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def void(name: str, attributes: Mapping[str, Value]) -> Html:
    """Return an element that has no content and no end, such as ``meta``."""
    written = "".join(f' {key}="{escape(_written(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{written}>")


def joined(parts: Iterable[str]) -> Html:
    """Return parts one after the other, escaping those that are no markup."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def _written(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
