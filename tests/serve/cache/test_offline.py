import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serve.cache.policies import POLICIES

from triskele.serve.cache import PrefixCache, hash_key
from triskele.serve.cache.offline import clairvoyant_hits, number_prefixes, unlimited_hits

KEYS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), max_size=9)


def best_hits(requests: list[list[int]], capacity: int) -> int:
    """Try every prefix-closed content after every request."""
    states: dict[frozenset[int], int] = {frozenset(): 0}
    parents = {page: above for r in requests for above, page in zip([None, *r], r, strict=False)}
    for request in requests:
        following: dict[frozenset[int], int] = {}
        for state, n_hits in states.items():
            n_hits += len(state & set(request))
            waiting = [state | set(request)]
            seen = set()
            while waiting:
                content = waiting.pop()
                if content in seen:
                    continue
                seen.add(content)
                if len(content) <= capacity:
                    following[content] = max(following.get(content, 0), n_hits)
                inner = {parents[page] for page in content}
                waiting += [content - {leaf} for leaf in content - inner]
        states = following
    return max(states.values())


@settings(max_examples=60, deadline=None)
@given(KEYS, st.integers(0, 5))
def test_no_choice_of_contents_finds_more(keys: list[tuple[int, ...]], capacity: int) -> None:
    requests = number_prefixes(map(hash_key, keys), 8)
    assert clairvoyant_hits(requests, capacity) == best_hits(requests, capacity)


@pytest.mark.parametrize("name", POLICIES)
@given(keys=KEYS, capacity=st.integers(1, 8))
def test_no_policy_finds_more_than_the_clairvoyant_or_the_unlimited(
    name: str, keys: list[tuple[int, ...]], capacity: int
) -> None:
    requests = number_prefixes(map(hash_key, keys), 8)
    cache = PrefixCache(capacity, POLICIES[name](capacity))
    for key in keys:
        cache.insert(hash_key(key))
    bound = clairvoyant_hits(requests, capacity)
    assert cache.account.n_found <= bound <= unlimited_hits(requests)


def test_equal_pages_after_different_prefixes_are_different_pages() -> None:
    assert number_prefixes([hash_key([1, 2]), hash_key([3, 2]), hash_key([1, 2, 2])], 8) == [
        [0, 1],
        [2, 3],
        [0, 1, 4],
    ]


def test_less_than_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0 pages, got -1"):
        clairvoyant_hits([], -1)
