"""RLT as an eviction policy of SGLang's radix cache: ``--radix-eviction-policy rlt``.

SGLang removes whole leaves, in the order of a priority that a strategy gives each of them, and asks
for all priorities anew whenever it needs room. So the grain here is the leaf, as it is for SGLang's
own policies, and not the page of the paper's RLT. Marked is what was used since the phase began.

The strategy is not told which leaves went. When the first marked one in its own order is gone, no
unmarked one was left: that eviction has begun a phase. A hook before each eviction looks.

The ranks of a tensor-parallel worker keep a cache each and must all evict the same. Nothing is
drawn from a stream, then, whose order would depend on that of a set: a leaf's draw is a hash of its
number, which all ranks count alike, and of how often room was needed.
"""

from typing import Any

import xxhash
from sglang.srt.arg_groups.choices import (
    RADIX_EVICTION_POLICY_CHOICES,
    add_radix_eviction_policy_choices,
)
from sglang.srt.mem_cache.evict_policy import EvictionStrategy
from sglang.srt.mem_cache.utils import _EVICTION_POLICY_FACTORIES
from sglang.srt.plugins.hook_registry import HookRegistry, HookType

NAME = "rlt"
RADIX_CACHE = "sglang.srt.mem_cache.radix_cache.RadixCache.evict"
UNIFIED_CACHE = (
    "sglang.srt.mem_cache.unified_cache.components.full.FullComponent._evict_device_start"
)

Priority = tuple[bool, int]


def install() -> None:
    """Make the policy known to SGLang under its name; SGLang's plugin entry point.

    May be called any number of times.
    """
    if NAME not in RADIX_EVICTION_POLICY_CHOICES:
        add_radix_eviction_policy_choices([NAME])
    if NAME not in _EVICTION_POLICY_FACTORIES:
        _EVICTION_POLICY_FACTORIES[NAME] = RandomizedLeaves
        HookRegistry.register(RADIX_CACHE, before_radix_eviction, HookType.BEFORE)
        HookRegistry.register(UNIFIED_CACHE, before_unified_eviction, HookType.BEFORE)


class RandomizedLeaves(EvictionStrategy):  # type: ignore[misc]
    """Evicts a random leaf of those not used in this phase.

    Parameters
    ----------
    seed
        Of all draws: ``--radix-eviction-policy-config '{"seed": 1}'``.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._n_evictions = 0
        # Marked is what was used after this; the host counts, or takes a clock.
        self._phase_start = -1.0
        self._latest = -1.0
        self._first_marked: tuple[int, Any] | None = None

    def begin(self, root: Any) -> None:
        """Note that room is needed, before any priority is asked for.

        Parameters
        ----------
        root
            Of the tree; every use touches it.
        """
        if self._first_marked is not None and _is_gone(self._first_marked[1]):
            self._phase_start = self._latest
        self._first_marked = None
        self._latest = root.last_access_time
        self._n_evictions += 1

    def get_priority(self, node: Any) -> Priority:
        """Return a leaf's place in the order of eviction: unmarked before marked, else random."""
        is_marked = node.last_access_time > self._phase_start
        draw = xxhash.xxh3_64_intdigest(b"%d %d" % (self._n_evictions, node.id), self._seed)
        if is_marked and (self._first_marked is None or draw < self._first_marked[0]):
            self._first_marked = draw, node
        return is_marked, draw


def before_radix_eviction(cache: Any, *arguments: Any, **options: Any) -> None:
    """Tell the strategy of a plain radix cache that room is needed."""
    if isinstance(cache.eviction_strategy, RandomizedLeaves):
        cache.eviction_strategy.begin(cache.root_node)


def before_unified_eviction(component: Any, *arguments: Any, **options: Any) -> None:
    """Tell the strategy of a unified cache's Python core that room is needed."""
    core = component.tree_core
    if isinstance(core.eviction_strategy, RandomizedLeaves):
        core.eviction_strategy.begin(core.root_node)


def _is_gone(node: Any) -> bool:
    """Whether a node is no longer in its tree, or no longer on the device."""
    parent = node.parent
    if parent is None or node.evicted:
        return True
    return not any(child is node for child in parent.children.values())
