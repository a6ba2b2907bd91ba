import pytest
from tests.optim.models import llama, mixtral
from torch import nn
from transformers import BloomConfig, BloomForCausalLM

from triskele.optim.groups import parameter_groups
from triskele.optim.roles import assign_parameters


def test_groups_hold_every_trainable_parameter_once() -> None:
    model = llama()
    groups = parameter_groups(assign_parameters(model))
    ids = [id(parameter) for group in groups for _, parameter in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


def test_query_and_key_gains_reach_separate_and_fused_projections() -> None:
    groups = parameter_groups(assign_parameters(llama()), query_key_gain=2.0)
    gains = {name: group.get("gains") for group in groups for name, _ in group["params"]}
    assert gains["model.layers.0.self_attn.k_proj.weight"] == (2.0,)
    assert gains["model.layers.0.self_attn.v_proj.weight"] == ()
    fused = parameter_groups(assign_parameters(nn.MultiheadAttention(8, 2)), query_key_gain=2.0)
    assert fused[0]["gains"] == (2.0, 2.0, 1.0)


def test_gains_of_split_heads_leave_the_values_alone() -> None:
    fused, *_ = assign_parameters(nn.MultiheadAttention(8, 2), split_heads=True)
    groups = parameter_groups([fused], query_key_gain=2.0)
    assert groups[0]["gains"] == (2.0, 2.0, 2.0, 2.0, 1.0)


def test_feed_forward_gains_reach_dense_layers_and_experts() -> None:
    groups = parameter_groups(assign_parameters(llama()), feed_forward_gain=1.5)
    gains = {name: group.get("gains") for group in groups for name, _ in group["params"]}
    assert gains["model.layers.0.mlp.gate_proj.weight"] == (1.5,)
    assert gains["model.layers.0.self_attn.o_proj.weight"] == ()
    groups = parameter_groups(assign_parameters(mixtral()), feed_forward_gain=1.5)
    gains = {name: group.get("gains") for group in groups for name, _ in group["params"]}
    found = {name: gain for name, gain in gains.items() if "experts" in name}
    assert found
    assert all(set(gain) == {1.5} for gain in found.values())


def test_interleaved_projections_have_no_gain_even_with_three_heads() -> None:
    model = BloomForCausalLM(BloomConfig(vocab_size=96, hidden_size=24, n_layer=1, n_head=3))
    for split_heads in (False, True):
        groups = parameter_groups(
            assign_parameters(model, split_heads=split_heads), query_key_gain=2.0
        )
        fused = next(g for g in groups if g.get("split"))
        assert fused["split"] == (24, 24, 24)
        assert fused["gains"] == ()


def test_a_model_without_matrices_is_an_error_that_names_the_way_out() -> None:
    model = nn.Sequential(nn.Embedding(8, 4), nn.LayerNorm(4))
    with pytest.raises(ValueError, match=r"no hidden matrix among 3 .* overrides"):
        parameter_groups(assign_parameters(model))
