import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from triskele.model import ModelConfig, RopeScaling, Transformer

SHAPES = [
    ModelConfig(vocab_size=96, d_model=32, n_layers=2, n_heads=4, tie_embeddings=True),
    ModelConfig(vocab_size=96, d_model=48, n_layers=3, n_heads=6, n_kv_heads=2, d_ff=100),
    ModelConfig(vocab_size=70, d_model=36, n_layers=1, n_heads=3, d_head=8, tie_embeddings=False),
    ModelConfig(vocab_size=70, d_model=32, n_heads=4, n_kv_heads=2, qkv_bias=True),
    ModelConfig(vocab_size=70, d_model=32, n_heads=4, n_kv_heads=2, qk_norm=True),
]


@pytest.mark.parametrize("config", SHAPES)
def test_parameter_counts_are_those_of_the_model(config: ModelConfig) -> None:
    model = Transformer(config)
    assert config.n_params == sum(p.numel() for p in model.parameters())
    tables = {id(p): p for p in (model.lm_head.weight, model.model.embed_tokens.weight)}
    in_tables = sum(p.numel() for p in tables.values())
    assert config.n_params_without_embeddings == config.n_params - in_tables


@pytest.mark.parametrize("config", SHAPES)
def test_operation_count_is_that_of_the_products_torch_runs(config: ModelConfig) -> None:
    batch, seq_len = 2, 24
    tokens = torch.randint(config.vocab_size, (batch, seq_len + 1))
    model = Transformer(config)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        logits = model(tokens[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    assert config.flops_per_token(seq_len) * batch * seq_len == counter.get_total_flops()


def test_feed_forward_width_is_eight_thirds_rounded_up_to_64() -> None:
    widths = [ModelConfig(vocab_size=9, d_model=d, n_heads=1).ff_dim for d in (24, 26, 128, 768)]
    assert widths == [64, 128, 384, 2048]


def test_derived_numbers_follow_a_replaced_one() -> None:
    config = ModelConfig(vocab_size=9, d_model=128, n_heads=4)
    wider = dataclasses.replace(config, d_model=256, n_heads=8)
    assert (wider.ff_dim, wider.kv_heads, wider.head_dim) == (704, 8, 32)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"vocab_size": 0}, "vocab_size must be positive, got 0"),
        ({"n_layers": -1}, "n_layers must be positive, got -1"),
        ({"d_model": 30}, r"d_model must be a multiple of n_heads \(4\), got 30"),
        ({"n_kv_heads": 3}, r"n_kv_heads must divide n_heads \(4\), got 3"),
        ({"n_kv_heads": 0}, "n_kv_heads must be positive, got 0"),
        ({"d_head": 7}, "even for rotary embedding, got 7"),
        ({"d_ff": 0}, "d_ff must be positive, got 0"),
        ({"rope_theta": float("nan")}, "rope_theta must be positive, got nan"),
        ({"norm_eps": 0.0}, "norm_eps must be positive"),
        ({"max_seq_len": 0}, "max_seq_len must be positive"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(
            ModelConfig(vocab_size=9, d_model=32, n_heads=4),
            **changes,  # type: ignore[arg-type]
        )


def test_impossible_stretches_are_refused() -> None:
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        RopeScaling(0, 1, 4, 8192)
    with pytest.raises(ValueError, match=r"must exceed low_freq_factor \(4\), got 1"):
        RopeScaling(8, 4, 1, 8192)


def test_a_sequence_of_no_length_has_no_operation_count() -> None:
    with pytest.raises(ValueError, match="seq_len must be positive, got 0"):
        ModelConfig(vocab_size=9).flops_per_token(0)
