"""What an engine says of its blocks, in any of three forms, becomes pages that a router knows."""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from triskele.serve.cache import chained_hashes, chained_key, token_key
from triskele.serve.gateway import events
from triskele.serve.gateway.events import EventTranslator
from triskele.serve.routing import LearnedGreedy, Request, Worker

PAGE = 4
FORMS = ("arrays", "maps in an array", "maps")
STORED = (
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
    "kv_cache_spec_kind",
    "kv_cache_spec_sliding_window",
    "of_a_later_version",
)
REMOVED = ("block_hashes", "medium", "group_idx", "of_a_later_version")
NAMES = {"BlockStored": STORED, "BlockRemoved": REMOVED, "AllBlocksCleared": ()}


class Holder:
    """A router that remembers what a worker holds."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.n_calls = 0

    def stored(self, worker: str, hashes: Sequence[int]) -> None:
        assert worker == "w"
        self.held |= set(hashes)
        self.n_calls += 1

    def removed(self, worker: str, hashes: Sequence[int]) -> None:
        self.held -= set(hashes)
        self.n_calls += 1

    def cleared(self, worker: str) -> None:
        self.held.clear()
        self.n_calls += 1


def pack(form: str, *happened: dict[str, Any]) -> bytes:
    """Return a batch as an engine sends it."""
    packed: list[Any] = []
    for event in happened:
        if form == "arrays":
            names = NAMES.get(event["type"], ())
            n_known = max((n for n, name in enumerate(names, 1) if name in event), default=0)
            packed.append([event["type"], *(event.get(name) for name in names[:n_known])])
        else:
            packed.append(event)
    if form == "maps":
        return msgspec.msgpack.encode({"ts": 1.5, "events": packed, "data_parallel_rank": 0})
    return msgspec.msgpack.encode([1.5, packed, 0])


def stored(
    names: Sequence[int | bytes],
    tokens: Sequence[Any],
    parent: int | bytes | None = None,
    **more: Any,
) -> dict[str, Any]:
    return {
        "type": "BlockStored",
        "block_hashes": list(names),
        "parent_block_hash": parent,
        "token_ids": list(tokens),
        "block_size": len(tokens) // len(names),
        **more,
    }


def removed(names: Sequence[int | bytes], **more: Any) -> dict[str, Any]:
    return {"type": "BlockRemoved", "block_hashes": list(names), **more}


def pages(tokens: Sequence[int], above: int = 0) -> set[int]:
    return set(chained_hashes(token_key(tokens, 1), 4 * PAGE, above=above))


def translated(*happened: dict[str, Any], **options: Any) -> Holder:
    """Return what a router holds after these events, one batch each."""
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE, **options)
    for number, event in enumerate(happened):
        translator.apply(number, pack("maps in an array", event))
    return holder


CLEARED = {"type": "AllBlocksCleared"}
TOKENS = list(range(100, 116))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", [[7, -8, 2**64 - 1, 10], [b"\x00" * 32, b"b", b"c", b"d"]])
def test_blocks_are_told_as_the_pages_that_the_gateway_hashes(
    form: str, names: list[int | bytes]
) -> None:
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE)
    translator.apply(0, pack(form, stored(names[:2], TOKENS[:8])))
    assert holder.held == pages(TOKENS[:8])
    translator.apply(1, pack(form, stored(names[2:], TOKENS[8:], names[1], medium="GPU")))
    assert holder.held == pages(TOKENS)
    translator.apply(2, pack(form, removed(names[3:]), removed(names[2:3], medium="GPU")))
    assert holder.held == pages(TOKENS[:8])
    translator.apply(3, pack(form, CLEARED))
    assert holder.held == set()


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
def test_pages_need_not_be_as_long_as_blocks(n_block: int, n_first: int, n_more: int) -> None:
    n = n_first + n_more
    tokens, names = list(range(n * n_block)), list(range(n))
    first = stored(names[:n_first], tokens[: n_first * n_block])
    more = stored(names[n_first:], tokens[n_first * n_block :], names[n_first - 1])
    holder = translated(first, more)
    assert holder.held == pages(tokens)
    last_first = [removed([name]) for name in reversed(names)]
    assert translated(first, more, *last_first).held == set()


def test_a_router_prefers_the_worker_that_says_it_holds_the_prompt() -> None:
    router, workers = LearnedGreedy(page_size=PAGE), (Worker("v"), Worker("w"), Worker("x"))
    router.choose(Request(0, b"", 1), workers, 0.0)
    translator = EventTranslator("w", router, page_size=PAGE)
    tokens = list(range(4000))
    translator.apply(0, pack("maps", stored(list(range(1000)), tokens)))
    request = Request(1, chained_key(tokens, PAGE), len(tokens))
    assert router.choose(request, workers, 1.0).name == "w"


@pytest.mark.parametrize(
    "event",
    [
        stored([1], TOKENS[:4], 99),
        stored([1], TOKENS[:4], medium="CPU"),
        stored([1], TOKENS[:4], lora_name="poet"),
        stored([1], TOKENS[:4], lora_id=3),
        stored([1], TOKENS[:4], extra_keys=[["salt"]]),
        stored([1], TOKENS[:4], group_idx=1, kv_cache_spec_kind="sliding_window"),
        {"type": "BlockPainted", "colour": "blue"},
        removed([1]),
    ],
)
def test_what_is_not_known_or_not_meant_is_left_out(event: dict[str, Any]) -> None:
    assert translated(event, stored([2], TOKENS[4:8])).held == pages(TOKENS[4:8])


def test_blocks_from_the_first_with_other_content_on_are_left_out() -> None:
    event = stored([1, 2, 3], TOKENS[:12], extra_keys=[None, ["picture"], None])
    assert translated(event, stored([4], TOKENS[12:], 3)).held == pages(TOKENS[:4])


def test_adapters_have_pages_of_their_own_where_the_gateway_says_so() -> None:
    def root(adapter: str | None) -> int | None:
        return {None: 5, "poet": 6}.get(adapter)

    plain, poet = stored([1], TOKENS[:4]), stored([2], TOKENS[:4], lora_name="poet", lora_id=1)
    poet["extra_keys"] = [["poet"]]
    other = stored([3], TOKENS[:4], lora_name="painter")
    held = translated(plain, poet, other, root=root).held
    assert held == pages(TOKENS[:4], 5) | pages(TOKENS[:4], 6)


def test_removals_from_slower_memory_and_from_windows_are_not_of_the_prefix() -> None:
    window = stored([2], TOKENS[4:8], 1, group_idx=1, kv_cache_spec_kind="sliding_window")
    holder = translated(
        stored([1, 2], TOKENS[:8], group_idx=0, kv_cache_spec_kind="full_attention"),
        window,
        removed([2], group_idx=1),
        removed([1], medium="CPU"),
    )
    assert holder.held == pages(TOKENS[:8])


def test_a_block_that_is_held_twice_is_gone_when_it_was_removed_twice() -> None:
    events_ = [stored([1], TOKENS[:4]), stored([1], TOKENS[:4]), removed([1])]
    assert translated(*events_).held == pages(TOKENS[:4])
    assert translated(*events_, removed([1])).held == set()


def test_pairs_of_tokens_count_as_their_first() -> None:
    pairs = [[one, one + 1] for one in TOKENS[:8]]
    assert translated(stored([1, 2], pairs)).held == pages(TOKENS[:8])


def test_after_a_gap_nothing_is_held_until_a_block_is_stored_below(
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE)
    translator.apply(0, pack("maps", stored([1, 2, 3], TOKENS[:12]), stored([9], TOKENS[4:8])))
    with caplog.at_level(logging.WARNING):
        translator.apply(5, pack("maps", stored([8], TOKENS[8:12])))
    assert holder.held == pages(TOKENS[8:12])
    assert translator.n_gaps == 1
    assert [one.getMessage() for one in caplog.records] == [
        "events of w: batches 1 to 4 are missing; it counts as empty"
    ]
    translator.apply(6, pack("maps", stored([4], TOKENS[12:], 3)))
    assert holder.held == pages(TOKENS) | pages(TOKENS[8:12])
    translator.apply(7, pack("maps", removed([4, 3])))
    assert holder.held == pages(TOKENS[:8]) | pages(TOKENS[8:12])


def test_numbers_say_what_is_missing_and_what_is_there_twice() -> None:
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE)
    assert translator.missing(0) is None
    translator.apply(0, pack("maps", stored([1], TOKENS[:4])))
    assert translator.missing(3) == 1
    for number in (1, 2, 3):
        translator.apply(number, pack("maps", stored([1], TOKENS[:4])))
    translator.apply(3, pack("maps", CLEARED))
    assert translator.missing(4) is None
    translator.apply(4, pack("maps"))
    assert holder.held == pages(TOKENS[:4])
    assert translator.n_gaps == 0


def test_a_first_number_above_zero_asks_for_the_beginning_and_doubts_nothing() -> None:
    translator = EventTranslator("w", Holder(), page_size=PAGE)
    assert translator.missing(7) == 0
    translator.apply(7, pack("maps"))
    assert translator.missing(8) is None
    assert translator.n_gaps == 0


def test_numbers_that_begin_anew_are_those_of_a_new_engine() -> None:
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE)
    for number in range(3):
        assert translator.missing(number) is None
        translator.apply(number, pack("maps", stored([number], TOKENS[:4])))
    assert translator.missing(1) == 0
    assert holder.held == set()
    translator.apply(0, pack("maps", stored([7], TOKENS[4:8])))
    translator.apply(1, pack("maps", stored([8], TOKENS[8:12], 7), stored([9], TOKENS[8:12], 2)))
    assert holder.held == pages(TOKENS[4:12])
    assert translator.n_unknown == 1


def test_what_was_repeated_is_no_news_and_after_catching_up_a_new_engine_is_noticed() -> None:
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE)
    for number in range(4):
        translator.apply(number, pack("maps", stored([number], TOKENS[:4])))
    assert translator.missing(2) is None
    assert holder.held
    translator.caught_up()
    assert translator.missing(3) == 0
    assert not holder.held


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(7),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([1.0, [7], 0]),
        msgspec.msgpack.encode([1.0, [[]], 0]),
        msgspec.msgpack.encode([1.0, [[["BlockStored"]]], 0]),
        msgspec.msgpack.encode([1.0, [{"no": "type"}], 0]),
        msgspec.msgpack.encode([1.0, [["BlockStored", [1], None, [1, 2, 3]]], 0]),
        pack("maps", stored([1, 2], TOKENS[:8], block_size=4) | {"token_ids": [1, 2, 3]}),
        pack("maps", stored([1], TOKENS[:4]) | {"block_size": 0, "token_ids": []}),
        pack("maps", stored([1], [-1, 2, 3, 4])),
        pack("maps", stored([1], [None, 2, 3, 4])),
        pack("maps", stored([1], [[], 2, 3, 4])),
        pack("maps", stored([1.5], TOKENS[:4])),  # type: ignore[list-item]
    ],
)
def test_a_batch_that_makes_no_sense_leaves_nothing_certain(payload: bytes) -> None:
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE)
    translator.apply(0, pack("maps", stored([7], TOKENS[:4])))
    translator.apply(1, payload)
    assert holder.held == set()
    assert translator.n_gaps == 1
    translator.apply(2, pack("maps", stored([8], TOKENS[4:8], 7)))
    assert holder.held == pages(TOKENS[:8])


@given(st.binary(max_size=60))
@example(b"\x92\x00\x91\x91")
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_it(payload: bytes) -> None:
    EventTranslator("w", Holder(), page_size=PAGE).apply(0, payload)


def test_an_engine_that_never_removes_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "MAX_BLOCKS", 10)
    holder = Holder()
    translator = EventTranslator("w", holder, page_size=PAGE)
    for number in range(25):
        translator.apply(number, pack("maps", stored([number], [number] * 4)))
    assert len(holder.held) <= 10
    assert translator.n_gaps == 2


def test_pages_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one token, got 0"):
        EventTranslator("w", Holder(), page_size=0)


class EngineMachine(RuleBasedStateMachine):
    """An engine with a cache of chains, of which some batches are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.holder = Holder()
        self.translator = EventTranslator("w", self.holder, page_size=PAGE)
        self.blocks: dict[tuple[int, ...], int] = {}
        self.number = 0
        self.is_lossy = False

    @initialize(n_block=st.sampled_from([2, 4, 8]), form=st.sampled_from(FORMS))
    def begin(self, n_block: int, form: str) -> None:
        self.n_block, self.form = n_block, form

    def name(self, prefix: tuple[int, ...]) -> bytes:
        return repr(prefix).encode()

    def publish(self, is_lost: bool, *happened: dict[str, Any]) -> None:
        if not is_lost:
            self.translator.apply(self.number, pack(self.form, *happened))
        self.is_lossy |= is_lost
        self.number += 1

    @rule(data=st.data(), ids=st.lists(st.integers(0, 1), min_size=1, max_size=3))
    def store(self, data: st.DataObject, ids: list[int]) -> None:
        parents = [(), *sorted(self.blocks)]
        parent = parents[data.draw(st.integers(0, len(parents) - 1))]
        prefix, names, tokens = parent, [], []
        for one in ids:
            prefix = (*prefix, one)
            self.blocks[prefix] = self.blocks.get(prefix, 0) + 1
            names.append(self.name(prefix))
            tokens += [one] * self.n_block
        above = self.name(parent) if parent else None
        event = stored(names, tokens, above)
        self.publish(data.draw(st.integers(0, 9)) == 9, event)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        leaves = [
            prefix
            for prefix in sorted(self.blocks)
            if not any(other[:-1] == prefix for other in self.blocks)
        ]
        prefix = leaves[data.draw(st.integers(0, len(leaves) - 1))]
        self.blocks[prefix] -= 1
        if not self.blocks[prefix]:
            del self.blocks[prefix]
        self.publish(data.draw(st.integers(0, 9)) == 9, removed([self.name(prefix)]))

    @rule()
    def clear(self) -> None:
        self.blocks.clear()
        self.publish(False, CLEARED)
        self.is_lossy = False

    @invariant()
    def what_is_told_is_what_is_there(self) -> None:
        there: set[int] = set()
        for prefix in self.blocks:
            there |= pages([one for one in prefix for _ in range(self.n_block)])
        if not self.is_lossy:
            assert self.holder.held == there
        elif self.translator._next == self.number:
            assert self.holder.held <= there


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
