"""The key-value events of vLLM and SGLang, told to a router in the gateway's own page hashes.

An engine publishes numbered batches, packed with msgpack, of what its prefix cache has stored and
removed. It names a block by a hash of its own and says which tokens it holds and which block it
follows; so the gateway's chained hash of the same tokens can be computed, and is kept by the
engine's for as long as the engine keeps the block. Pages need not be as long as blocks.

Three forms are on the wire: batches and events as arrays (SGLang, and vLLM in its first versions),
events as maps in an array (vLLM 0.26), and all as maps. What is not known in them is passed over.

When batches are missing nothing that was held is certain any more, and the router is told that the
worker holds nothing. What the engine's hashes stand for stays true, though: a block is stored below
blocks that are there, so that with every new block all before it are known again.

Blocks whose tokens do not say all of their content are left out: those of adapters that have no
page hashes, of images, of salted caches, and those in slower memory than the accelerator's.

Nothing here reads a socket.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from triskele.serve.cache import chained_hashes, token_key
from triskele.serve.cache.radix import TOKEN_BYTES
from triskele.serve.routing import CacheListener

MAX_BLOCKS = 1 << 20
"""Blocks beyond which an engine is taken to have forgotten to say what it removed."""
ACCELERATOR = (None, "GPU")
WHOLE_PREFIX = (None, "full_attention", "mla_attention", "sink_full_attention")
UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError)

Hash = int | bytes
T = TypeVar("T", bound=msgspec.Struct)
_logger = logging.getLogger(__name__)


class _Stored(msgspec.Struct):
    """Blocks that follow each other; in the order in which arrays have the fields."""

    block_hashes: list[Hash]
    parent_block_hash: Hash | None
    token_ids: list[Any]
    block_size: int
    lora_id: Any = None
    medium: Any = None
    lora_name: Any = None
    extra_keys: Any = None
    group_idx: Any = None
    kv_cache_spec_kind: Any = None


class _Removed(msgspec.Struct):
    """Blocks that are gone."""

    block_hashes: list[Hash]
    medium: Any = None
    group_idx: Any = None


class _Cleared(msgspec.Struct):
    """All blocks are gone."""


class _Batch(msgspec.Struct):
    """What happened at one time."""

    ts: Any
    events: list[Any]


_Event = _Stored | _Removed | _Cleared
_KINDS: dict[str, type[_Event]] = {
    "BlockStored": _Stored,
    "BlockRemoved": _Removed,
    "AllBlocksCleared": _Cleared,
}


@dataclass(slots=True)
class _Block:
    """A block of the engine.

    ``pages`` end in it, ``above`` is the last page that has ended, ``tail`` the tokens after that.
    ``n_held`` counts how often it was stored and not removed; 0 while that is uncertain.
    """

    parent: Hash | None
    pages: Sequence[int]
    above: int
    tail: bytes
    n_held: int


def _tokens_alone(adapter: str | None) -> int | None:
    return 0 if adapter is None else None


class EventTranslator:
    """Tells a router what one worker's cache holds.

    Parameters
    ----------
    worker
        Its name.
    listener
        The router.
    page_size
        Tokens per page of the router's hashes.
    root
        Gives the hash that stands before the first page of prompts for an adapter (``None``: the
        model itself), as the gateway hashes its requests; ``None`` for adapters to leave out.

    Attributes
    ----------
    n_gaps
        How often batches were missing.
    n_unknown
        Blocks that were left out because what is before them is not known.
    """

    def __init__(
        self,
        worker: str,
        listener: CacheListener,
        *,
        page_size: int,
        root: Callable[[str | None], int | None] = _tokens_alone,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"expected pages of at least one token, got {page_size}")
        self._worker = worker
        self._listener = listener
        self._stride = TOKEN_BYTES * page_size
        self._root = root
        self._blocks: dict[Hash, _Block] = {}
        self._side_groups: set[Any] = set()
        self._next: int | None = None
        self._last_heard = -1
        self.n_gaps = 0
        self.n_unknown = 0

    def missing(self, number: int) -> int | None:
        """Hear the number of a batch that was published; return from where on to ask for others.

        ``None`` if none is missing. Numbers that begin anew are those of an engine that did, with
        an empty cache.
        """
        if number <= self._last_heard:
            self.reset()
        self._last_heard = number
        first = self._next or 0
        return first if number > first else None

    def apply(self, number: int, payload: bytes) -> None:
        """Take a batch, published or asked for; one that has been taken already is ignored."""
        if self._next is not None:
            if number < self._next:
                return
            if number > self._next:
                self._doubt(f"batches {self._next} to {number - 1} are missing")
        self._next = number + 1
        try:
            for event in _decode(payload):
                self._take(event)
        except UNREADABLE as error:
            self._doubt(f"a batch of events is malformed ({error})")
        if len(self._blocks) > MAX_BLOCKS:
            self._doubt("it has more blocks than can be")
            self._blocks.clear()

    def caught_up(self) -> None:
        """Note that whatever is published from now on is newer than all that has been applied."""
        self._last_heard = max(self._last_heard, (self._next or 0) - 1)

    def reset(self) -> None:
        """Begin anew, as with an engine that has been started again.

        It notices by itself when the numbers begin anew, but not when they have already grown
        beyond the old ones: so call this when a worker returns that was away.
        """
        self._blocks.clear()
        self._side_groups.clear()
        self._next, self._last_heard = None, -1
        self._listener.cleared(self._worker)

    def _take(self, event: _Event) -> None:
        if isinstance(event, _Cleared):
            self._blocks.clear()
            self._listener.cleared(self._worker)
        elif event.medium in ACCELERATOR:
            if isinstance(event, _Stored):
                self._store(event)
            elif event.group_idx not in self._side_groups:
                self._remove(event)

    def _store(self, event: _Stored) -> None:
        if event.kv_cache_spec_kind not in WHOLE_PREFIX:
            # Layers that see a window only: a prefix is of use without their blocks.
            self._side_groups.add(event.group_idx)
            return
        before = self._before(event)
        if before is None:
            self.n_unknown += len(event.block_hashes)
            return
        content = before.tail + token_key(_tokens(event.token_ids), 1)
        n_expected = len(event.block_hashes) * event.block_size * TOKEN_BYTES
        if event.block_size < 1 or len(content) - len(before.tail) != n_expected:
            raise ValueError(
                f"expected {len(event.block_hashes)} blocks of {event.block_size} tokens, "
                f"got {len(event.token_ids)} tokens"
            )
        pages = chained_hashes(content, self._stride, above=before.above)
        held = self._revive(event.parent_block_hash)
        end, n_before, parent = len(before.tail), 0, event.parent_block_hash
        for name in event.block_hashes[: _n_plain(event)]:
            end += event.block_size * TOKEN_BYTES
            n_pages = end // self._stride
            block = self._blocks.get(name)
            if block is None:
                block = self._blocks[name] = _Block(
                    parent=parent,
                    pages=tuple(pages[n_before:n_pages]),
                    above=pages[n_pages - 1] if n_pages else before.above,
                    tail=content[n_pages * self._stride : end],
                    n_held=0,
                )
            if not block.n_held:
                held += block.pages
            block.n_held += 1
            n_before, parent = n_pages, name
        if held:
            self._listener.stored(self._worker, held)

    def _before(self, event: _Stored) -> _Block | None:
        """Return what the blocks follow; ``None`` if that is not known."""
        if event.parent_block_hash is not None:
            return self._blocks.get(event.parent_block_hash)
        if event.lora_name is None and event.lora_id is not None:
            return None
        root = self._root(event.lora_name)
        return None if root is None else _Block(None, (), root, b"", 0)

    def _revive(self, name: Hash | None) -> list[int]:
        """Return the pages from the first on that are held for certain because a block is below."""
        revived: list[_Block] = []
        while name is not None:
            block = self._blocks.get(name)
            if block is None or block.n_held:
                break
            block.n_held = 1
            revived.append(block)
            name = block.parent
        return [page for block in reversed(revived) for page in block.pages]

    def _remove(self, event: _Removed) -> None:
        gone: list[int] = []
        for name in event.block_hashes:
            block = self._blocks.get(name)
            if block is None:
                continue
            block.n_held -= 1
            if block.n_held <= 0:
                del self._blocks[name]
                gone += block.pages
        if gone:
            self._listener.removed(self._worker, gone)

    def _doubt(self, why: str) -> None:
        """Take nothing for certain any more."""
        self.n_gaps += 1
        _logger.warning("events of %s: %s; it counts as empty", self._worker, why)
        for block in self._blocks.values():
            block.n_held = 0
        self._listener.cleared(self._worker)


def _decode(payload: bytes) -> list[_Event]:
    """Return the events of a batch that are known."""
    batch = _convert(msgspec.msgpack.decode(payload), _Batch)
    events: list[_Event] = []
    for one in batch.events:
        tag, fields = (one["type"], one) if isinstance(one, dict) else (one[0], one[1:])
        kind = _KINDS.get(tag)
        if kind is not None:
            events.append(_convert(fields, kind))
    return events


def _convert(fields: Any, kind: type[T]) -> T:
    """Return a record of its fields by name, or of as many of an array as are known."""
    if not isinstance(fields, dict):
        fields = dict(zip(kind.__struct_fields__, fields, strict=False))
    return msgspec.convert(fields, kind)


def _tokens(given: list[Any]) -> list[Any]:
    """Return token ids; of pairs, which speculative decoding stores, the first."""
    return [pair[0] for pair in given] if given and isinstance(given[0], list) else given


def _n_plain(event: _Stored) -> int:
    """Return how many of the first blocks have no content but their tokens."""
    for n, extra in enumerate(event.extra_keys or ()):
        # The root says which adapter it is.
        if extra and any(key != event.lora_name for key in extra):
            return n
    return len(event.block_hashes)
