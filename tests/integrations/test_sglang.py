import random
from types import ModuleType
from typing import Any

import pytest
from tests.integrations.stand_ins import assert_one_version, entry_point, imported


class Registry:
    """SGLang's registry of hooks, which only writes down."""

    def __init__(self) -> None:
        self.hooks: list[tuple[str, Any, str]] = []

    def register(self, target: str, hook: Any, kind: str) -> None:
        self.hooks.append((target, hook, kind))


class Hooks:
    BEFORE = "before"


@pytest.fixture
def sglang(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    choices = ["lru"]
    return imported(
        monkeypatch,
        "sglang",
        {
            "sglang.srt.arg_groups.choices": {
                "RADIX_EVICTION_POLICY_CHOICES": choices,
                "add_radix_eviction_policy_choices": choices.extend,
            },
            "sglang.srt.mem_cache.evict_policy": {"EvictionStrategy": object},
            "sglang.srt.mem_cache.utils": {"_EVICTION_POLICY_FACTORIES": {}},
            "sglang.srt.plugins.hook_registry": {"HookRegistry": Registry(), "HookType": Hooks},
        },
    )


class Leaf:
    """A node of a tree whose clock counts uses."""

    def __init__(self, tree: "Tree", number: int) -> None:
        self.id = number
        self.parent: Any = tree.root if number else None
        self.children: dict[int, Leaf] = {}
        self.evicted = False
        self.last_access_time = 0


class Tree:
    """Leaves below a root, used and evicted in the order of a strategy, as SGLang does it."""

    def __init__(self, strategy: Any) -> None:
        self.eviction_strategy = strategy
        self.clock = 0
        self.root_node = self.root = Leaf(self, 0)

    def use(self, number: int) -> None:
        leaf = self.root.children.get(number)
        if leaf is None:
            leaf = self.root.children[number] = Leaf(self, number)
        self.clock += 1
        leaf.last_access_time = self.root.last_access_time = self.clock

    def evict(self, n_leaves: int) -> list[int]:
        leaves = list(self.root.children.values())
        random.Random(self.clock).shuffle(leaves)
        leaves.sort(key=self.eviction_strategy.get_priority)
        for leaf in leaves[:n_leaves]:
            del self.root.children[leaf.id]
        return [leaf.id for leaf in leaves[:n_leaves]]


def evict(sglang: ModuleType, tree: Tree, n_leaves: int) -> list[int]:
    sglang.before_radix_eviction(tree, object())
    return tree.evict(n_leaves)


def test_it_is_made_known_once(sglang: ModuleType) -> None:
    for _ in range(3):
        sglang.install()
    assert sglang.RADIX_EVICTION_POLICY_CHOICES == ["lru", "rlt"]
    assert {"rlt": sglang.RandomizedLeaves} == sglang._EVICTION_POLICY_FACTORIES
    assert [(target.rpartition(".")[2], kind) for target, _, kind in sglang.HookRegistry.hooks] == [
        ("evict", "before"),
        ("_evict_device_start", "before"),
    ]


def test_what_was_used_in_this_phase_outlives_what_was_not(sglang: ModuleType) -> None:
    for seed in range(30):
        tree = Tree(sglang.RandomizedLeaves(seed))
        for number in range(1, 9):
            tree.use(number)
        # All are marked: this begins a phase.
        evict(sglang, tree, 1)
        used = sorted(tree.root.children)[:3]
        for number in [*used, 20]:
            tree.use(number)
        gone = [number for _ in range(4) for number in evict(sglang, tree, 1)]
        assert not {*used, 20} & set(gone)
        # None unmarked is left: the next phase.
        (next_gone,) = evict(sglang, tree, 1)
        assert next_gone in {*used, 20}
        tree.use(next_gone)
        assert evict(sglang, tree, 1) != [next_gone]


def test_draws_do_not_depend_on_the_order_of_asking(sglang: ModuleType) -> None:
    orders = []
    for shuffle in (1, 2):
        tree = Tree(sglang.RandomizedLeaves(7))
        for number in range(1, 30):
            tree.use(number)
        tree.clock += shuffle
        orders.append(evict(sglang, tree, 29))
    assert orders[0] == orders[1]


def test_seeds_and_evictions_draw_anew(sglang: ModuleType) -> None:
    def order(seed: int, n_before: int) -> list[int]:
        tree = Tree(sglang.RandomizedLeaves(seed))
        for number in range(1, 30):
            tree.use(number)
        for _ in range(n_before):
            evict(sglang, tree, 0)
        return evict(sglang, tree, 29)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)


def test_a_leaf_that_has_only_left_the_device_is_gone(sglang: ModuleType) -> None:
    tree = Tree(sglang.RandomizedLeaves())
    for number in (1, 2):
        tree.use(number)
    (gone,) = evict(sglang, tree, 1)
    left = Leaf(tree, gone)
    tree.root.children[gone] = left
    left.evicted = True
    assert sglang._is_gone(left)
    assert not sglang._is_gone(next(leaf for leaf in tree.root.children.values() if leaf != left))


def test_other_strategies_are_left_alone(sglang: ModuleType) -> None:
    tree = Tree(strategy=object())
    sglang.before_radix_eviction(tree)
    component = type("Component", (), {"tree_core": tree})()
    sglang.before_unified_eviction(component, 5)
    tree.eviction_strategy = sglang.RandomizedLeaves()
    sglang.before_unified_eviction(component, 5)
    assert tree.eviction_strategy._n_evictions == 1


def test_sglang_is_told_of_the_plugin_and_its_version_is_named() -> None:
    assert entry_point("sglang.srt.plugins") == "triskele.integrations.sglang:install"
    assert_one_version("sglang", "sglang", "integrations-sglang.md")
