from pathlib import Path

import pytest
import torch
from torch.optim import AdamW, Muon

from triskele.model import ModelConfig, Transformer
from triskele.optim import DynMuon
from triskele.train import TrainConfig
from triskele.train.optimizers import make_optimizer
from triskele.train.plan import make_plan


def model_of(seed=0):
    config = ModelConfig(
        vocab_size=64, d_model=32, n_layers=2, n_heads=2, max_seq_len=16, tie_embeddings=False
    )
    return Transformer(config, generator=torch.Generator().manual_seed(seed))


def plan_of(optimizer, *, precision="bf16", **changes):
    config = TrainConfig(
        data=Path("text"), out=Path("run"), optimizer=optimizer, steps=10, **changes
    )
    return make_plan(
        config, vocab_size=64, n_train_tokens=10**6, data="", device="cpu", precision=precision
    )


def take_steps(model, rule, n_steps=2):
    for step in range(n_steps):
        tokens = torch.randint(0, 64, (2, 9), generator=torch.Generator().manual_seed(step))
        rule.zero_grad()
        model(tokens[:, :-1], tokens[:, 1:]).backward()
        rule.step()


@pytest.mark.parametrize(
    ("name", "precision", "kinds"),
    [
        ("dynmuon", "bf16", [DynMuon]),
        ("muon", "bf16", [Muon, AdamW]),
        ("muon", "fp32", [DynMuon]),
        ("adamw", "bf16", [AdamW]),
    ],
)
def test_a_name_leads_to_its_optimizers(name, precision, kinds):
    rule = make_optimizer(model_of(), plan_of(name, precision=precision))
    assert [type(part) for part in rule.parts] == kinds


@pytest.mark.parametrize("name", ["dynmuon", "muon", "adamw"])
def test_every_parameter_is_stepped_once_and_moves(name):
    model = model_of()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rule = make_optimizer(model, plan_of(name))
    owned = [p for part in rule.parts for group in part.param_groups for p in group["params"]]
    assert {id(p) for p in owned} == {id(p) for p in model.parameters()}
    assert len(owned) == len(list(model.parameters()))
    take_steps(model, rule)
    for key, value in model.state_dict().items():
        assert not torch.equal(value, before[key]), key


def test_the_same_parameters_are_matrices_to_muon_and_to_dynmuon():
    """Otherwise a comparison of the two would compare the sorting too."""
    model = model_of()
    muon = make_optimizer(model, plan_of("muon")).parts[0]
    dynmuon = make_optimizer(model, plan_of("dynmuon")).parts[0]
    matrices = {id(p) for group in muon.param_groups for p in group["params"]}
    shaped = {
        id(p)
        for group in dynmuon.param_groups
        if group["algorithm"] == "dynmuon"
        for p in group["params"]
    }
    assert matrices == shaped
    assert len(matrices) == 2 * 7


def test_muon_in_float32_is_muon_up_to_rounding():
    models, start = (model_of(), model_of()), model_of().state_dict()
    for model, precision in zip(models, ("bf16", "fp32"), strict=True):
        rule = make_optimizer(model, plan_of("muon", precision=precision))
        generator = torch.Generator().manual_seed(5)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        rule.step()
    for (key, one), other in zip(
        models[0].state_dict().items(), models[1].state_dict().values(), strict=True
    ):
        assert (one - other).norm() <= 0.04 * (one - start[key]).norm(), key


def test_all_rates_move_together_and_come_back():
    rule = make_optimizer(model_of(), plan_of("muon"))
    rates = [group["lr"] for part in rule.parts for group in part.param_groups]
    rule.set_lr(0.25)
    moved = [group["lr"] for part in rule.parts for group in part.param_groups]
    assert moved == [rate * 0.25 for rate in rates]
    assert rule.lr == plan_of("muon").lr * 0.25
    rule.set_lr(1.0)
    assert [group["lr"] for part in rule.parts for group in part.param_groups] == rates


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_rates_are_given_by_role(name):
    model, plan = model_of(), plan_of(name)
    rates = {}
    for part in make_optimizer(model, plan).parts:
        for group in part.param_groups:
            rates |= {id(p): group["lr"] for p in group["params"]}
    assert rates[id(model.model.embed_tokens.weight)] == plan.embedding_lr
    assert rates[id(model.lm_head.weight)] == plan.head_lr
    assert rates[id(model.model.norm.weight)] == plan.adam_lr
    assert rates[id(model.model.layers[0].mlp.up_proj.weight)] == plan.lr


@pytest.mark.parametrize("name", ["dynmuon", "muon", "adamw"])
def test_state_survives_saving_to_the_bit(name, tmp_path):
    model, plan = model_of(), plan_of(name)
    rule = make_optimizer(model, plan)
    take_steps(model, rule)
    torch.save([model.state_dict(), rule.state_dict()], tmp_path / "state.pt")
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    other = model_of(seed=1)
    other.load_state_dict(weights)
    again = make_optimizer(other, plan)
    again.load_state_dict(state)
    take_steps(model, rule)
    take_steps(other, again)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_only_a_spectral_optimizer_has_an_exponent():
    assert make_optimizer(model_of(), plan_of("adamw")).power is None
    assert make_optimizer(model_of(), plan_of("muon", precision="fp32")).power == 0.0
    assert make_optimizer(model_of(), plan_of("dynmuon")).power is not None
