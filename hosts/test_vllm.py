"""RLT inside vLLM's real KVCacheManager, on the CPU: no model runs, the bookkeeping is vLLM's."""

import random
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from vllm.plugins import load_plugins_by_group
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_coordinator
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import (
    get_request_block_hasher,
    init_none_hash,
    make_block_hash_with_group_id,
)
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

from triskele.integrations.vllm import (
    VARIABLE,
    RandomizedBlockPool,
    RandomizedBlockQueue,
    install,
)

PAGE = 16
Manager = Callable[..., KVCacheManager]


@pytest.fixture(autouse=True)
def own_pool() -> Iterator[None]:
    init_none_hash(sha256)
    yield
    kv_cache_coordinator.BlockPool = BlockPool


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    def make(n_blocks: int = 101, policy: str = "rlt", **settings: Any) -> KVCacheManager:
        monkeypatch.setenv(VARIABLE, policy if policy == "rlt" else "")
        install()
        spec = FullAttentionSpec(
            block_size=PAGE, num_kv_heads=8, head_size=128, dtype=torch.bfloat16
        )
        config = KVCacheConfig(n_blocks, [], [KVCacheGroupSpec(["l0"], spec)])
        return KVCacheManager(
            config, 1 << 16, scheduler_block_size=PAGE, hash_block_size=PAGE, **settings
        )

    return make


class Numbers:
    """Requests with ids of their own."""

    def __init__(self) -> None:
        self.n = 0
        self.hasher = get_request_block_hasher(PAGE, sha256)

    def request(self, tokens: list[int]) -> Request:
        self.n += 1
        return Request(
            request_id=f"r{self.n}",
            prompt_token_ids=tokens,
            sampling_params=SamplingParams(max_tokens=4),
            pooling_params=None,
            block_hasher=self.hasher,
        )


NUMBERS = Numbers()


def begin(manager: KVCacheManager, tokens: list[int]) -> tuple[Request, int] | None:
    """Schedule a request and compute all of it; returns it and its cached tokens."""
    request = NUMBERS.request(tokens)
    blocks, n_cached = manager.get_computed_blocks(request)[:2]
    got = manager.allocate_slots(request, request.num_tokens - n_cached, n_cached, blocks)
    if got is None:
        return None
    request.num_computed_tokens = request.num_tokens
    return request, n_cached


def pages(*numbers: int) -> list[int]:
    return [number * PAGE + at for number in numbers for at in range(PAGE)]


def cached(manager: KVCacheManager, request: Request) -> list[bool]:
    """Whether each page of a request is cached."""
    return [
        manager.block_pool.get_cached_block(block_hash, [0]) is not None
        for block_hash in request.block_hashes
    ]


def check(manager: KVCacheManager) -> None:
    pool = manager.block_pool
    queue = pool.free_block_queue
    assert isinstance(queue, RandomizedBlockQueue)
    queue.chains.check()
    free = queue.get_all_free_blocks()
    assert len(free) == queue.num_free_blocks == len({block.block_id for block in free})
    assert {block.block_id for block in free} == {
        block.block_id for block in pool.blocks if block.ref_cnt == 0 and not block.is_null
    }
    for block in free:
        if block.block_hash is not None:
            assert pool.cached_block_hash_to_block.contain(block.block_hash, block.block_id)
            assert queue.chains.is_cached(block.block_id)


def workload(seed: int, n_requests: int, n_groups: int) -> list[list[int]]:
    """Prompts of which the first half is shared by a group, of sizes that differ."""
    rng = random.Random(seed)
    made = []
    for number in range(n_requests):
        group = rng.randrange(n_groups)
        half = (8, 16, 32, 64)[group % 4]
        shared = [group * 1000 + page for page in range(half)]
        own = [(n_groups + number) * 1000 + page for page in range(half)]
        made.append(pages(*shared, *own))
    return made


def hit_rate(manager: KVCacheManager, prompts: list[list[int]]) -> float:
    n_cached = n_asked = 0
    for tokens in prompts:
        begun = begin(manager, tokens)
        assert begun is not None
        n_cached += begun[1]
        n_asked += len(tokens)
        manager.free(begun[0])
    return n_cached / n_asked


def test_the_plugin_is_found_and_puts_the_pool_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "triskele" in {point.name for point in entry_points(group="vllm.general_plugins")}
    plugin = load_plugins_by_group("vllm.general_plugins")["triskele"]
    monkeypatch.delenv(VARIABLE, raising=False)
    plugin()
    assert kv_cache_coordinator.BlockPool is BlockPool
    monkeypatch.setenv(VARIABLE, "rlt")
    plugin()
    plugin()
    assert kv_cache_coordinator.BlockPool is RandomizedBlockPool
    monkeypatch.setenv(VARIABLE, "belady")
    with pytest.raises(ValueError, match="TRISKELE_VLLM_EVICTION=rlt or nothing, got 'belady'"):
        plugin()


def test_what_is_cached_is_found_again(manager: Manager) -> None:
    kv = manager()
    request, n_cached = begin(kv, pages(1, 2, 3, 4)) or (None, 0)
    assert n_cached == 0
    kv.free(request)
    check(kv)
    # vLLM always computes the last token.
    assert (begin(kv, pages(1, 2, 3, 4)) or (None, 0))[1] == 3 * PAGE
    assert (begin(kv, pages(1, 2, 9)) or (None, 0))[1] == 2 * PAGE
    check(kv)


def test_blocks_that_hold_nothing_go_first_and_the_last_come_first(manager: Manager) -> None:
    kv = manager(12)
    first = begin(kv, pages(1, 2, 3))
    second = begin(kv, pages(7)[: PAGE // 2])
    assert first is not None
    assert second is not None
    partial = kv.get_block_ids(second[0].request_id)[0]
    kv.free(first[0])
    kv.free(second[0])
    third = begin(kv, pages(8)[: PAGE // 2])
    assert third is not None
    assert kv.get_block_ids(third[0].request_id)[0] == partial
    assert begin(kv, [5] * (PAGE * 7)) is not None
    assert all(cached(kv, first[0]))
    check(kv)


@pytest.mark.parametrize("seed", range(4))
def test_no_hole_is_ever_left_in_a_prefix(manager: Manager, seed: int) -> None:
    rng = random.Random(seed)
    kv = manager(120)
    running: list[Request] = []
    seen: list[Request] = []
    for tokens in workload(seed, 400, 6):
        tokens = tokens[: rng.randrange(1, 40) * PAGE + rng.randrange(PAGE)]
        while (begun := begin(kv, tokens)) is None:
            kv.free(running.pop(rng.randrange(len(running))))
        running.append(begun[0])
        seen.append(begun[0])
        while len(running) > 2:
            kv.free(running.pop(rng.randrange(len(running))))
        check(kv)
        for request in seen[-40:]:
            there = cached(kv, request)
            assert there == sorted(there, reverse=True), "a page is cached, one before it is not"
    for request in running:
        kv.free(request)
    check(kv)
    assert kv.block_pool.get_num_free_blocks() == 119
    assert kv.reset_prefix_cache()
    check(kv)
    assert not any(any(cached(kv, request)) for request in seen)


def test_equal_prompts_at_once_make_copies_of_which_one_may_go(manager: Manager) -> None:
    kv = manager(40)
    twins = [begin(kv, pages(1, 2, 3)) for _ in range(2)]
    longer = begin(kv, pages(1, 2, 3, 4, 5))
    for begun in (*twins, longer):
        assert begun is not None
        kv.free(begun[0])
        check(kv)
    assert longer is not None
    while any(there := cached(kv, longer[0])):
        assert there == sorted(there, reverse=True)
        kv.block_pool.get_new_blocks(1)
        check(kv)


def test_what_a_connector_evicts_by_number_goes_first(manager: Manager) -> None:
    kv = manager(20)
    begun = begin(kv, pages(1, 2, 3, 4))
    assert begun is not None
    (ids,) = kv.get_block_ids(begun[0].request_id)
    kv.free(begun[0])
    kv.block_pool.evict_blocks({ids[1]})
    check(kv)
    assert cached(kv, begun[0]) == [True, False, True, True]
    assert kv.block_pool.get_new_blocks(1)[0].block_id == ids[1]
    again = begin(kv, pages(1, 2, 3, 4))
    assert again is not None
    assert again[1] == PAGE
    kv.free(again[0])
    check(kv)


def test_pages_used_in_this_phase_outlive_those_that_were_not(manager: Manager) -> None:
    kv = manager(33)
    old = begin(kv, pages(*range(16)))
    assert old is not None
    kv.free(old[0])
    for number in range(100, 116):
        # Sixteen chains of one page each: with the first sixteen pages they fill the cache.
        begun = begin(kv, pages(number))
        assert begun is not None
        kv.free(begun[0])
    newest = begin(kv, pages(200))
    assert newest is not None
    kv.free(newest[0])
    again = begin(kv, pages(*range(8), 300))
    assert again is not None
    kv.free(again[0])
    for _ in range(4):
        kv.block_pool.get_new_blocks(1)
    assert all(cached(kv, newest[0]))
    assert cached(kv, again[0])[:8] == cached(kv, old[0])[:8]


def test_the_same_seed_evicts_the_same(manager: Manager) -> None:
    prompts = workload(3, 200, 10)
    assert hit_rate(manager(300), prompts) == hit_rate(manager(300), prompts)


@pytest.mark.parametrize("n_blocks", [400, 800, 1600])
def test_hits_are_near_those_of_vllms_own_order(manager: Manager, n_blocks: int) -> None:
    prompts = workload(1, 1500, 40)
    own = hit_rate(manager(n_blocks, "own"), prompts)
    rlt = hit_rate(manager(n_blocks), prompts)
    assert rlt > own - 0.02
    assert own > 0.05


def test_without_caching_the_pool_is_vllms_own(manager: Manager) -> None:
    kv = manager(20, enable_caching=False)
    assert isinstance(kv.block_pool, RandomizedBlockPool)
    assert not isinstance(kv.block_pool.free_block_queue, RandomizedBlockQueue)
    begun = begin(kv, pages(1, 2, 3))
    assert begun is not None
    kv.free(begun[0])
    assert kv.block_pool.get_num_free_blocks() == 19


def test_blocks_of_no_known_place_go_by_vllms_own_order(manager: Manager) -> None:
    kv = manager(9)
    pool = kv.block_pool
    request = NUMBERS.request(pages(*range(8)))
    blocks = pool.get_new_blocks(8)
    for block, block_hash in zip(blocks, request.block_hashes, strict=True):
        pool._insert_block_hash(make_block_hash_with_group_id(block_hash, 0), block, None)
    pool.free_blocks(reversed(blocks))
    for n_left in range(7, -1, -1):
        pool.get_new_blocks(1)
        assert cached(kv, request) == [True] * n_left + [False] * (8 - n_left)


def test_the_queue_lists_and_walks_what_is_free(manager: Manager) -> None:
    kv = manager(30)
    begun = begin(kv, pages(1, 2, 3))
    assert begun is not None
    kv.free(begun[0])
    queue = kv.block_pool.free_block_queue
    every = queue.get_all_free_blocks()
    assert list(queue.iter_blocks_after(None)) == every
    assert list(queue.iter_blocks_after(every[4])) == every[5:]
    kv.block_pool.touch([every[4]])
    assert list(queue.iter_blocks_after(every[4])) == []
    with pytest.raises(RuntimeError, match="invalid block"):
        queue.remove(every[4])
