import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.oracles.holders import HolderSets
from tests.serve.routing.prompts import chained, pages_of

from triskele.serve.routing.holders import FEW, CountedHolders, HolderIndex, slots_of

N_SLOTS = 5
PAGES = st.lists(st.integers(0, 2), max_size=6)


def spread(index: HolderIndex, hashes: list[int], among: int, n_slots: int) -> list[int]:
    out = np.zeros(n_slots)
    index.spread(hashes, among, out)
    return out.astype(int).tolist()


class Holders(RuleBasedStateMachine):
    """Any order of calls that keeps each worker's pages free of holes."""

    def __init__(self) -> None:
        super().__init__()
        self.index, self.oracle = HolderIndex(), HolderSets(N_SLOTS)
        self.above: dict[int, int | None] = {}

    @rule(slot=st.integers(0, N_SLOTS - 1), pages=PAGES)
    def store(self, slot: int, pages: list[int]) -> None:
        hashes = chained(*pages)
        self.above |= dict(zip(hashes, [None, *hashes], strict=False))
        self.index.store(slot, hashes)
        self.oracle.pages[slot] |= set(hashes)

    @rule(slot=st.integers(0, N_SLOTS - 1), data=st.data())
    def remove(self, slot: int, data: st.DataObject) -> None:
        held = self.oracle.pages[slot]
        leaves = sorted(held - {self.above[page] for page in held})
        gone = data.draw(st.lists(st.sampled_from(leaves), unique=True)) if leaves else []
        self.index.remove(slot, [*gone, *chained(9, 9)])
        held -= set(gone)

    @rule(slot=st.integers(0, N_SLOTS - 1))
    def clear(self, slot: int) -> None:
        self.index.clear(slot)
        self.oracle.pages[slot].clear()

    @rule(pages=PAGES, among=st.integers(0, 2**N_SLOTS - 1))
    def look_up(self, pages: list[int], among: int) -> None:
        hashes = chained(*pages)
        expected = {s: self.oracle.depth(s, hashes) for s in range(N_SLOTS) if among >> s & 1}
        found = list(self.index.depths(hashes, among))
        depths = [n_pages for n_pages, _ in found]
        assert depths == sorted(set(expected.values()) - {0}, reverse=True)
        named = {slot: n_pages for n_pages, mask in found for slot in slots_of(mask)}
        assert named == {slot: n_pages for slot, n_pages in expected.items() if n_pages}
        assert sum(mask.bit_count() for _, mask in found) == len(named)
        in_array = [expected.get(slot, 0) for slot in range(N_SLOTS)]
        assert spread(self.index, hashes, among, N_SLOTS) == in_array

    @invariant()
    def counts_are_those_of_the_sets(self) -> None:
        assert len(self.index) == len(set().union(*self.oracle.pages))
        for slot, pages in enumerate(self.oracle.pages):
            assert self.index.count(slot) == len(pages)


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("n_slots", [FEW, FEW + 1, 64, 1000])
def test_few_and_many_holders_are_found_alike(n_slots: int) -> None:
    rng = np.random.default_rng(n_slots)
    index, oracle = HolderIndex(), HolderSets(n_slots)
    for _ in range(5):
        whole = pages_of(int(rng.integers(3)), 20)
        for slot in rng.permutation(n_slots).tolist():
            hashes = chained(*whole[: rng.choice([0, 3, 3, 3, 20, int(rng.integers(20))])])
            index.store(slot, hashes)
            oracle.pages[slot] |= set(hashes)
    for number in range(3):
        hashes = chained(*pages_of(number, 20))
        for among in (2**n_slots - 1, 2**n_slots - 2, 2 ** (n_slots // 2) - 1, 1 << n_slots - 1, 0):
            wanted = [oracle.depth(s, hashes) * (among >> s & 1) for s in range(n_slots)]
            assert spread(index, hashes, among, n_slots) == wanted


def test_what_was_there_already_is_only_raised() -> None:
    index = HolderIndex()
    for slot in range(2 * FEW):
        index.store(slot, chained(1, 2))
    index.store(1, chained(1, 2, 3))
    out = np.zeros(2 * FEW)
    out[:3] = 5.0, 2.5, 0.0
    index.spread(chained(1, 2, 3), 2 ** (2 * FEW) - 1, out)
    assert out[:4].tolist() == [5.0, 3.0, 2.0, 2.0]


def test_nobody_holds_what_was_never_stored() -> None:
    index = HolderIndex()
    assert list(index.depths([], 1)) == list(index.depths(chained(1, 2), 0b111)) == []
    index.store(0, chained(1, 2))
    assert list(index.depths(chained(3, 4), 0b111)) == []
    assert list(index.depths(chained(1, 2, 3), 0b110)) == []
    index.remove(1, chained(1, 2))
    index.clear(7)
    assert list(index.depths(chained(1, 2, 3), 0b111)) == [(2, 0b001)]
    index.remove(0, reversed(chained(1, 2)))
    assert len(index) == 0


def test_the_bits_of_a_mask_come_lowest_first() -> None:
    assert list(slots_of(1 << 999 | 0b1010)) == [1, 3, 999]
    assert list(slots_of(0)) == []


@pytest.mark.parametrize("lost", [0, 10])
def test_a_worker_with_a_hole_is_not_credited_with_what_lies_behind_it(lost: int) -> None:
    index, hashes = HolderIndex(), chained(*pages_of(1, 20))
    for slot in (0, 2):
        index.store(slot, hashes)
    index.store(1, hashes[:5])
    index.remove(0, hashes[lost : lost + 1])
    assert spread(index, hashes, 0b111, 3) == [lost, 5, 20]
    assert spread(index, hashes, 0b001, 3) == [lost, 0, 0]


class Counted(RuleBasedStateMachine):
    """Requests that take pages and release them."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = CountedHolders()
        self.taken: list[tuple[int, list[int]]] = []

    @rule(slot=st.integers(0, 2), pages=PAGES)
    def take(self, slot: int, pages: list[int]) -> None:
        self.counted.take(slot, chained(*pages))
        self.taken.append((slot, chained(*pages)))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.taken:
            at = data.draw(st.integers(0, len(self.taken) - 1))
            self.counted.release(*self.taken.pop(at))

    @rule(slot=st.integers(0, 2))
    def drop(self, slot: int) -> None:
        self.counted.drop(slot)
        self.taken = [(at, hashes) for at, hashes in self.taken if at != slot]

    @invariant()
    def pages_are_held_as_long_as_anybody_holds_them(self) -> None:
        self.counted.check()
        for slot in range(3):
            held = {page for at, hashes in self.taken for page in hashes if at == slot}
            assert self.counted.n_pages(slot) == self.counted.index.count(slot) == len(held)


TestCounted = Counted.TestCase
TestCounted.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
