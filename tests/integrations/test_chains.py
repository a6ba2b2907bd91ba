import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from triskele.integrations.chains import BlockChains

Chain = tuple[int, ...]


def made(capacity: int = 100, seed: int = 0) -> BlockChains:
    return BlockChains(capacity, random.Random(seed))


def hold(chains: BlockChains, blocks: list[int], chain: Chain) -> None:
    """Store a chain in blocks: a place's key is all of it up to there."""
    for at, block in enumerate(blocks):
        chains.store(block, chain[: at + 1], chain[:at] or None)


class Engine(RuleBasedStateMachine):
    """An engine with a pool of blocks, in which everything is written down the plain way."""

    CAPACITY = 12

    def __init__(self) -> None:
        super().__init__()
        self.chains = made(self.CAPACITY)
        self.unused = list(range(self.CAPACITY))
        self.contents: dict[int, Chain] = {}
        self.running: list[tuple[Chain, list[int]]] = []

    @rule(chain=st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple))
    def begin(self, chain: Chain) -> None:
        n_found, blocks = 0, []
        for at in range(1, len(chain) + 1):
            block = next((b for b, held in self.contents.items() if held == chain[:at]), None)
            if block is None:
                break
            n_found, blocks = at, [*blocks, block]
        in_use = {block for _, taken in self.running for block in taken}
        n_missing = len(chain) - n_found
        if n_missing > self.CAPACITY - len(in_use | set(blocks)):
            return
        for block in blocks:
            self.chains.use(block)
        new = [self._take() for _ in range(n_missing)]
        held = blocks + new
        for at in range(n_found, len(chain)):
            self.contents[held[at]] = chain[: at + 1]
            self.chains.store(held[at], chain[: at + 1], chain[:at] or None)
        self.running.append((chain, held))

    @rule(chain=st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple))
    def begin_without_looking(self, chain: Chain) -> None:
        """Two that begin at once compute the same: copies."""
        in_use = {block for _, taken in self.running for block in taken}
        if len(chain) > self.CAPACITY - len(in_use):
            return
        held = [self._take() for _ in chain]
        for at, block in enumerate(held):
            self.contents[block] = chain[: at + 1]
            self.chains.store(block, chain[: at + 1], chain[:at] or None)
        self.running.append((chain, held))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        _, held = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        still = {block for _, taken in self.running for block in taken}
        done = [block for block in reversed(held) if block not in still]
        self.chains.free([block for block in done if block in self.contents])
        self.unused += [block for block in done if block not in self.contents]

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def uncache(self, data: st.DataObject) -> None:
        """Take a block without followers out of the cache, as a host may."""
        leaves = [
            block
            for block, held in self.contents.items()
            if not any(other[:-1] == held for other in self.contents.values())
        ]
        if not leaves:
            return
        block = data.draw(st.sampled_from(leaves))
        is_free = block in self.chains
        self.chains.drop(block)
        del self.contents[block]
        if is_free:
            self.unused.append(block)

    @invariant()
    def holds(self) -> None:
        self.chains.check()
        in_use = {block for _, taken in self.running for block in taken}
        assert set(self.chains) == self.contents.keys() - in_use
        assert len(self.chains) + len(self.unused) + len(in_use) == self.CAPACITY
        assert all(self.chains.is_cached(block) for block in self.contents)
        places = set(self.contents.values())
        for place in places:
            assert len(place) == 1 or place[:-1] in places, "a hole in a chain"

    def _take(self) -> int:
        if self.unused:
            return self.unused.pop()
        block = self.chains.evict()
        del self.contents[block]
        return block


def test_whatever_an_engine_does_no_chain_ever_has_a_hole() -> None:
    run_state_machine_as_test(
        Engine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_a_chain_goes_from_its_end() -> None:
    chains = made()
    hold(chains, [10, 11, 12, 13], (1, 2, 3, 4))
    chains.free([13, 12, 11, 10])
    assert [chains.evict() for _ in range(4)] == [13, 12, 11, 10]
    with pytest.raises(IndexError, match="expected a free block, got none"):
        chains.evict()


def test_what_is_in_use_is_never_evicted() -> None:
    chains = made()
    hold(chains, [1, 2], (1, 2))
    hold(chains, [3], (3,))
    chains.free([2, 1, 3])
    chains.use(2)
    chains.use(1)
    assert chains.evict() == 3
    assert len(chains) == 0


def test_ends_of_a_new_phase_are_drawn_uniformly() -> None:
    gone: Counter[int] = Counter()
    for seed in range(900):
        chains = made(9, seed)
        for block in range(9):
            hold(chains, [block], (block,))
        chains.free(range(9))
        gone[chains.evict()] += 1
    # A hundred each: beyond six standard deviations nobody would believe in chance.
    assert all(abs(gone[block] - 100) < 6 * 10 for block in range(9))


def test_what_was_used_in_this_phase_outlives_what_was_not() -> None:
    for seed in range(30):
        chains = made(8, seed)
        for block in range(8):
            hold(chains, [block], (block,))
        chains.free(range(8))
        # Everything is marked: this begins a phase.
        block = chains.evict()
        hold(chains, [block], (100,))
        used = [other for other in range(8) if other != block][:3]
        for other in used:
            chains.use(other)
        chains.free([*used, block])
        evicted = {chains.evict() for _ in range(4)}
        assert not evicted & {*used, block}


def test_of_two_copies_one_may_go_though_something_follows() -> None:
    chains = made()
    hold(chains, [1, 2], (1, 2))
    hold(chains, [3], (1,))
    chains.free([1, 3])
    assert chains.evict() in (1, 3)
    # The other is the last, and block 2 follows it: it goes only as there is no other choice.
    chains.free([2])
    assert chains.evict() == 2
    assert chains.evict() in (1, 3)


def test_without_a_block_that_may_go_the_one_let_go_of_first_does() -> None:
    chains = made()
    hold(chains, [1, 2, 3], (1, 2, 3))
    chains.free([1])
    chains.free([2])
    assert [chains.evict(), chains.evict()] == [1, 2]
    chains.check()


def test_a_free_block_stays_once_something_follows_it() -> None:
    chains = made()
    hold(chains, [1], (1,))
    hold(chains, [9], (9,))
    chains.free([1, 9])
    chains.store(2, (1, 2), (1,))
    chains.check()
    assert chains.evict() == 9


def test_a_block_that_is_filled_again_counts_again() -> None:
    chains = made(2)
    for number in range(2):
        chains.store(0, number, None)
        chains.free([0])
        chains.drop(0)
    phase = chains._policy.phase
    chains.store(1, "third", None)
    chains.free([1])
    assert chains._policy.phase == phase + 1


def test_a_place_that_comes_back_is_held_by_what_follows_it() -> None:
    chains = made()
    hold(chains, [1, 2], (1, 2))
    chains.drop(1)
    chains.store(5, (1,), None)
    chains.free([5, 2])
    chains.check()
    assert [chains.evict(), chains.evict()] == [2, 5]


def test_a_block_that_holds_something_keeps_it() -> None:
    chains = made()
    chains.store(1, "a", None)
    chains.store(1, "b", "a")
    chains.check()
    chains.drop(1)
    chains.drop(1)
    assert not chains.is_cached(1)


def test_the_same_seed_evicts_the_same() -> None:
    def order(seed: int) -> list[int]:
        chains = made(20, seed)
        for block in range(20):
            hold(chains, [block], (block,))
        chains.free(range(20))
        return [chains.evict() for _ in range(20)]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_everything_can_be_forgotten() -> None:
    chains = made()
    hold(chains, [1, 2, 3], (1, 2, 3))
    chains.free([3, 2])
    assert sorted(chains.clear()) == [2, 3]
    assert len(chains) == 0
    chains.check()
    chains.store(1, "a", None)
    chains.free([1])
    assert chains.evict() == 1
