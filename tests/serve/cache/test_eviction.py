import math

from triskele.serve.cache import (
    PrefixCache,
    first_in_first_out,
    hash_key,
    least_frequently_used,
    least_recently_used,
    segmented,
)
from triskele.serve.cache.eviction import RankedLeaves


def cache_of(policy: RankedLeaves, *uses: int) -> PrefixCache:
    """Use single pages in order in a cache of three."""
    cache = PrefixCache(3, policy)
    for page in uses:
        cache.insert(hash_key([page]))
    return cache


def cached(cache: PrefixCache) -> set[int]:
    return {page for page in range(10) if cache.match(hash_key([page])).n_pages}


def test_each_rank_sacrifices_another_leaf() -> None:
    uses = (1, 2, 1, 1, 2, 3, 2, 1, 4)
    assert cached(cache_of(least_recently_used(), *uses)) == {1, 2, 4}
    assert cached(cache_of(first_in_first_out(), *uses)) == {2, 3, 4}
    rare = (1, 1, 1, 2, 2, 3, 3, 3, 3, 4)
    assert cached(cache_of(least_frequently_used(), *rare)) == {1, 3, 4}
    assert cached(cache_of(least_recently_used(), *rare)) == {2, 3, 4}
    once = (1, 1, 2, 3, 4)
    assert cached(cache_of(segmented(), *once)) == {1, 3, 4}


def test_a_scan_does_not_flush_what_was_used_twice_under_slru() -> None:
    uses = (1, 1, 2, *range(3, 10))
    assert 1 in cached(cache_of(segmented(), *uses))
    assert 1 not in cached(cache_of(least_recently_used(), *uses))


def test_the_heap_stays_as_small_as_the_leaves_however_often_they_are_used() -> None:
    policy = least_recently_used()
    cache = cache_of(policy, *[page % 3 for page in range(10_000)])
    assert cache.account.n_found == 10_000 - 3
    assert len(policy._heap) <= 2 * 3 + 64 + 1


def test_a_parent_is_as_old_as_its_own_last_use() -> None:
    cache = PrefixCache(4, least_recently_used())
    cache.insert(hash_key([1, 2]))
    cache.insert(hash_key([1, 3]))
    cache.insert(hash_key([5]))
    cache.evict(2)
    assert cache.match(hash_key([1])).n_pages == 1
    assert cached(cache) == {1, 5}
    cache.evict(1)
    assert cached(cache) == {5}
    assert math.isclose(cache.account.hit_rate, 1 / 5)
