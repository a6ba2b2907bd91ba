"""What happens to the pages of a cache, in the order in which it happens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """Pages that entered the tree: all pages of ``key`` from the ``n_known``-th on."""

    key: bytes
    pages: list[int]
    n_known: int


@dataclass(frozen=True, slots=True)
class Removed:
    """Pages that were evicted."""

    pages: list[int]
