"""The names of eviction policies, and what they stand for, given a capacity in pages and draws."""

import random
from collections.abc import Callable

from triskele.serve.cache.eviction import (
    EvictionPolicy,
    first_in_first_out,
    least_frequently_used,
    least_recently_used,
    segmented,
)
from triskele.serve.cache.gittins import GittinsLeaves
from triskele.serve.cache.randomized import RandomizedLeafToken, RandomLeaf
from triskele.serve.cache.sieve import Sieve

EVICTIONS: dict[str, Callable[[int, random.Random], EvictionPolicy]] = {
    "lru": lambda n_pages, rng: least_recently_used(),
    "lfu": lambda n_pages, rng: least_frequently_used(),
    "slru": lambda n_pages, rng: segmented(),
    "fifo": lambda n_pages, rng: first_in_first_out(),
    "sieve": lambda n_pages, rng: Sieve(),
    "rlt": RandomizedLeafToken,
    "gittins": GittinsLeaves,
    "random": lambda n_pages, rng: RandomLeaf(rng),
}
