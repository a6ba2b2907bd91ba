import pytest
import torch
from tests.optim.models import assigned, gpt2, llama, matrices, mixtral
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from triskele.optim.roles import assign_parameters


def test_llama_shapes_exactly_the_projections_inside_its_layers() -> None:
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    names = matrices(llama())
    assert len(names) == 2 * len(projections)
    assert all(name.split(".")[-2] in projections for name in names)
    assert assigned(llama())["lm_head.weight"].role == "head"


def test_a_tied_head_is_assigned_once_as_an_embedding() -> None:
    roles = assigned(llama(tied=True))
    assert roles["model.embed_tokens.weight"].role == "tied embedding"
    assert "lm_head.weight" not in roles


def test_gpt2_projections_are_transposed_and_its_qkv_is_cut_apart() -> None:
    roles = assigned(gpt2())
    fused = roles["transformer.h.0.attn.c_attn.weight"]
    assert fused.view.transposed
    assert fused.view.split == (32, 32, 32)
    assert roles["transformer.wpe.weight"].algorithm == "adamw"
    assert roles["transformer.h.0.mlp.c_proj.weight"].view.transposed


def test_grouped_heads_cut_a_fused_projection_unevenly() -> None:
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=2,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    roles = assigned(model)
    assert roles["model.layers.0.self_attn.qkv_proj.weight"].view.split == (32, 16, 16)
    assert roles["model.layers.0.mlp.gate_up_proj.weight"].view.split == (48, 48)


def test_a_projection_interleaved_by_head_is_cut_per_head() -> None:
    model = BloomForCausalLM(
        BloomConfig(
            vocab_size=96,
            hidden_size=32,
            n_layer=1,
            n_head=4,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    fused = assigned(model)["transformer.h.0.self_attention.query_key_value.weight"]
    assert fused.view.split == (24, 24, 24, 24)


def test_experts_are_a_batch_and_their_router_is_not_a_matrix() -> None:
    roles = assigned(mixtral())
    experts = [a for name, a in roles.items() if ".experts." in name]
    assert {a.algorithm for a in experts} == {"dynmuon"}
    assert roles["model.layers.0.mlp.experts.gate_up_proj"].view.split == (48, 48)
    assert roles["model.layers.0.mlp.gate.weight"].role == "router"


def test_t5_shares_one_embedding_among_encoder_decoder_and_head() -> None:
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4)
    )
    roles = assigned(model)
    assert roles["shared.weight"].role == "tied embedding"
    relative = [a for name, a in roles.items() if "relative_attention_bias" in name]
    assert relative
    assert {a.algorithm for a in relative} == {"adamw"}
    assert roles["decoder.block.0.layer.1.EncDecAttention.k.weight"].algorithm == "dynmuon"


def test_a_vision_transformer_keeps_patches_positions_and_classifier_out() -> None:
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=16,
            patch_size=8,
        )
    )
    roles = assigned(model)
    kept_out = {a.role for a in roles.values() if a.algorithm == "adamw"}
    assert kept_out == {"embedding", "input convolution", "head", "vector"}
    assert all("layer" in name for name in matrices(model))


def test_convolutions_are_flattened_but_for_input_and_depthwise_ones() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.Conv2d(16, 32, 3, groups=2),
        nn.ConvTranspose2d(32, 8, 2),
    )
    roles = assigned(model)
    assert roles["0.weight"].role == "input convolution"
    assert roles["1.weight"].role == "depthwise convolution"
    assert roles["2.weight"].view.flatten
    assert roles["2.weight"].view.split == (16, 16)
    assert roles["3.weight"].view.transposed


def test_torch_attention_in_one_weight_is_cut_in_three() -> None:
    fused = assigned(nn.MultiheadAttention(32, 4))["in_proj_weight"]
    assert fused.view.split == (32, 32, 32)


def test_a_square_layer_as_wide_as_the_vocabulary_is_no_head_inside_a_block() -> None:
    blocks = nn.ModuleList([nn.Linear(64, 64)])
    model = nn.ModuleDict({"embed": nn.Embedding(64, 64), "blocks": blocks})
    assert matrices(model) == {"blocks.0.weight"}


def test_the_head_of_a_plain_sequence_is_told_by_its_width() -> None:
    model = nn.Sequential(nn.Embedding(48, 8), nn.Linear(8, 16), nn.Linear(16, 48))
    roles = {name: a.role for name, a in assigned(model).items()}
    assert roles["2.weight"] == "head"
    assert roles["1.weight"] == "matrix"


def test_wrappers_leave_no_trace_in_names() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    assert set(assigned(torch.compile(inner))) == set(assigned(inner))


def test_the_head_can_have_an_algorithm_of_its_own() -> None:
    assignments = assign_parameters(llama(), head="soap")
    assert [a.name for a in assignments if a.algorithm == "soap"] == ["lm_head.weight"]
    tied = assign_parameters(llama(tied=True), head="soap")
    assert not any(a.algorithm == "soap" for a in tied)


def test_frozen_parameters_are_not_assigned() -> None:
    model = llama()
    for parameter in model.model.layers[0].parameters():
        parameter.requires_grad_(False)
    assert not any(name.startswith("model.layers.0") for name in assigned(model))


def test_overrides_win_and_say_so() -> None:
    assignments = assign_parameters(llama(), overrides={"*.down_proj.weight": "adamw"})
    changed = [a for a in assignments if "down_proj" in a.name]
    assert {a.algorithm for a in changed} == {"adamw"}
    assert all(a.role.endswith("(override)") for a in changed)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"*.no_such.weight": "adamw"}, "matches no trainable parameter"),
        ({"*norm*": "dynmuon"}, "is not a matrix"),
        ({"*": "lion"}, "expected one of"),
    ],
)
def test_wrong_overrides_are_refused(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign_parameters(llama(), overrides=overrides)  # type: ignore[arg-type]


def test_feed_forward_matrices_are_told_by_their_names_or_by_where_they_stand() -> None:
    roles = {name: a.role for name, a in assigned(llama()).items()}
    assert roles["model.layers.0.mlp.down_proj.weight"] == "feed-forward"
    assert roles["model.layers.0.self_attn.o_proj.weight"] == "matrix"
    roles = {name: a.role for name, a in assigned(gpt2()).items()}
    assert roles["transformer.h.0.mlp.c_proj.weight"] == "feed-forward"
    assert roles["transformer.h.0.attn.c_proj.weight"] == "matrix"
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    roles = {name: a.role for name, a in assigned(layer).items()}
    assert roles["linear1.weight"] == roles["linear2.weight"] == "feed-forward"
    assert roles["self_attn.out_proj.weight"] == "matrix"


def test_queries_and_keys_are_cut_into_heads_and_values_stay_whole() -> None:
    splits = {a.name: a.view.split for a in assign_parameters(llama(), split_heads=True)}
    attention = "model.layers.0.self_attn"
    assert splits[f"{attention}.q_proj.weight"] == (8, 8, 8, 8)
    assert splits[f"{attention}.k_proj.weight"] == (8, 8)
    assert splits[f"{attention}.v_proj.weight"] == ()
    assert splits["model.layers.0.mlp.up_proj.weight"] == ()
    fused, *_ = assign_parameters(nn.MultiheadAttention(8, 2), split_heads=True)
    assert fused.view.split == (4, 4, 4, 4, 8)


def test_heads_of_fused_and_encoder_decoder_models_are_as_wide_as_their_configs_say() -> None:
    splits = {a.name: a.view.split for a in assign_parameters(gpt2(), split_heads=True)}
    assert splits["transformer.h.0.attn.c_attn.weight"] == (8,) * 8 + (32,)
    t5 = T5ForConditionalGeneration(
        T5Config(vocab_size=96, d_model=32, d_kv=4, d_ff=48, num_layers=1, num_heads=4)
    )
    splits = {a.name: a.view.split for a in assign_parameters(t5, split_heads=True)}
    assert splits["encoder.block.0.layer.0.SelfAttention.q.weight"] == (4, 4, 4, 4)


def test_without_a_width_the_projection_stays_whole() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj = nn.Linear(8, 8)

    splits = {a.name: a.view.split for a in assign_parameters(Attention(), split_heads=True)}
    assert splits["q_proj.weight"] == ()
