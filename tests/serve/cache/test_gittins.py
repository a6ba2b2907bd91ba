import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.serve.cache import GittinsLeaves, PrefixCache, hash_key, least_recently_used
from triskele.serve.cache.gittins import _n_bytes_above


def talk_and_junk(n_requests: int, *, seed: int, think: int = 60) -> Iterator[bytes]:
    """Conversations of six turns that come back after some time, among twice as many one-shots."""
    rng = random.Random(seed)
    due: dict[int, list[tuple[int, int]]] = {}
    for now in range(n_requests):
        if now in due:
            number, turn = due[now].pop()
            if not due[now]:
                del due[now]
        elif rng.random() < 0.25:
            number, turn = now, 1
        else:
            yield hash_key([1_000_000 + 100 * now + page for page in range(8)])
            continue
        yield hash_key([1000 * number + page for page in range(4 * turn)])
        if turn < 6:
            after = now + rng.randrange(think // 2, think * 2)
            due.setdefault(after, []).append((number, turn + 1))


def recent(n_requests: int, *, seed: int) -> Iterator[bytes]:
    """Every request is drawn by how recently its key was used."""
    rng = random.Random(seed)
    stack = list(range(400))
    for _ in range(n_requests):
        number = stack.pop(min(int(rng.paretovariate(0.7)) - 1, 399))
        stack.insert(0, number)
        yield hash_key([10 * number + page for page in range(3)])


def hits(cache: PrefixCache, keys: Iterator[bytes]) -> int:
    for key in keys:
        cache.insert(key)
    return cache.account.n_found


def ours(capacity: int, seed: int = 0, *, memory: int = 32) -> PrefixCache:
    return PrefixCache(capacity, GittinsLeaves(capacity, random.Random(seed), memory=memory))


def test_it_learns_that_conversations_are_worth_more_than_requests_that_never_come_back() -> None:
    for capacity in (150, 300):
        lru = PrefixCache(capacity, least_recently_used())
        expected = hits(lru, talk_and_junk(4000, seed=1))
        assert hits(ours(capacity), talk_and_junk(4000, seed=1)) > 1.5 * expected


@pytest.mark.parametrize("capacity", [60, 300])
def test_where_only_recency_counts_it_is_as_good_as_lru(capacity: int) -> None:
    lru = PrefixCache(capacity, least_recently_used())
    expected = hits(lru, recent(4000, seed=1))
    assert hits(ours(capacity), recent(4000, seed=1)) > 0.98 * expected


def test_before_it_has_learned_anything_the_oldest_goes_first() -> None:
    cache = ours(10)
    for page in range(14):
        cache.insert(hash_key([page]))
    cached = {page for page in range(14) if cache.match(hash_key([page])).n_pages}
    assert cached == set(range(4, 14))


def test_a_last_page_that_never_comes_back_goes_before_anything_else() -> None:
    rng, cache, n_talks = random.Random(0), ours(400), 10
    bodies = [[1000 * number] for number in range(n_talks)]
    for now in range(2000):
        number = rng.randrange(n_talks)
        body = bodies[number]
        cache.insert(hash_key([*body, 10**6 + now]))
        # The last page was partial: when its conversation goes on, it is another.
        body.append(10**5 + 10 * now + number)
        if len(body) > 12:
            bodies[number] = [10**7 + now]
    used = [body[:-1] for body in bodies if len(body) > 1]
    before = [cache.match(hash_key(body)).n_pages for body in used]
    cache.evict(cache.n_pages - sum(map(len, used)) - n_talks // 2)
    assert [cache.match(hash_key(body)).n_pages for body in used] == before
    assert cache._policy.grain == 1


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), max_size=40))
def test_every_node_knows_the_remembered_run_that_holds_its_last_page(
    keys: list[list[int]],
) -> None:
    cache = ours(1000)
    for key in keys:
        pin = cache.pin(hash_key(key))
        cache.insert(hash_key([*key, 9]), pin=pin)
        cache.unpin(pin)
        for node in cache._tree.nodes():
            begin = _n_bytes_above(node.past)
            assert begin < _n_bytes_above(node) + len(node.key) <= begin + len(node.past.key)


def test_what_it_remembers_is_bounded_however_many_keys_there_are() -> None:
    cache = ours(20, memory=4)
    for now in range(2000):
        cache.insert(hash_key([now, -now % 7, now % 5]))
    history = cache._policy._history
    assert 4 * 20 - 3 <= history.n_pages <= 4 * 20
    assert sum(1 for _ in history._tree.nodes()) <= 4 * 20


def test_the_same_seed_gives_the_same_victims_and_another_seed_others() -> None:
    def run(seed: int) -> list[int]:
        cache = ours(600, seed)
        return [cache.insert(key).n_found for key in talk_and_junk(3000, seed=2, think=400)]

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_answers_inserted_under_a_pin_are_no_requests() -> None:
    cache = ours(50)
    for now in range(30):
        key = [100 * now, 100 * now + 1]
        pin = cache.pin(hash_key(key))
        cache.insert(hash_key([*key, 100 * now + 2]), pin=pin)
        cache.unpin(pin)
    assert cache._policy._history.now == 30


@pytest.mark.parametrize(
    ("capacity", "memory", "message"),
    [(0, 1, "at least one page, got 0"), (1, 0, "at least the capacity, got 0 times it")],
)
def test_no_room_at_all_is_refused(capacity: int, memory: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GittinsLeaves(capacity, random.Random(0), memory=memory)
