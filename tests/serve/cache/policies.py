"""Every eviction policy by name, for the contract that all of them keep."""

import random
from collections.abc import Callable

from triskele.serve.cache import (
    EvictionPolicy,
    GittinsLeaves,
    RandomizedLeafToken,
    RandomLeaf,
    Sieve,
    first_in_first_out,
    least_frequently_used,
    least_recently_used,
    segmented,
)

POLICIES: dict[str, Callable[[int], EvictionPolicy]] = {
    "lru": lambda _: least_recently_used(),
    "lfu": lambda _: least_frequently_used(),
    "slru": lambda _: segmented(),
    "fifo": lambda _: first_in_first_out(),
    "sieve": lambda _: Sieve(),
    "rlt": lambda capacity: RandomizedLeafToken(capacity, random.Random(0)),
    "gittins": lambda capacity: GittinsLeaves(capacity, random.Random(0)),
    "random": lambda _: RandomLeaf(random.Random(0)),
}
