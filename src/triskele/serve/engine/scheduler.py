"""Which tokens the next forward pass computes, and in which pages their keys and values lie.

Continuous batching: every running answer gets its token, the rest of the token budget goes to
prompts in chunks, first come first served. Pages are those of a :class:`PrefixCache`; this is the
discipline of reservations and pins that the simulator's replica keeps too. When answers outgrow
the pages, the newest loses its own and is computed again later.

A chunk's whole pages enter the tree when it is scheduled, not when it has been computed: within
one forward pass every layer writes all keys and values before it reads any, so that requests
admitted in the same step already share what the first of them computes.

Pure bookkeeping: no tensors, no text, no clock.
"""

from collections import deque
from collections.abc import Iterator
from math import ceil

import numpy as np

from triskele.serve.cache import PrefixCache, token_key
from triskele.serve.cache.radix import TOKEN_BYTES
from triskele.serve.engine.batching import Batching, Chunk, Tally
from triskele.serve.engine.changes import Removed, Stored
from triskele.serve.engine.sequence import Sequence


class Scheduler:
    """Admits sequences, gives them pages, and fills steps with their tokens.

    Parameters
    ----------
    cache
        Over tokens (:meth:`PrefixCache.for_tokens`) and empty. Its capacity is the number of
        pages, its payloads are their indices.
    page_size
        Tokens per page.
    max_seq_len
        Most tokens of a prompt and its answer.
    batching
        Limits of a step.
    tells
        Whether :meth:`changes` reports pages stored and removed.

    Attributes
    ----------
    tables
        (row, page) → index of the page, for running sequences.
    """

    def __init__(
        self,
        cache: PrefixCache,
        *,
        page_size: int,
        max_seq_len: int,
        batching: Batching,
        tells: bool = False,
    ) -> None:
        self.cache = cache
        self.page_size = page_size
        self.tally = Tally()
        # Kept free at admission, so that answers can grow before someone is preempted.
        self._watermark = cache.capacity // 100
        self.max_tokens = min(max_seq_len, (cache.capacity - self._watermark) * page_size)
        self.tables = np.zeros(
            (batching.n_running, ceil(self.max_tokens / page_size) + 1), dtype=np.int64
        )
        self._batching = batching
        self._tells = tells
        self._changes: list[Stored | Removed] = []
        self._free = list(range(cache.capacity - 1, -1, -1))
        self._rows = list(range(batching.n_running - 1, -1, -1))
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._is_full = False

    @property
    def n_waiting(self) -> int:
        """Sequences that are not admitted."""
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        """Sequences that are admitted and not finished."""
        return len(self._running)

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence whose prompt and answer fit ``max_tokens``."""
        self._waiting.append(sequence)

    def plan(self) -> list[Chunk]:
        """Choose the tokens of the next step; empty if there is nothing to do."""
        self._make_room_for_answers()
        chunks: list[Chunk] = []
        prompts: list[Sequence] = []
        for sequence in self._running:
            if sequence.n_todo == 1:
                chunks.append(self._chunk(sequence, 1))
            else:
                prompts.append(sequence)
        n_left = self._batching.n_tokens - len(chunks)
        for sequence in prompts:
            if n_left <= 0:
                break
            n_left = self._take(sequence, n_left, chunks)
        while self._waiting and n_left > 0 and self._admit():
            n_left = self._take(self._running[-1], n_left, chunks)
        if chunks:
            self.tally.n_steps += 1
            self.tally.n_computed += sum(chunk.n_tokens for chunk in chunks)
        return chunks

    def computed(self, chunk: Chunk, token: int | None) -> None:
        """Note that a chunk has been computed and, if it was the last of a sequence, what next."""
        sequence = chunk.sequence
        sequence.n_computed = chunk.start + chunk.n_tokens
        if token is not None:
            sequence.tokens.append(token)
            self.tally.n_generated += 1

    def finish(self, sequence: Sequence) -> None:
        """Take a running sequence out and give all that it computed to the cache."""
        self._running.remove(sequence)
        self.tally.n_finished += 1
        self._share(sequence, token_key(sequence.tokens[: sequence.n_computed], self.page_size))
        self._let_go(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Take a sequence out, running or not; its own pages are free at once."""
        if sequence.row is None:
            self._waiting.remove(sequence)
        else:
            self._running.remove(sequence)
        self.tally.n_cancelled += 1
        self._let_go(sequence)

    def clear(self) -> None:
        """Evict every page that no running sequence holds."""
        self._take_back(self.cache.clear())

    def changes(self) -> list[Stored | Removed]:
        """Return what happened to pages since the last call."""
        told, self._changes = self._changes, []
        return told

    def sequences(self) -> Iterator[Sequence]:
        """Yield the running sequences, oldest admission first, then those that wait."""
        yield from self._running
        yield from self._waiting

    def check(self) -> None:
        """Assert what must always hold between steps; for tests."""
        cache = self.cache
        cache.check()
        owned = [page for s in self._running for page in s.pages[len(s.pages) - s.n_own :]]
        held = [page for node in cache._tree.nodes() for page in node.payloads or ()]
        assert cache.n_reserved == len(owned)
        assert len(self._free) == cache.n_free
        assert sorted([*self._free, *owned, *held]) == list(range(cache.capacity))
        rows = [sequence.row for sequence in self._running if sequence.row is not None]
        assert sorted([*rows, *self._rows]) == list(range(len(self.tables)))
        for sequence in self._running:
            n_pages = len(sequence.pages)
            assert sequence.pin is not None
            assert sequence.pages[: sequence.pin.n_pages] == sequence.pin.payloads
            assert self.tables[sequence.row, :n_pages].tolist() == sequence.pages
            assert sequence.n_computed <= n_pages * self.page_size
            assert sequence.n_todo >= 1
        for sequence in self._waiting:
            assert not sequence.pages
            assert sequence.row is None
            assert sequence.pin is None or sequence.pin.n_pages == 0

    def _make_room_for_answers(self) -> None:
        """Give every answer that fills its last page another, at the expense of the newest."""
        cache, page_size = self.cache, self.page_size
        growing = [s for s in self._running if len(s.tokens) > len(s.pages) * page_size]
        while len(growing) > cache.capacity - cache.n_reserved - cache.n_pinned:
            newest = self._running[-1]
            self._preempt(newest)
            if growing[-1] is newest:
                growing.pop()
        if growing:
            self._take_back(cache.reserve(len(growing)))
        for sequence in growing:
            page = self._free.pop()
            self.tables[sequence.row, len(sequence.pages)] = page
            sequence.pages.append(page)

    def _take(self, sequence: Sequence, n_left: int, chunks: list[Chunk]) -> int:
        n_tokens = min(n_left, sequence.n_todo)
        chunks.append(self._chunk(sequence, n_tokens))
        return n_left - n_tokens

    def _chunk(self, sequence: Sequence, n_tokens: int) -> Chunk:
        """Cut a chunk, its whole pages shared from now on."""
        assert sequence.pin is not None
        start, n_held = sequence.n_computed, sequence.pin.n_pages
        n_bytes = (start + n_tokens) // self.page_size * self.page_size * TOKEN_BYTES
        if n_tokens > 1 or start < sequence.n_prompt:
            n_held = max(n_held, self._share(sequence, sequence.key[:n_bytes]))
        return Chunk(sequence, start, n_tokens, n_held * self.page_size)

    def _share(self, sequence: Sequence, key: bytes) -> int:
        """Give a sequence's own pages up to the end of ``key`` to the tree.

        Returns how many pages of ``key`` the tree had already; those of the sequence in their
        places are free again.
        """
        pin = sequence.pin
        assert pin is not None
        n_pages = len(key) // (self.page_size * TOKEN_BYTES)
        n_new = n_pages - pin.n_pages
        if n_new <= 0:
            return 0
        given = sequence.pages[:n_pages]
        done = self.cache.insert(key, given, pin=pin, n_reserved=n_new)
        # All of it, and without an eviction: it takes the place of the sequence's own pages.
        assert done.n_found + done.n_added == n_pages
        self._free += given[pin.n_pages : done.n_found]
        sequence.pin = renewed = self.cache.renew(pin, key)
        sequence.pages[:n_pages] = renewed.payloads
        self.tables[sequence.row, :n_pages] = renewed.payloads
        self._is_full = False
        if self._tells and done.n_added:
            self._changes.append(Stored(key, renewed.payloads, done.n_found))
        return done.n_found

    def _admit(self) -> bool:
        """Let the first of the queue in if there is room."""
        self._is_full = self._is_full or not self._rows
        if self._is_full:
            return False
        sequence, cache = self._waiting[0], self.cache
        n_tokens = len(sequence.tokens)
        key = token_key(sequence.tokens, self.page_size)
        # One use of its prefix, however often it is refused or preempted.
        pin = cache.pin(key) if sequence.pin is None else cache.renew(sequence.pin, key)
        n_own = ceil(n_tokens / self.page_size) - pin.n_pages
        kept = self._watermark if self._running else 0
        if n_own + kept > cache.capacity - cache.n_reserved - cache.n_pinned:
            sequence.pin, self._is_full = cache.renew(pin, b""), True
            return False
        self._take_back(cache.reserve(n_own))
        self._waiting.popleft()
        sequence.pin, sequence.key, sequence.row = pin, key, self._rows.pop()
        sequence.pages = [*pin.payloads, *(self._free.pop() for _ in range(n_own))]
        self.tables[sequence.row, : len(sequence.pages)] = sequence.pages
        # The last token is always computed: its output is what is asked for.
        sequence.n_computed = min(pin.n_pages * self.page_size, n_tokens - 1)
        if sequence.n_cached is None:
            sequence.n_cached = sequence.n_computed
            self.tally.n_prompt += sequence.n_prompt
            self.tally.n_cached += sequence.n_cached
        self._running.append(sequence)
        return True

    def _preempt(self, sequence: Sequence) -> None:
        """Send the newest back to the head of the queue; it will be computed again."""
        self._running.remove(sequence)
        assert sequence.pin is not None
        self._release(sequence)
        sequence.pin = self.cache.renew(sequence.pin, b"")
        sequence.n_preempted += 1
        sequence.n_computed = 0
        self.tally.n_preempted += 1
        self._waiting.appendleft(sequence)
        self._is_full = True

    def _let_go(self, sequence: Sequence) -> None:
        self._release(sequence)
        if sequence.pin is not None:
            self.cache.unpin(sequence.pin)
            sequence.pin = None
        self._is_full = False

    def _release(self, sequence: Sequence) -> None:
        """Free a sequence's own pages and its row."""
        if sequence.row is None:
            return
        n_own = sequence.n_own
        self.cache.release(n_own)
        self._free += sequence.pages[len(sequence.pages) - n_own :]
        self._rows.append(sequence.row)
        sequence.pages, sequence.row = [], None

    def _take_back(self, freed: list[int] | None) -> None:
        """Make evicted pages free."""
        assert freed is not None
        self._free += freed
        if self._tells and freed:
            self._changes.append(Removed(freed))
