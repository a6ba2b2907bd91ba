import pytest
import torch
from tests.oracles.attention import slow_causal_attention

from triskele.model import ModelConfig, causal_attention
from triskele.model.attention import SelfAttention
from triskele.model.rotary import rotation


def make(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("n_queries", [1, 3, 7])
def test_attention_agrees_with_the_formula(key_heads: int, n_queries: int) -> None:
    q = make(2, 4, n_queries, 8)
    k, v = make(2, key_heads, 7, 8, seed=1), make(2, key_heads, 7, 8, seed=2)
    torch.testing.assert_close(causal_attention(q, k, v), slow_causal_attention(q, k, v))


def test_grouped_queries_equal_full_heads_with_repeated_keys_and_values() -> None:
    grouped = SelfAttention(ModelConfig(vocab_size=9, d_model=32, n_heads=4, n_kv_heads=2), layer=0)
    full = SelfAttention(ModelConfig(vocab_size=9, d_model=32, n_heads=4), layer=0)
    state = grouped.state_dict()
    for name in ("k_proj.weight", "v_proj.weight"):
        heads = state[name].unflatten(0, (2, 8))
        state[name] = heads.repeat_interleave(2, dim=0).flatten(0, 1)
    full.load_state_dict(state)
    x, turn = make(2, 10, 32), rotation(torch.arange(10), 8, theta=1e4)
    torch.testing.assert_close(grouped(x, turn), full(x, turn))


def test_a_query_at_the_first_position_returns_its_own_value() -> None:
    q, k, v = make(1, 2, 5, 8), make(1, 2, 5, 8, seed=1), make(1, 2, 5, 8, seed=2)
    torch.testing.assert_close(causal_attention(q, k, v)[:, :, 0], v[:, :, 0])
