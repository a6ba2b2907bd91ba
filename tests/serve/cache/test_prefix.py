import random
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.oracles.prefix_cache import LruPrefixes, prefixes
from tests.serve.cache.policies import POLICIES

from triskele.serve.cache import EvictionPolicy, Pin, PrefixCache, hash_key, least_recently_used
from triskele.serve.cache.eviction import RankedLeaves
from triskele.serve.cache.radix import Node

CAPACITY = 12
KEYS = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)
Prefix = tuple[int, ...]


def contents(cache: PrefixCache) -> dict[Prefix, Any]:
    """Every cached prefix and the payload of its last page."""
    found: dict[Prefix, Any] = {}

    def walk(node: Node, above: Prefix) -> None:
        pages = [int.from_bytes(node.key[i : i + 8], "little") for i in range(0, len(node.key), 8)]
        for n, payload in enumerate(node.payloads or []):
            found[(*above, *pages[: n + 1])] = payload
        for child in node.children.values():
            walk(child, (*above, *pages))

    walk(cache._tree.root, ())
    return found


class Listener(RankedLeaves):
    """LRU that writes down what it is told of uses."""

    def __init__(self) -> None:
        super().__init__(lambda leaf: leaf.stamp)
        self.told: list[tuple[bytes, list[bytes], bool]] = []

    def use(self, key: bytes, way: Sequence[Node], *, stride: int, is_new: bool) -> None:
        assert stride == 8
        self.told.append((key, [node.key for node in way], is_new))
        super().use(key, way, stride=stride, is_new=is_new)


class CacheMachine(RuleBasedStateMachine):
    """Any order of calls, against a dictionary of prefixes."""

    make: Callable[[int], EvictionPolicy]

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(CAPACITY, type(self).make(CAPACITY))
        self.pins: list[tuple[Pin, Prefix]] = []
        self.before: dict[Prefix, Any] = {}
        self.n_payloads = 0

    @rule(key=KEYS, n_reserved=st.integers(0, 4))
    def insert(self, key: Prefix, n_reserved: int) -> None:
        n_reserved = min(n_reserved, self.cache.n_reserved)
        payloads = list(range(self.n_payloads, self.n_payloads + len(key)))
        self.n_payloads += len(key)
        known = [prefix for prefix in prefixes(key) if prefix in self.before]
        done = self.cache.insert(hash_key(key), payloads, n_reserved=n_reserved)
        after = contents(self.cache)
        assert done.n_found == len(known)
        assert all(prefix in after for prefix in prefixes(key)[: done.n_found + done.n_added])
        added = set(after.values()) - set(self.before.values())
        assert added == set(payloads[done.n_found : done.n_found + done.n_added])
        gone = set(self.before.values()) - set(after.values())
        assert sorted(done.freed) == sorted(gone | (set(payloads) - added))

    @rule(key=KEYS)
    def pin(self, key: Prefix) -> None:
        pin = self.cache.pin(hash_key(key))
        assert pin.payloads == [self.before[p] for p in prefixes(key)[: pin.n_pages]]
        self.pins.append((pin, key[: pin.n_pages]))

    @precondition(lambda self: self.pins)
    @rule(data=st.data(), more=KEYS)
    def finish(self, data: st.DataObject, more: Prefix) -> None:
        pin, key = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
        asked = self.cache.account.n_asked
        payloads = [*pin.payloads, *range(self.n_payloads, self.n_payloads + len(more))]
        self.n_payloads += len(more)
        self.cache.insert(hash_key((*key, *more)), payloads, pin=pin)
        self.cache.unpin(pin)
        assert self.cache.account.n_asked == asked

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        pin, _ = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
        self.cache.unpin(pin)

    @precondition(lambda self: self.pins)
    @rule(data=st.data(), more=KEYS)
    def renew(self, data: st.DataObject, more: Prefix) -> None:
        at = data.draw(st.integers(0, len(self.pins) - 1))
        pin, key = self.pins[at]
        asked, longer = self.cache.account.n_asked, (*key, *more)
        renewed = self.cache.renew(pin, hash_key(longer))
        assert renewed.payloads == [self.before[p] for p in prefixes(longer)[: renewed.n_pages]]
        assert renewed.n_pages >= pin.n_pages
        assert self.cache.account.n_asked == asked
        self.pins[at] = (renewed, longer[: renewed.n_pages])

    @rule(n_pages=st.integers(0, CAPACITY))
    def reserve(self, n_pages: int) -> None:
        reserved = self.cache.n_reserved
        freed = self.cache.reserve(n_pages)
        held = {p for _, key in self.pins for p in prefixes(key)}
        fits = len(held) + reserved + n_pages <= CAPACITY
        assert (freed is not None) == fits
        after = contents(self.cache)
        assert sorted(freed or []) == sorted(set(self.before.values()) - set(after.values()))
        assert self.cache.n_reserved == reserved + (n_pages if fits else 0)

    @precondition(lambda self: self.cache.n_reserved)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.cache.release(data.draw(st.integers(1, self.cache.n_reserved)))

    @rule(n_pages=st.integers(0, CAPACITY))
    def evict(self, n_pages: int) -> None:
        freed = self.cache.evict(n_pages)
        held = {p for _, key in self.pins for p in prefixes(key)}
        assert len(freed) == min(n_pages, len(self.before) - len(held))

    @rule(key=KEYS)
    def match(self, key: Prefix) -> None:
        found = self.cache.match(hash_key(key))
        known = [self.before[p] for p in prefixes(key) if p in self.before]
        assert found.payloads == known
        assert found.n_pages == len(known)
        assert contents(self.cache) == self.before

    @invariant()
    def nothing_pinned_is_gone_and_all_pages_are_accounted_for(self) -> None:
        self.cache.check()
        self.before = contents(self.cache)
        assert self.cache.n_pages == len(self.before)
        assert self.cache.n_pages + self.cache.n_reserved + self.cache.n_free == CAPACITY
        assert all(prefix[:-1] in self.before for prefix in self.before if len(prefix) > 1)
        assert all(p in self.before for _, key in self.pins for p in prefixes(key))

    def teardown(self) -> None:
        for pin, _ in self.pins:
            self.cache.unpin(pin)
        self.cache.clear()
        assert self.cache.n_pages == 0


@pytest.mark.parametrize("name", POLICIES)
def test_any_order_of_calls_keeps_the_contract(name: str) -> None:
    machine = type(f"Machine_{name}", (CacheMachine,), {"make": staticmethod(POLICIES[name])})
    case = machine.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
    case().runTest()


@given(st.lists(KEYS, max_size=40), st.integers(1, 14))
def test_the_keys_of_its_leaves_make_the_tree_again(keys: list[Prefix], capacity: int) -> None:
    cache, other = (PrefixCache(capacity, least_recently_used()) for _ in range(2))
    for key in keys:
        cache.insert(hash_key(key), list(key))
    for packed in cache.leaf_keys():
        other.insert(packed, [0] * (len(packed) // 8))
    assert contents(other).keys() == contents(cache).keys()
    assert other.leaf_keys() == cache.leaf_keys()


@given(st.lists(KEYS, max_size=40), st.integers(1, 14))
def test_leaf_lru_is_lru_page_by_page(keys: list[Prefix], capacity: int) -> None:
    oracle = LruPrefixes(capacity)
    policy = least_recently_used()
    cache = PrefixCache(capacity, policy)
    for key in keys:
        expected = oracle.insert(key)
        done = cache.insert(hash_key(key), list(key))
        assert done.n_found == expected
        assert contents(cache).keys() == oracle.last_used.keys()


@pytest.mark.parametrize("name", POLICIES)
def test_with_room_for_everything_all_policies_are_one(name: str) -> None:
    rng = random.Random(1)
    keys = [tuple(rng.randrange(3) for _ in range(6)) for _ in range(300)]
    room = len({p for key in keys for p in prefixes(key)})
    cache = PrefixCache(room, POLICIES[name](room))
    for key in keys:
        cache.insert(hash_key(key))
    assert cache.account.n_evicted == 0
    assert cache.account.n_added == room
    assert cache.account.n_found == 6 * len(keys) - room


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    def run() -> list[int]:
        rng, cache = random.Random(2), PrefixCache(20, POLICIES[name](20))
        keys = [tuple(rng.randrange(4) for _ in range(5)) for _ in range(200)]
        return [cache.insert(hash_key(key)).n_found for key in keys]

    assert run() == run()


def test_a_key_larger_than_the_cache_keeps_its_first_pages() -> None:
    cache = PrefixCache(3, least_recently_used())
    cache.insert(hash_key([9, 9]))
    done = cache.insert(hash_key([1, 2, 3, 4, 5]), list("abcde"))
    assert (done.n_found, done.n_added) == (0, 3)
    assert done.freed == ["d", "e"]
    assert cache.match(hash_key([1, 2, 3, 4])).n_pages == 3


def test_an_empty_cache_takes_nothing_and_says_so() -> None:
    cache = PrefixCache(0, least_recently_used())
    assert cache.insert(hash_key([1])).n_added == 0
    assert cache.account.hit_rate == 0.0
    assert cache.reserve(1) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cache: cache.insert(hash_key([1, 2]), ["a"]), "2 payloads, one per page, got 1"),
        (lambda cache: cache.release(1), "at most the 0 reserved, got 1"),
        (lambda cache: cache.match(b"123"), "whole pages"),
        (lambda cache: cache.reserve(-1), "at least 0 pages, got -1"),
        (lambda _: PrefixCache(-1, least_recently_used()), "at least 0 pages, got -1"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[PrefixCache], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(PrefixCache(4, least_recently_used()))


def test_a_request_that_pinned_its_prefix_is_counted_once() -> None:
    cache = PrefixCache(8, least_recently_used())
    cache.insert(hash_key([1, 2, 3]))
    pin = cache.pin(hash_key([1, 2, 4]))
    assert cache.reserve(2) == []
    cache.insert(hash_key([1, 2, 4, 5]), pin=pin, n_reserved=2)
    cache.unpin(pin)
    assert (cache.account.n_asked, cache.account.n_found) == (3 + 3, 2)
    assert cache.n_reserved == 0
    assert cache.match(hash_key([1, 2, 4, 5])).n_pages == 4


def test_letting_go_of_a_pin_twice_is_an_error() -> None:
    cache = PrefixCache(4, least_recently_used())
    cache.insert(hash_key([1]))
    pin = cache.pin(hash_key([1]))
    other = cache.pin(hash_key([1]))
    cache.unpin(pin)
    with pytest.raises(ValueError, match="still held"):
        cache.unpin(pin)
    assert cache.evict(1) == []
    assert cache.match(hash_key([1])).n_pages == 1
    cache.unpin(other)


def test_a_renewed_pin_holds_what_was_inserted_and_is_no_use() -> None:
    policy = Listener()
    cache = PrefixCache(8, policy)
    cache.insert(hash_key([1, 2]), list("ab"))
    pin = cache.pin(hash_key([1, 2, 3, 4]))
    cache.insert(hash_key([1, 2, 3]), list("abc"), pin=pin)
    policy.told.clear()
    account = astuple(cache.account)
    renewed = cache.renew(pin, hash_key([1, 2, 3, 4]))
    assert (renewed.n_pages, cache.n_pinned) == (3, 3)
    assert astuple(cache.account) == account
    assert policy.told == []
    assert cache.evict(8) == []
    with pytest.raises(ValueError, match="still held"):
        cache.unpin(pin)
    with pytest.raises(ValueError, match="still held"):
        cache.renew(pin, hash_key([1]))
    cache.unpin(renewed)
    assert cache.n_pinned == 0
    assert cache.evict(8) == ["c", "a", "b"]
    cache.check()


def test_a_policy_hears_of_a_request_once_as_new_and_of_its_whole_key_each_time() -> None:
    policy = Listener()
    cache = PrefixCache(8, policy)
    cache.insert(hash_key([1, 2, 3]))
    pin = cache.pin(hash_key([1, 2, 4, 5]))
    cache.insert(hash_key([1, 2, 4, 5, 6]), pin=pin)
    cache.pin(hash_key([7]))
    assert policy.told == [
        (hash_key([1, 2, 3]), [hash_key([1, 2, 3])], True),
        (hash_key([1, 2, 4, 5]), [hash_key([1, 2])], True),
        (hash_key([1, 2, 4, 5, 6]), [hash_key([4, 5, 6]), hash_key([1, 2])], False),
        (hash_key([7]), [], True),
    ]


def test_a_refused_key_changes_nothing() -> None:
    cache = PrefixCache(4, least_recently_used())
    assert cache.reserve(3) == []
    with pytest.raises(ValueError, match="whole pages"):
        cache.insert(b"123", n_reserved=3)
    assert cache.n_reserved == 3
    assert cache.account.n_asked == 0
