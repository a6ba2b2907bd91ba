"""Hit rates and times of vLLM's own eviction and of RLT, in vLLM's KVCacheManager on the CPU.

.cache/hosts/vllm/bin/python hosts/measure_vllm.py
"""

import logging
import time

import torch
from shared_prefixes import prompts
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_coordinator
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

from triskele.integrations.vllm import RandomizedBlockPool

PAGE = 16


def run(pool: type, n_blocks: int, requests: list[Request]) -> tuple[float, float, float]:
    """Return the hit rate, and CPU time: ms per request and µs per evicted block."""
    kv_cache_coordinator.BlockPool = pool
    spec = FullAttentionSpec(block_size=PAGE, num_kv_heads=8, head_size=128, dtype=torch.bfloat16)
    config = KVCacheConfig(n_blocks, [], [KVCacheGroupSpec(["l0"], spec)])
    kv = KVCacheManager(config, 1 << 16, scheduler_block_size=PAGE, hash_block_size=PAGE)
    n_cached = n_asked = 0
    begin = time.process_time()
    for request in requests:
        blocks, n_found = kv.get_computed_blocks(request)[:2]
        assert kv.allocate_slots(request, request.num_tokens - n_found, n_found, blocks) is not None
        request.num_computed_tokens = request.num_tokens
        n_cached += n_found
        n_asked += request.num_tokens
        kv.free(request)
        request.num_computed_tokens = 0
    each = (time.process_time() - begin) / len(requests)
    n_free = kv.block_pool.get_num_free_blocks()
    begin = time.process_time()
    while kv.block_pool.get_num_free_blocks() >= 128:
        kv.block_pool.get_new_blocks(128)
    evicting = (time.process_time() - begin) / n_free
    return n_cached / n_asked, each * 1e3, evicting * 1e6


def main() -> None:
    """Print a table."""
    logging.disable(logging.WARNING)
    init_none_hash(sha256)
    hasher = get_request_block_hasher(PAGE, sha256)
    for seed in range(3):
        requests = [
            Request(
                request_id=str(number),
                prompt_token_ids=tokens,
                sampling_params=SamplingParams(max_tokens=4),
                pooling_params=None,
                block_hasher=hasher,
            )
            for number, tokens in enumerate(prompts(seed))
        ]
        for n_blocks in (3_125, 12_500, 25_000):
            for name, pool in (("own", BlockPool), ("rlt", RandomizedBlockPool)):
                hits, each, evicting = run(pool, n_blocks, requests)
                print(
                    f"seed {seed}  {n_blocks * PAGE:7,d} tokens  {name}  hit rate {hits:.4f}  "
                    f"{each:.2f} ms/request  {evicting:.2f} µs/evicted block",
                    flush=True,
                )


if __name__ == "__main__":
    main()
