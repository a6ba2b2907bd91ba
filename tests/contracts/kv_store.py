"""What every KVStore must do: be invisible, apart from remembering."""

import pytest
import torch

from triskele.model import KVStore, ModelConfig, Transformer

CONFIG = ModelConfig(vocab_size=50, d_model=32, n_layers=3, n_heads=4, n_kv_heads=2, max_seq_len=64)


class KVStoreContract:
    def make(self, config: ModelConfig, *, batch_size: int, capacity: int) -> KVStore:
        raise NotImplementedError

    @pytest.mark.parametrize("parts", [(12,), (1,) * 12, (7, 5), (4, 1, 1, 6), (1, 11)])
    def test_logits_in_parts_are_the_logits_of_the_whole(self, parts: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(0)
        model = Transformer(CONFIG, generator=generator)
        tokens = torch.randint(CONFIG.vocab_size, (2, 12), generator=generator)
        store = self.make(CONFIG, batch_size=2, capacity=12)
        with torch.no_grad():
            whole = model(tokens)
            in_parts = [model(part, store=store) for part in tokens.split(list(parts), dim=1)]
        torch.testing.assert_close(torch.cat(in_parts, dim=1), whole, rtol=1e-5, atol=1e-5)

    def test_positions_go_on_from_what_is_held(self) -> None:
        store = self.make(CONFIG, batch_size=1, capacity=9)
        assert store.positions(3).flatten().tolist() == [0, 1, 2]
        store.advance(3)
        assert store.positions(2).flatten().tolist() == [3, 4]
