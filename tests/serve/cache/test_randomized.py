import random
from collections import Counter

import pytest
from scipy.stats import chisquare

from triskele.serve.cache import (
    PrefixCache,
    RandomizedLeafToken,
    RandomLeaf,
    hash_key,
    least_recently_used,
)


def cached(cache: PrefixCache, n_pages: int) -> set[int]:
    return {page for page in range(n_pages) if cache.match(hash_key([page])).n_pages}


@pytest.mark.parametrize("n_marked", [0, 5])
def test_victims_are_uniform_over_the_unmarked_leaves(n_marked: int) -> None:
    counts: Counter[int] = Counter()
    n_leaves, rng = 12, random.Random(0)
    for _ in range(2000):
        cache = PrefixCache(n_leaves, RandomizedLeafToken(n_leaves, rng))
        for page in range(n_leaves):
            cache.insert(hash_key([page]))
        # The next first use is beyond the capacity: a phase begins, and with it no marks.
        cache.insert(hash_key([100]))
        gone = next(page for page in range(n_leaves) if page not in cached(cache, n_leaves))
        for page in cached(cache, n_leaves):
            if n_marked and page < n_marked:
                cache.insert(hash_key([page]))
        cache.evict(1)
        left = cached(cache, n_leaves)
        (victim,) = set(range(n_leaves)) - left - {gone}
        counts[victim] += 1
    assert not any(counts[page] for page in range(n_marked))
    assert chisquare([counts[page] for page in range(n_marked, n_leaves)]).pvalue > 1e-3


def test_long_and_short_leaves_are_drawn_alike_and_lose_one_page_a_draw() -> None:
    rng, lost = random.Random(1), Counter[str]()
    for _ in range(2000):
        cache = PrefixCache(20, RandomLeaf(rng))
        cache.insert(hash_key(range(1, 17)))
        cache.insert(hash_key([50, 51]))
        cache.evict(1)
        lost["long" if cache.match(hash_key(range(1, 17))).n_pages == 15 else "short"] += 1
        assert cache.n_pages == 17
    assert chisquare([lost["long"], lost["short"]]).pvalue > 1e-3


def test_a_cycle_one_page_too_long_never_hits_lru_and_mostly_hits_rlt() -> None:
    capacity, n_rounds = 64, 100
    rlt = PrefixCache(capacity, RandomizedLeafToken(capacity, random.Random(0)))
    lru = PrefixCache(capacity, least_recently_used())
    for _ in range(n_rounds):
        for page in range(capacity + 1):
            rlt.insert(hash_key([page]))
            lru.insert(hash_key([page]))
    assert lru.account.n_found == 0
    # Marking misses at most about ln(capacity) pages a phase on this sequence; clairvoyance one.
    n_missed = rlt.account.n_asked - rlt.account.n_found
    assert n_missed < n_rounds * 2 * 4.75 + capacity


def test_no_marked_page_goes_within_its_phase() -> None:
    rng, capacity = random.Random(3), 30
    policy = RandomizedLeafToken(capacity, rng)
    cache = PrefixCache(capacity, policy)
    used: set[tuple[int, ...]] = set()
    phase = policy.phase
    for _ in range(3000):
        key = tuple(rng.randrange(4) for _ in range(rng.randrange(1, 5)))
        cache.insert(hash_key(key))
        if policy.phase != phase:
            phase, used = policy.phase, set()
        used.add(key)
        for earlier in used:
            assert cache.match(hash_key(earlier)).n_pages == len(earlier) or len(used) == 1
        assert policy.n_marked_pages <= capacity


def test_a_phase_touches_as_much_as_the_cache_holds_before_it_ends() -> None:
    capacity = 10
    policy = RandomizedLeafToken(capacity, random.Random(0))
    cache = PrefixCache(capacity, policy)
    for page in range(capacity):
        cache.insert(hash_key([page]))
        assert policy.phase == 1
    cache.insert(hash_key([capacity]))
    assert policy.phase == 2
    assert policy.n_marked_pages == 1


def test_the_request_that_begins_a_phase_is_marked_from_its_first_page_to_its_last() -> None:
    capacity = 4
    policy = RandomizedLeafToken(capacity, random.Random(0))
    cache = PrefixCache(capacity, policy)
    cache.insert(hash_key([1, 2]))
    cache.insert(hash_key([3, 4]))
    assert (policy.phase, policy.n_marked_pages) == (1, 4)
    cache.insert(hash_key([1, 5]))
    assert (policy.phase, policy.n_marked_pages) == (2, 2)
    cache.insert(hash_key([6, 7]))
    assert (policy.phase, policy.n_marked_pages) == (2, 4)
    assert cache.match(hash_key([1, 5])).n_pages == 2


def test_a_phase_of_no_pages_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one page, got 0"):
        RandomizedLeafToken(0, random.Random(0))
