from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.integrations.stand_ins import assert_one_version, block, entry_point, imported


class Pool:
    """vLLM's own, in this place only a name."""


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("TRISKELE_VLLM_EVICTION", raising=False)
    return imported(
        monkeypatch,
        "vllm",
        {
            "vllm.v1.core.kv_cache_coordinator": {"BlockPool": Pool},
            "vllm.v1.core.block_pool": {"BlockPool": Pool},
            "vllm.v1.core.kv_cache_utils": {
                "KVCacheBlock": SimpleNamespace,
                "make_block_hash_with_group_id": lambda block_hash, group: (block_hash, group),
                "resolve_block_hashes": lambda hashes, hash_size, size: hashes,
            },
        },
    )


def numbers(blocks: list[Any]) -> list[int]:
    return [each.block_id for each in blocks]


def queue(vllm: ModuleType, n_blocks: int) -> tuple[Any, list[Any]]:
    made = [block(number) for number in range(n_blocks)]
    chains = vllm.BlockChains(n_blocks, vllm.random.Random(0))
    return vllm.RandomizedBlockQueue(made, chains), made


def test_nothing_happens_unless_the_environment_says_so(
    vllm: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv(vllm.VARIABLE, value)
        vllm.install()
        assert vllm.kv_cache_coordinator.BlockPool is Pool
    monkeypatch.setenv(vllm.VARIABLE, "rlt")
    for _ in range(3):
        vllm.install()
        assert vllm.kv_cache_coordinator.BlockPool is vllm.RandomizedBlockPool
    monkeypatch.setenv(vllm.VARIABLE, "belady")
    with pytest.raises(ValueError, match="expected TRISKELE_VLLM_EVICTION=rlt or nothing"):
        vllm.install()


def test_blocks_that_hold_nothing_go_first_in_order_and_the_last_come_first(
    vllm: ModuleType,
) -> None:
    free, made = queue(vllm, 6)
    assert free.popleft() is made[0]
    assert numbers(free.popleft_n(2)) == [1, 2]
    free.prepend_n([made[2], made[0]])
    assert numbers(free.get_all_free_blocks()) == [2, 0, 3, 4, 5]
    assert free.num_free_blocks == 5
    assert numbers(free.popleft_n(5)) == [2, 0, 3, 4, 5]
    with pytest.raises(ValueError, match="No free blocks"):
        free.popleft()


def test_chains_go_from_their_ends_and_what_has_no_place_goes_last(vllm: ModuleType) -> None:
    free, made = queue(vllm, 6)
    free.popleft_n(6)
    for number in range(4):
        free.chains.store(number, number, number - 1 if number else None)
    free.append(made[5])
    free.append_n([made[3], made[2], made[1], made[0]])
    free.prepend_n([made[4]])
    assert numbers(free.popleft_n(6)) == [4, 3, 2, 1, 0, 5]


def test_any_free_block_can_be_taken(vllm: ModuleType) -> None:
    free, made = queue(vllm, 4)
    free.popleft_n(3)
    free.chains.store(0, "a", None)
    free.append_n([made[0], made[1]])
    for number in (0, 1, 3):
        free.remove(made[number])
    assert free.num_free_blocks == 0
    with pytest.raises(RuntimeError, match="invalid block"):
        free.remove(made[0])


def test_what_holds_nothing_any_more_goes_first(vllm: ModuleType) -> None:
    free, made = queue(vllm, 4)
    free.popleft_n(4)
    for number in range(3):
        free.chains.store(number, number, None)
    free.append_n(made[:2])
    free.uncache(made[1])
    free.uncache(made[2])
    assert free.popleft() is made[1]
    free.clear()
    assert free.num_free_blocks == 1
    assert free.popleft() is made[0]


def test_the_order_can_be_walked_from_any_block(vllm: ModuleType) -> None:
    free, made = queue(vllm, 4)
    assert list(free.iter_blocks_after(None)) == made
    assert list(free.iter_blocks_after(made[1])) == made[2:]
    assert list(free.iter_blocks_after(block(9))) == []


def test_vllm_is_told_of_the_plugin_and_its_version_is_named() -> None:
    assert entry_point("vllm.general_plugins") == "triskele.integrations.vllm:install"
    assert_one_version("vllm", "vllm", "integrations-vllm.md")
