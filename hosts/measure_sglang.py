"""Hit rates and times of SGLang's LRU and of RLT, in SGLang's radix caches on the CPU.

.cache/hosts/sglang/bin/python hosts/measure_sglang.py
"""

import time
from array import array
from typing import Any

import conftest  # noqa: F401
import torch
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey
from sglang.srt.mem_cache.unified_cache.component_type import ComponentType
from sglang.srt.mem_cache.unified_radix_cache import UnifiedRadixCache
from sglang.srt.plugins.hook_registry import HookRegistry
from shared_prefixes import prompts

from triskele.integrations.sglang import install


class Allocator:
    """Frees nothing: the caller counts."""

    device = "cpu"

    def free_segment(self, value: Any, start_pos: int) -> None:
        """Do nothing."""


def run(kind: type, policy: str, capacity: int, keys: list[Any]) -> tuple[float, float, float]:
    """Return the hit rate, and CPU time: ms per request and µs per evicted token."""
    cache = kind(
        CacheInitParams(
            disable=False,
            req_to_token_pool=None,
            token_to_kv_pool_allocator=Allocator(),
            page_size=1,
            eviction_policy=policy,
            tree_components=(ComponentType.FULL,),
            tree_core_backend="python",
        )
    )
    n_found = n_asked = n_evicted = 0
    n_free, evicting, begin = capacity, 0.0, time.process_time()
    for tokens in keys:
        key = RadixKey(tokens)
        match = cache.match_prefix(MatchPrefixParams(key=key))
        lock = cache.inc_lock_ref(match.last_device_node)
        missing = len(tokens) - match.device_prefix_len - n_free
        if missing > 0:
            at = time.process_time()
            n_gone = cache.evict(EvictParams(num_tokens=missing)).num_tokens_evicted
            evicting += time.process_time() - at
            n_evicted += n_gone
            n_free += n_gone
        n_free -= len(tokens) - match.device_prefix_len
        cache.insert(InsertParams(key=key, value=torch.arange(len(tokens))))
        if kind is RadixCache:
            cache.dec_lock_ref(match.last_device_node)
        else:
            cache.dec_lock_ref(match.last_device_node, lock.to_dec_params())
        n_found += match.device_prefix_len
        n_asked += len(tokens)
    each = (time.process_time() - begin) / len(keys)
    return n_found / n_asked, each * 1e3, evicting / max(1, n_evicted) * 1e6


def main() -> None:
    """Print a table."""
    install()
    HookRegistry.apply_hooks()
    for seed in range(3):
        keys = [array("q", tokens) for tokens in prompts(seed)]
        for capacity in (50_000, 200_000, 400_000):
            for kind in (RadixCache, UnifiedRadixCache):
                for policy in ("lru", "rlt"):
                    hits, each, evicting = run(kind, policy, capacity, keys)
                    print(
                        f"seed {seed}  {capacity:7,d} tokens  {kind.__name__}  {policy}  "
                        f"hit rate {hits:.4f}  {each:.2f} ms/request  "
                        f"{evicting:.3f} µs/evicted token",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
