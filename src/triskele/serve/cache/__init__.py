"""Prefix caches of key-value pages: a radix tree, a capacity, and policies of what goes first.

>>> cache = PrefixCache.for_tokens(1000, least_recently_used(), page_size=16)
>>> cache.insert(token_key(prompt, 16))
>>> cache.match(token_key(another, 16)).n_pages
"""

from triskele.serve.cache.eviction import (
    EvictionPolicy,
    RankedLeaves,
    first_in_first_out,
    least_frequently_used,
    least_recently_used,
    segmented,
)
from triskele.serve.cache.gittins import GittinsLeaves
from triskele.serve.cache.hashing import chained_hashes, chained_key
from triskele.serve.cache.prefix import Account, Insertion, Match, Pin, PrefixCache
from triskele.serve.cache.radix import RadixTree, hash_key, token_key
from triskele.serve.cache.randomized import RandomizedLeafToken, RandomLeaf
from triskele.serve.cache.sieve import Sieve

__all__ = [
    "Account",
    "EvictionPolicy",
    "GittinsLeaves",
    "Insertion",
    "Match",
    "Pin",
    "PrefixCache",
    "RadixTree",
    "RandomLeaf",
    "RandomizedLeafToken",
    "RankedLeaves",
    "Sieve",
    "chained_hashes",
    "chained_key",
    "first_in_first_out",
    "hash_key",
    "least_frequently_used",
    "least_recently_used",
    "segmented",
    "token_key",
]
