"""RLT as the order in which vLLM's prefix cache gives up blocks.

vLLM has no setting for it: its block pool keeps free blocks in a queue, least recently used first.
Here is a pool whose queue draws instead, and the plugin that puts it in the place of vLLM's own in
every process that vLLM starts, if ``TRISKELE_VLLM_EVICTION=rlt``.

The queue alone cannot know which block follows which: a hash does not tell what it was made from.
The pool is told when it caches the full blocks of a request, whose hashes stand in order.
"""

import os
import random
from collections.abc import Iterator
from typing import Any

from vllm.v1.core import kv_cache_coordinator
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_utils import (
    KVCacheBlock,
    make_block_hash_with_group_id,
    resolve_block_hashes,
)

from triskele.integrations.chains import BlockChains

VARIABLE = "TRISKELE_VLLM_EVICTION"


def install() -> None:
    """Let vLLM evict by RLT from now on, if the environment says so; vLLM's plugin entry point.

    May be called any number of times.

    Raises
    ------
    ValueError
        If the environment names another policy.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "rlt":
        kv_cache_coordinator.BlockPool = RandomizedBlockPool
    elif wanted:
        raise ValueError(f"expected {VARIABLE}=rlt or nothing, got {wanted!r}")


class RandomizedBlockQueue:
    """Free blocks, with the methods of vLLM's own queue.

    First go those that hold nothing, the last come first; then those of a known place in a chain,
    as RLT draws them; at last, least recently used first as in vLLM's queue, those of which nobody
    has said what they follow, and those that hold nothing but are still read by somebody.

    Parameters
    ----------
    blocks
        Free blocks that hold nothing, in the order in which they go.
    chains
        Which block follows which.
    """

    def __init__(self, blocks: list[KVCacheBlock], chains: BlockChains) -> None:
        self.chains = chains
        self._all = {block.block_id: block for block in blocks}
        # The first to go at the end.
        self._first = dict.fromkeys(reversed(self._all))
        self._last: dict[int, None] = {}

    @property
    def num_free_blocks(self) -> int:
        """How many there are."""
        return len(self._first) + len(self.chains) + len(self._last)

    def popleft(self) -> KVCacheBlock:
        """Take the next one."""
        if not self.num_free_blocks:
            raise ValueError("No free blocks available")
        return self._pop()

    def popleft_n(self, n: int) -> list[KVCacheBlock]:
        """Take the next ``n``."""
        assert self.num_free_blocks >= n
        return [self._pop() for _ in range(n)]

    def remove(self, block: KVCacheBlock) -> None:
        """Take this one."""
        number = block.block_id
        if number in self.chains:
            self.chains.use(number)
        elif number in self._first:
            del self._first[number]
        elif number in self._last:
            del self._last[number]
        else:
            raise RuntimeError(f"remove() called on an invalid block: {block}")

    def append(self, block: KVCacheBlock) -> None:
        """Put one back."""
        self.append_n([block])

    def append_n(self, blocks: list[KVCacheBlock]) -> None:
        """Put blocks back, the last of a chain first."""
        cached = []
        for block in blocks:
            self._all[block.block_id] = block
            if self.chains.is_cached(block.block_id):
                cached.append(block.block_id)
            else:
                self._last[block.block_id] = None
        self.chains.free(cached)

    def prepend_n(self, blocks: list[KVCacheBlock]) -> None:
        """Put blocks back that go before all others, in this order."""
        for block in reversed(blocks):
            self._all[block.block_id] = block
            self._first[block.block_id] = None

    def uncache(self, block: KVCacheBlock) -> None:
        """Note that a block holds nothing any more; a free one goes before others."""
        is_free = block.block_id in self.chains
        self.chains.drop(block.block_id)
        if is_free:
            self._first[block.block_id] = None

    def clear(self) -> None:
        """Note that no block holds anything any more."""
        self._first.update(dict.fromkeys(self.chains.clear()))

    def get_all_free_blocks(self) -> list[KVCacheBlock]:
        """Return them in an order of which only the classes mean anything: see the class."""
        numbers = [*reversed(self._first), *self.chains, *self._last]
        return [self._all[number] for number in numbers]

    def iter_blocks_after(self, cursor: KVCacheBlock | None) -> Iterator[KVCacheBlock]:
        """Yield those after ``cursor``; nothing if it is not there."""
        blocks = self.get_all_free_blocks()
        if cursor is None:
            yield from blocks
            return
        places = [n for n, block in enumerate(blocks) if block is cursor]
        yield from blocks[places[0] + 1 :] if places else ()

    def _pop(self) -> KVCacheBlock:
        if self._first:
            return self._all[self._first.popitem()[0]]
        if len(self.chains):
            return self._all[self.chains.evict()]
        number = next(iter(self._last))
        del self._last[number]
        return self._all[number]


class RandomizedBlockPool(BlockPool):  # type: ignore[misc]
    """A pool that evicts by RLT what requests have cached; without caching it is vLLM's own.

    What is stored in another way, as tiers of other memory and parts of blocks are, comes without
    its place in a chain, and drawing from it would leave holes: it goes by vLLM's own order.

    Attributes
    ----------
    seed
        Of all draws.
    """

    seed = 0
    free_block_queue: Any

    def __init__(
        self, num_gpu_blocks: int, enable_caching: bool, *args: Any, **kwargs: Any
    ) -> None:
        self._chains: BlockChains | None = None
        super().__init__(num_gpu_blocks, enable_caching, *args, **kwargs)
        if not enable_caching:
            return
        self._chains = BlockChains(num_gpu_blocks, random.Random(self.seed))
        blocks = self.free_block_queue.get_all_free_blocks()
        for block in blocks:
            block.prev_free_block = block.next_free_block = None
        self.free_block_queue = RandomizedBlockQueue(blocks, self._chains)

    def cache_full_blocks(
        self,
        request: Any,
        blocks: list[KVCacheBlock],
        num_cached_blocks: int,
        num_full_blocks: int,
        block_size: int,
        kv_cache_group_id: int,
        block_mask: list[bool] | None = None,
    ) -> None:
        """Cache full blocks as vLLM does, and note which follows which."""
        super().cache_full_blocks(
            request,
            blocks,
            num_cached_blocks,
            num_full_blocks,
            block_size,
            kv_cache_group_id,
            block_mask,
        )
        if self._chains is None or num_cached_blocks >= num_full_blocks:
            return
        hashes = resolve_block_hashes(request.block_hashes, self.hash_block_size, block_size)
        parent = None
        if num_cached_blocks:
            above = hashes[num_cached_blocks - 1]
            parent = make_block_hash_with_group_id(above, kv_cache_group_id)
        for at in range(num_cached_blocks, num_full_blocks):
            block, key = blocks[at], make_block_hash_with_group_id(hashes[at], kv_cache_group_id)
            if block.block_hash == key:
                self._chains.store(block.block_id, key, parent)
            parent = key

    def reset_prefix_cache(self) -> bool:
        """Forget everything cached, if nothing is in use."""
        is_reset = bool(super().reset_prefix_cache())
        if is_reset and self._chains is not None:
            self.free_block_queue.clear()
        return is_reset

    def _remove_cached_block_hashes(self, block: KVCacheBlock) -> list[Any]:
        removed: list[Any] = super()._remove_cached_block_hashes(block)
        if self._chains is not None:
            self.free_block_queue.uncache(block)
        return removed
