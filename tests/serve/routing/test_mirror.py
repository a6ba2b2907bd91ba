import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.oracles.holders import HolderSets
from tests.serve.cache.policies import POLICIES
from tests.serve.routing.prompts import chained, pages_of

from triskele.serve.cache import PrefixCache, hash_key, least_recently_used
from triskele.serve.routing.mirror import CacheMirror

PAGES = st.lists(st.integers(0, 2), max_size=7)
CAPACITY, N_SLOTS = 9, 3
EVERYONE = 2**N_SLOTS - 1


def mirror_of(n_slots: int = N_SLOTS, capacity: int | None = CAPACITY) -> CacheMirror:
    mirror = CacheMirror(lambda _: least_recently_used(), default_pages=5)
    for slot in range(n_slots):
        mirror.join(slot, capacity)
    return mirror


def held(mirror: CacheMirror, *pages: int, n_slots: int = N_SLOTS) -> list[int]:
    out = np.full(n_slots, 99.0)
    mirror.n_pages(chained(*pages), 2**n_slots - 1, out)
    return out.astype(int).tolist()


def send(mirror: CacheMirror, slot: int, *pages: int) -> list[int]:
    hashes = chained(*pages)
    return list(mirror.send(slot, hash_key(hashes), hashes))


@pytest.mark.parametrize("name", POLICIES)
@given(sends=st.lists(st.tuples(st.integers(0, N_SLOTS - 1), PAGES), max_size=25))
def test_a_mirror_holds_what_a_cache_of_its_capacity_and_policy_holds(
    name: str, sends: list[tuple[int, list[int]]]
) -> None:
    mirror = CacheMirror(POLICIES[name], default_pages=CAPACITY)
    caches = [PrefixCache(n, POLICIES[name](max(1, n))) for n in (CAPACITY, 0, 4)]
    mirror.join(0, None)
    mirror.join(1, 0)
    mirror.join(2, 4)
    for slot, pages in sends:
        assert send(mirror, slot, *pages) == []
        caches[slot].insert(hash_key(chained(*pages)))
        mirror.check()
    for _, pages in sends:
        in_caches = [cache.match(hash_key(chained(*pages))).n_pages for cache in caches]
        assert held(mirror, *pages) == in_caches
    for slot, cache in enumerate(caches):
        assert mirror.size(slot) == cache.n_pages <= cache.capacity


def test_of_a_prompt_longer_than_the_capacity_the_beginning_is_held() -> None:
    mirror = mirror_of()
    send(mirror, 0, *pages_of(1, 5))
    send(mirror, 0, *pages_of(2, 50))
    assert held(mirror, *pages_of(2, 50)) == [CAPACITY, 0, 0]
    assert held(mirror, *pages_of(1, 5)) == [0, 0, 0]
    mirror.check()


def test_only_those_asked_for_are_looked_up() -> None:
    mirror = mirror_of()
    for slot in range(N_SLOTS):
        send(mirror, slot, 1, 2)
    out = np.full(N_SLOTS, 99.0)
    mirror.n_pages(chained(1, 2), 0b101, out)
    assert out.tolist() == [2, 0, 2]


def test_who_left_holds_nothing_and_comes_back_cold() -> None:
    mirror = mirror_of()
    send(mirror, 0, 1, 2)
    send(mirror, 1, 1, 2)
    mirror.stored(1, chained(1, 2))
    send(mirror, 1, 1, 2, 3)
    for slot in (0, 1):
        mirror.leave(slot)
        mirror.leave(slot)
    assert held(mirror, 1, 2, 3) == [0, 0, 0]
    mirror.check()
    mirror.join(1, CAPACITY)
    assert held(mirror, 1, 2, 3) == [0, 0, 0]
    assert send(mirror, 1, 1, 2) == []
    assert held(mirror, 1, 2, 3) == [0, 2, 0]


def test_news_of_who_is_not_there_are_ignored() -> None:
    mirror = mirror_of()
    mirror.leave(1)
    for slot in (1, 7):
        mirror.cleared(slot)
        mirror.removed(slot, chained(1, 2)[1:])
        mirror.stored(slot, chained(1, 2))
    mirror.check()
    assert held(mirror, 1, 2) == [0, 0, 0]
    mirror.join(1, CAPACITY)
    assert held(mirror, 1, 2) == [0, 0, 0]


def test_a_workers_own_word_overrides_what_it_was_sent() -> None:
    mirror = mirror_of()
    send(mirror, 0, 1, 2, 3)
    mirror.stored(0, chained(5))
    assert held(mirror, 1, 2, 3)[0] == 0
    assert held(mirror, 5, 6)[0] == 1
    mirror.stored(0, chained(5, 6, 7))
    mirror.removed(0, chained(5, 6, 7)[1:])
    assert held(mirror, 5, 6, 7)[0] == 1
    mirror.cleared(0)
    assert held(mirror, 5, 6, 7)[0] == 0
    mirror.check()


def test_a_promise_counts_until_every_request_that_made_it_has_arrived() -> None:
    mirror = mirror_of()
    early = send(mirror, 0, 1, 2, 3)
    mirror.stored(0, [])
    promises = [send(mirror, 0, 1, 2, 4), send(mirror, 0, 1, 2, 5)]
    assert held(mirror, 1, 2, 4, 9)[0] == 3
    # Sent before its worker was heard of, it had promised nothing.
    mirror.arrive(0, early)
    mirror.arrive(0, promises[0])
    assert held(mirror, 1, 2, 4)[0] == 2
    assert held(mirror, 1, 2, 5)[0] == 3
    mirror.arrive(0, promises[1])
    assert held(mirror, 1, 2, 5)[0] == 0
    mirror.check()


class Listening(RuleBasedStateMachine):
    """Workers that send events: their word, and what is on its way to them."""

    def __init__(self) -> None:
        super().__init__()
        self.mirror, self.told = mirror_of(), HolderSets(N_SLOTS)
        self.promises: list[tuple[int, list[int]]] = []
        for slot in range(N_SLOTS):
            self.mirror.cleared(slot)

    @rule(slot=st.integers(0, N_SLOTS - 1), pages=PAGES)
    def send(self, slot: int, pages: list[int]) -> None:
        self.promises.append((slot, send(self.mirror, slot, *pages)))

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        if self.promises:
            at = data.draw(st.integers(0, len(self.promises) - 1))
            self.mirror.arrive(*self.promises.pop(at))

    @rule(slot=st.integers(0, N_SLOTS - 1), pages=PAGES)
    def hear_of_stored_pages(self, slot: int, pages: list[int]) -> None:
        self.mirror.stored(slot, chained(*pages))
        self.told.pages[slot] |= set(chained(*pages))

    @rule(slot=st.integers(0, N_SLOTS - 1))
    def hear_of_an_empty_cache(self, slot: int) -> None:
        self.mirror.cleared(slot)
        self.told.pages[slot].clear()

    @rule(slot=st.integers(0, N_SLOTS - 1))
    def come_back(self, slot: int) -> None:
        self.mirror.join(slot, CAPACITY)
        self.mirror.cleared(slot)
        self.told.pages[slot].clear()
        self.promises = [(at, promised) for at, promised in self.promises if at != slot]

    @rule(pages=PAGES)
    def look_up(self, pages: list[int]) -> None:
        promised = HolderSets(N_SLOTS)
        for slot, hashes in self.promises:
            promised.pages[slot] |= set(hashes)
        hashes = chained(*pages)
        assert held(self.mirror, *pages) == [
            max(self.told.depth(slot, hashes), promised.depth(slot, hashes))
            for slot in range(N_SLOTS)
        ]

    @invariant()
    def it_is_consistent(self) -> None:
        self.mirror.check()


TestListening = Listening.TestCase
TestListening.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(st.integers(0, N_SLOTS - 1), PAGES), max_size=25))
def test_what_is_restored_is_what_was_there(sends: list[tuple[int, list[int]]]) -> None:
    mirror, again = mirror_of(), mirror_of()
    for slot, pages in sends:
        send(mirror, slot, *pages)
    again.restore(json.loads(json.dumps(mirror.state())), {0, 2})
    again.check()
    for _, pages in sends:
        expected = held(mirror, *pages)
        assert held(again, *pages) == [expected[0], 0, expected[2]]


def test_what_is_restored_goes_in_the_same_order() -> None:
    mirror, again = mirror_of(), mirror_of()
    for number in (3, 1, 4, 1, 5, 3):
        send(mirror, 0, *pages_of(number, 2))
    again.restore(json.loads(json.dumps(mirror.state())), set(range(N_SLOTS)))
    # Oldest first: 4, 1, 5, 3, where 9 pages are room for four and a half.
    gone = Counter[int]()
    for number in range(20, 24):
        for one in (mirror, again):
            send(one, 0, *pages_of(number, 2))
            gone.update(n for n in (3, 1, 4, 5) if held(one, *pages_of(n, 2))[0] < 2)
    assert gone == {4: 8, 1: 6, 5: 4, 3: 2}
    assert mirror.state() == again.state()


def test_a_worker_that_sends_events_is_not_restored_from_its_mirror() -> None:
    mirror, again = mirror_of(), mirror_of()
    send(mirror, 0, 1, 2)
    mirror.stored(0, chained(1, 2))
    again.restore(mirror.state(), {0})
    assert held(again, 1, 2) == [0, 0, 0]
