"""RLT inside SGLang's real radix caches, on the CPU: the plain one and the unified one."""

import random
from array import array
from collections import Counter
from importlib.metadata import entry_points
from itertools import pairwise
from typing import Any

import pytest
import torch
from sglang.srt.arg_groups.choices import RADIX_EVICTION_POLICY_CHOICES
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey
from sglang.srt.mem_cache.unified_cache.component_type import ComponentType
from sglang.srt.mem_cache.unified_radix_cache import UnifiedRadixCache
from sglang.srt.mem_cache.utils import _EVICTION_POLICY_FACTORIES, get_eviction_strategy
from sglang.srt.plugins import load_plugins_by_group
from sglang.srt.plugins.hook_registry import HookRegistry

from triskele.integrations.sglang import NAME, RandomizedLeaves, install

CACHES = [RadixCache, UnifiedRadixCache]


class Allocator:
    """Counts what is free, as SGLang's own does."""

    device = "cpu"

    def __init__(self, capacity: int) -> None:
        self.n_free = capacity

    def free_segment(self, value: Any, start_pos: int) -> None:
        self.n_free += len(value)


class Cache:
    """A radix cache within a capacity, used as SGLang's scheduler uses it."""

    def __init__(
        self, kind: type, capacity: int, policy: str = NAME, page_size: int = 1, seed: int = 0
    ) -> None:
        self.page_size = page_size
        self.allocator = Allocator(capacity)
        self.cache = kind(
            CacheInitParams(
                disable=False,
                req_to_token_pool=None,
                token_to_kv_pool_allocator=self.allocator,
                page_size=page_size,
                eviction_policy=policy,
                eviction_policy_config={"seed": seed} if policy == NAME else None,
                tree_components=(ComponentType.FULL,),
                tree_core_backend="python",
            )
        )

    def find(self, tokens: list[int]) -> int:
        key = RadixKey(array("q", tokens))
        return int(self.cache.match_prefix(MatchPrefixParams(key=key)).device_prefix_len)

    def serve(self, tokens: list[int]) -> int:
        """Compute a prompt; returns how much of it was cached."""
        key = RadixKey(array("q", tokens)).page_aligned(self.page_size)
        match = self.cache.match_prefix(MatchPrefixParams(key=key))
        n_found = int(match.device_prefix_len)
        lock = self.cache.inc_lock_ref(match.last_device_node)
        missing = len(key) - n_found - self.allocator.n_free
        if missing > 0:
            self.cache.evict(EvictParams(num_tokens=missing))
        assert self.allocator.n_free >= len(key) - n_found
        self.allocator.n_free -= len(key) - n_found
        before = self.allocator.n_free
        self.cache.insert(InsertParams(key=key, value=torch.arange(len(key))))
        # The unified cache gives back what was there already, which is not new here.
        self.allocator.n_free = before
        parameters = getattr(lock, "to_dec_params", None)
        if parameters is None:
            self.cache.dec_lock_ref(match.last_device_node)
        else:
            self.cache.dec_lock_ref(match.last_device_node, parameters())
        return n_found


@pytest.fixture(autouse=True)
def installed() -> None:
    install()
    HookRegistry.apply_hooks()


def workload(seed: int, n_requests: int, n_groups: int) -> list[list[int]]:
    """Prompts of which the first half is shared by a group, of sizes that differ."""
    rng = random.Random(seed)
    made = []
    for number in range(n_requests):
        group = rng.randrange(n_groups)
        half = (128, 256, 512, 1024)[group % 4]
        shared = [group * 10_000 + at for at in range(half)]
        made.append(shared + [(n_groups + number) * 10_000 + at for at in range(half)])
    return made


def hit_rate(cache: Cache, prompts: list[list[int]]) -> float:
    return sum(map(cache.serve, prompts)) / sum(map(len, prompts))


def test_the_plugin_is_found_and_may_be_called_often() -> None:
    assert "triskele" in {point.name for point in entry_points(group="sglang.srt.plugins")}
    plugin, _ = load_plugins_by_group("sglang.srt.plugins")["triskele"]
    n_hooks = sum(map(len, HookRegistry._hooks.values()))
    for _ in range(3):
        plugin()
        HookRegistry.apply_hooks()
    assert RADIX_EVICTION_POLICY_CHOICES.count(NAME) == 1
    assert _EVICTION_POLICY_FACTORIES[NAME] is RandomizedLeaves
    assert sum(map(len, HookRegistry._hooks.values())) == n_hooks == 2


def test_the_policy_is_known_by_name_and_takes_a_seed() -> None:
    assert isinstance(get_eviction_strategy("rlt"), RandomizedLeaves)
    assert isinstance(get_eviction_strategy("RLT", {"seed": 5}), RandomizedLeaves)
    with pytest.raises(TypeError, match="seeds"):
        get_eviction_strategy("rlt", {"seeds": 5})


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("page_size", [1, 16])
def test_what_is_cached_is_found_and_stays_within_the_capacity(kind: type, page_size: int) -> None:
    cache = Cache(kind, 8192, page_size=page_size)
    for tokens in workload(0, 200, 12):
        cache.serve(tokens)
        assert cache.find(tokens) == len(tokens)
        assert cache.cache.evictable_size() + cache.allocator.n_free == 8192
    assert cache.cache.protected_size() == 0


@pytest.mark.parametrize("kind", CACHES)
def test_a_leaf_used_in_this_phase_outlives_all_that_were_not(kind: type) -> None:
    for seed in range(20):
        cache = Cache(kind, 100, seed=seed)
        for number in range(10):
            cache.serve([number * 100 + at for at in range(10)])
        # All are marked: room for one more begins a phase.
        used = [50, *range(5), *range(60, 64)]
        for number in used:
            cache.serve([number * 100 + at for at in range(10)])
        assert all(cache.find([n * 100 + at for at in range(10)]) == 10 for n in used)


@pytest.mark.parametrize("kind", CACHES)
def test_the_victims_of_a_new_phase_are_uniform(kind: type) -> None:
    gone: Counter[int] = Counter()
    n_seeds = 400
    for seed in range(n_seeds):
        cache = Cache(kind, 100, seed=seed)
        for number in range(10):
            cache.serve([number * 100 + at for at in range(10)])
        cache.serve([5000 + at for at in range(10)])
        gone.update(n for n in range(10) if not cache.find([n * 100 + at for at in range(10)]))
    assert gone.total() == n_seeds
    # Forty each: beyond six standard deviations nobody would believe in chance.
    assert all(abs(gone[number] - 40) < 6 * 6 for number in range(10))


@pytest.mark.parametrize("kind", CACHES)
def test_ranks_that_see_the_same_requests_evict_the_same(kind: type) -> None:
    prompts = workload(1, 150, 12)
    # Numbers of nodes go on through a process; ranks begin alike, each in its own.
    first_ids = [_next_id(kind)]
    ranks = []
    for _ in range(2):
        _set_next_id(kind, first_ids[0])
        cache = Cache(kind, 8192, seed=4)
        ranks.append([cache.serve(tokens) for tokens in prompts])
    assert ranks[0] == ranks[1]


def _node(kind: type) -> Any:
    cache = Cache(kind, 10).cache
    return type(cache.root_node if kind is RadixCache else cache.tree_core.root_node)


def _next_id(kind: type) -> int:
    return int(_node(kind).counter)


def _set_next_id(kind: type, number: int) -> None:
    _node(kind).counter = number


@pytest.mark.parametrize("kind", CACHES)
def test_phases_are_rolled(kind: type) -> None:
    cache = Cache(kind, 8192)
    starts = []
    core = cache.cache if kind is RadixCache else cache.cache.tree_core
    for tokens in workload(2, 300, 12):
        cache.serve(tokens)
        starts.append(core.eviction_strategy._phase_start)
    assert all(a <= b for a, b in pairwise(starts))
    assert 10 < len(set(starts)) < 200


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("capacity", [10_000, 20_000])
def test_hits_are_near_those_of_lru(kind: type, capacity: int) -> None:
    prompts = workload(3, 800, 24)
    lru = hit_rate(Cache(kind, capacity, "lru"), prompts)
    rlt = hit_rate(Cache(kind, capacity), prompts)
    assert lru > 0.05
    assert rlt > lru - 0.02


def test_other_policies_are_left_alone() -> None:
    for kind in CACHES:
        cache = Cache(kind, 4096, "lru")
        for tokens in workload(0, 50, 6):
            cache.serve(tokens)


def test_the_cache_that_sglang_makes_for_simulations_takes_it() -> None:
    cache = RadixCache.create_simulated(mock_allocator=Allocator(0), page_size=1)
    cache.eviction_strategy = RandomizedLeaves(seed=1)
    for number in range(8):
        key = RadixKey(array("q", [number * 10 + at for at in range(10)]))
        cache.insert(InsertParams(key=key))
    assert cache.evict(EvictParams(num_tokens=25)).num_tokens_evicted == 30
    assert cache.evictable_size() == 50
