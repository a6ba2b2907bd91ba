import pytest
import torch
from tests.contracts.kv_store import KVStoreContract

from triskele.model import ContiguousStore, KVStore, ModelConfig


class TestContiguousStore(KVStoreContract):
    def make(self, config: ModelConfig, *, batch_size: int, capacity: int) -> KVStore:
        return ContiguousStore(config, batch_size=batch_size, capacity=capacity)


def test_a_full_store_refuses_more() -> None:
    store = ContiguousStore(ModelConfig(vocab_size=9), capacity=4)
    store.advance(3)
    assert store.positions(1).tolist() == [3]
    with pytest.raises(ValueError, match="holds 4 tokens, got 5"):
        store.positions(2)


def test_half_precision_takes_half_the_room() -> None:
    config = ModelConfig(vocab_size=9, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2)
    store = ContiguousStore(config, capacity=5, batch_size=3, dtype=torch.bfloat16)
    q, k = torch.randn(3, 4, 1, 8).bfloat16(), torch.randn(3, 2, 1, 8).bfloat16()
    torch.testing.assert_close(store.attend(1, q, k, k), k.repeat_interleave(2, dim=1))
