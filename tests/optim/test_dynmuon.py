import copy
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracles.dynmuon import dynmuon_steps
from torch import nn
from torch._dynamo.testing import CompileCounter

from triskele.optim import DynMuon, PowerSchedule

AT_ZERO = PowerSchedule(shape="constant", start=0.0)


class Toy(nn.Module):
    """An embedding, three matrices of two sizes, a norm and a head: every role in 2,500 numbers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(20, 16)
        self.layers = nn.ModuleList([nn.Linear(16, 24), nn.Linear(24, 16), nn.Linear(16, 16)])
        self.norm = nn.LayerNorm(16)
        self.lm_head = nn.Linear(16, 20, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        x = x + self.layers[1](torch.relu(self.layers[0](x)))
        logits: torch.Tensor = self.lm_head(self.norm(x + self.layers[2](x)))
        return logits


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 20, (8, 8), generator=generator)
    return tokens, (3 * tokens + 1) % 20


def loss_of(model: nn.Module, seed: int) -> torch.Tensor:
    tokens, targets = batch(seed)
    return nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for seed in steps:
        optimizer.zero_grad()
        loss = loss_of(model, seed)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def parameters_equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def matrix(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, dtype=dtype))


# --- the step itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12, 12), (8, 20), (20, 8)])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("cautious", [True, False])
def test_steps_follow_the_paper_in_double_precision(
    shape: tuple[int, int], nesterov: bool, cautious: bool
) -> None:
    torch.manual_seed(1)
    schedule = PowerSchedule(shape="linear", start=0.25, end=-0.25)
    weight = matrix(*shape)
    # Well conditioned, so that no singular value lies below the floor, which the paper lacks.
    gradients = [torch.randn(*shape) + 8.0 * torch.eye(*shape) for _ in range(4)]
    expected = dynmuon_steps(
        weight.detach().double().numpy(),
        [gradient.double().numpy() for gradient in gradients],
        exponents=[schedule(step / 10) for step in range(4)],
        lr=0.05,
        weight_decay=0.3,
        momentum=0.9,
        nesterov=nesterov,
        lr_ratio=math.sqrt(max(1.0, shape[0] / shape[1])),
        cautious=cautious,
    )
    optimizer = DynMuon(
        [weight],
        total_steps=10,
        lr=0.05,
        weight_decay=0.3,
        momentum=0.9,
        nesterov=nesterov,
        cautious=cautious,
        schedule=schedule,
        method="svd",
    )
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (16, 16)])
def test_at_p_zero_with_torch_settings_it_is_torch_muon(
    adjust_lr: str, shape: tuple[int, int]
) -> None:
    torch.manual_seed(2)
    ours, theirs = matrix(*shape), matrix(*shape)
    theirs.data.copy_(ours.data)
    optimizer = DynMuon(
        [ours],
        total_steps=20,
        lr=0.02,
        weight_decay=0.1,
        schedule=AT_ZERO,
        method="newton_schulz",
        adjust_lr=adjust_lr,  # type: ignore[arg-type]
    )
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn=adjust_lr)
    for _ in range(20):
        ours.grad = torch.randn(*shape)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    moved = 20 * 0.02
    assert (ours - theirs).abs().max().item() < 2**-8 * moved


def test_gradients_and_momenta_are_never_rescaled_in_place() -> None:
    # torch.optim.Muon in bfloat16 without Nesterov normalises its own momentum buffer.
    weight = matrix(8, 8, dtype=torch.bfloat16)
    optimizer = DynMuon([weight], total_steps=5, nesterov=False, momentum=0.5)
    gradient = torch.full((8, 8), 3.0, dtype=torch.bfloat16)
    for n_steps in range(1, 4):
        weight.grad = gradient.clone()
        optimizer.step()
        assert torch.equal(weight.grad, gradient)
        expected = 3.0 * (1.0 - 0.5**n_steps)
        assert optimizer.state[weight]["momentum_buffer"].float().mean().item() == expected


def test_update_size_is_the_same_at_every_exponent() -> None:
    sizes = []
    for p in (-0.25, 0.0, 0.25, 1.0):
        torch.manual_seed(3)
        weight = matrix(16, 32)
        before = weight.detach().clone()
        schedule = PowerSchedule(shape="constant", start=p)
        optimizer = DynMuon([weight], total_steps=5, lr=1.0, weight_decay=0.0, schedule=schedule)
        weight.grad = torch.randn(16, 32)
        optimizer.step()
        sizes.append((weight.detach() - before).norm().item())
    assert sizes == pytest.approx([4.0] * 4, rel=5e-3)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_steps_do_not_depend_on_the_scale_of_the_loss(factor: float) -> None:
    results = []
    for scale in (1.0, factor):
        torch.manual_seed(4)
        weight = matrix(16, 16)
        optimizer = DynMuon([weight], total_steps=4)
        for _ in range(4):
            weight.grad = torch.randn(16, 16) * scale
            optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-2, atol=1e-3)


def test_zero_gradients_of_a_fresh_projection_do_no_harm() -> None:
    weight = nn.Parameter(torch.zeros(8, 8))
    optimizer = DynMuon([weight], total_steps=4)
    weight.grad = torch.zeros(8, 8)
    optimizer.step()
    assert torch.equal(weight, torch.zeros(8, 8))


def test_matrices_larger_than_a_chunk_and_many_small_ones_step_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = []
    for chunk in (1 << 22, 300):
        monkeypatch.setattr("triskele.optim.matrix_step.CHUNK_ELEMENTS", {"cpu": chunk})
        model = Toy()
        train(model, DynMuon.from_model(model, total_steps=10), range(3))
        results.append(model)
    for a, b in zip(results[0].parameters(), results[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


# --- the schedule --------------------------------------------------------------------------------


def test_the_exponent_of_each_step_can_be_read_from_its_group() -> None:
    weight = matrix(4, 4)
    schedule = PowerSchedule(shape="linear", start=0.25, end=-0.25)
    optimizer = DynMuon([weight], total_steps=4, schedule=schedule)
    seen = []
    for _ in range(6):
        weight.grad = torch.randn(4, 4)
        optimizer.step()
        seen.append(optimizer.param_groups[0]["p"])
    assert seen == pytest.approx([0.25, 0.125, 0.0, -0.125, -0.25, -0.25])


def test_two_optimizers_do_not_share_an_exponent() -> None:
    fast, slow = matrix(4, 4), matrix(4, 4)
    a, b = DynMuon([fast], total_steps=2), DynMuon([slow], total_steps=2000)
    for weight, optimizer in ((fast, a), (slow, b), (fast, a)):
        weight.grad = torch.randn(4, 4)
        optimizer.step()
    assert a.param_groups[0]["p"] != b.param_groups[0]["p"]


def test_any_callable_is_a_schedule() -> None:
    weight = matrix(4, 4)
    optimizer = DynMuon([weight], total_steps=4, schedule=lambda q: 0.1 - 0.2 * q)
    for _ in range(3):
        weight.grad = torch.randn(4, 4)
        optimizer.step()
    assert optimizer.param_groups[0]["p"] == pytest.approx(0.0)


# --- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_resumed_run_continues_bit_for_bit(cut: int) -> None:
    whole = Toy()
    optimizer = DynMuon.from_model(whole, total_steps=12)
    train(whole, optimizer, range(12))

    first = Toy()
    optimizer = DynMuon.from_model(first, total_steps=12)
    train(first, optimizer, range(cut))
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)

    second = Toy(seed=99)
    resumed = DynMuon.from_model(second, total_steps=999, lr=0.5)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(second, resumed, range(cut, 12))
    assert parameters_equal(whole, second)


def test_state_dict_round_trips_to_the_bit() -> None:
    model = Toy()
    optimizer = DynMuon.from_model(model, total_steps=12, lr=0.03, adamw_lr=0.001)
    train(model, optimizer, range(3))
    saved = copy.deepcopy(optimizer.state_dict())
    other = DynMuon.from_model(model, total_steps=7)
    other.load_state_dict(saved)
    again = other.state_dict()
    assert again["param_groups"] == saved["param_groups"]
    for index, state in saved["state"].items():
        for key, value in state.items():
            assert torch.equal(again["state"][index][key], value)


def test_a_callable_schedule_is_kept_on_loading() -> None:
    weight = matrix(4, 4)

    def half(q: float) -> float:
        return 0.5

    saved = DynMuon([weight], total_steps=4, schedule=half).state_dict()
    assert saved["param_groups"][0]["schedule"] is None
    other = DynMuon([weight], total_steps=4, schedule=half)
    other.load_state_dict(saved)
    assert other.param_groups[0]["schedule"] is half


def test_float32_momentum_of_bfloat16_weights_survives_loading() -> None:
    weight = matrix(4, 4, dtype=torch.bfloat16)
    optimizer = DynMuon([weight], total_steps=4, momentum_dtype=torch.float32)
    weight.grad = torch.randn(4, 4).bfloat16() * 1.01
    optimizer.step()
    expected = optimizer.state[weight]["momentum_buffer"].clone()
    assert expected.dtype == torch.float32
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], expected)


def test_state_has_every_key_before_the_first_step() -> None:
    model = Toy()
    optimizer = DynMuon.from_model(model, total_steps=4)
    keys = {i: set(state) for i, state in optimizer.state_dict()["state"].items()}
    train(model, optimizer, range(1))
    assert {i: set(state) for i, state in optimizer.state_dict()["state"].items()} == keys


# --- what torch's own optimizers promise ---------------------------------------------------------


def test_parameters_without_gradients_and_frozen_ones_stay() -> None:
    model = Toy()
    model.layers[0].weight.requires_grad_(False)
    optimizer = DynMuon.from_model(model, total_steps=4, weight_decay=0.5)
    frozen = model.layers[0].weight.clone()
    skipped = model.layers[1].weight.clone()
    loss_of(model, 0).backward()
    model.layers[1].weight.grad = None
    optimizer.step()
    assert torch.equal(model.layers[0].weight, frozen)
    assert torch.equal(model.layers[1].weight, skipped)


def test_a_thawed_parameter_joins_in() -> None:
    weight = matrix(4, 4)
    weight.requires_grad_(False)
    optimizer = DynMuon([weight], total_steps=4)
    weight.requires_grad_(True)
    weight.grad = torch.randn(4, 4)
    before = weight.detach().clone()
    optimizer.step()
    assert not torch.equal(weight, before)


def test_closures_are_evaluated_with_gradients_and_their_loss_returned() -> None:
    model = Toy()
    optimizer = DynMuon.from_model(model, total_steps=4)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    first = optimizer.step(closure)  # type: ignore[arg-type]
    second = optimizer.step(closure)  # type: ignore[arg-type]
    assert first is not None
    assert second is not None
    assert second < first


def test_accumulated_gradients_step_like_one_large_batch() -> None:
    whole, parts = Toy(), Toy()
    a = DynMuon.from_model(whole, total_steps=4)
    b = DynMuon.from_model(parts, total_steps=4)
    ((loss_of(whole, 0) + loss_of(whole, 1)) / 2).backward()
    for seed in (0, 1):
        (loss_of(parts, seed) / 2).backward()
    a.step()
    b.step()
    for x, y in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)


def test_a_compiled_model_trains_like_an_eager_one() -> None:
    eager, compiled = Toy(), Toy()
    wrapped = torch.compile(compiled, backend="eager")
    losses = train(eager, DynMuon.from_model(eager, total_steps=5), range(5))
    same = train(wrapped, DynMuon.from_model(wrapped, total_steps=5), range(5))
    assert losses == pytest.approx(same, rel=1e-5)


def test_a_compiled_step_equals_the_eager_one_and_is_not_compiled_over_and_over() -> None:
    eager = matrix(8, 12)
    compiled = nn.Parameter(eager.detach().clone())
    a, b = DynMuon([eager], total_steps=20), DynMuon([compiled], total_steps=20)
    counter = CompileCounter()
    step = torch.compile(b.step, backend=counter)
    frames = []
    for n_step in range(20):
        eager.grad = compiled.grad = torch.sin(torch.arange(96.0) * (n_step + 1)).view(8, 12)
        a.step()
        step()
        frames.append(counter.frame_count)
    assert torch.equal(eager, compiled)
    assert frames[-1] == frames[4]


def test_grad_scaler_skips_the_step_on_overflow_and_unscales_otherwise() -> None:
    weight = matrix(4, 4)
    optimizer = DynMuon([weight], total_steps=4)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = weight.detach().clone()
    scaler.scale((weight * math.inf).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(weight, before)
    assert optimizer.param_groups[0]["step"] == 0
    optimizer.zero_grad()
    scaler.scale((weight**2).sum()).backward()
    scaler.step(optimizer)
    assert not torch.equal(weight, before)
    assert torch.isfinite(weight).all()


def test_learning_rate_schedulers_reach_every_group() -> None:
    model = Toy()
    optimizer = DynMuon.from_model(
        model,
        total_steps=4,
        lr=0.02,
        adamw_lr=0.004,
        embedding_lr=0.004,
        head_lr=0.004,
        head="adamw",
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    train(model, optimizer, range(1))
    scheduler.step()
    rates = {group["algorithm"]: group["lr"] for group in optimizer.param_groups}
    assert rates["dynmuon"] == pytest.approx(0.01)
    assert rates["adamw"] == pytest.approx(0.002)


def test_a_learning_rate_on_the_device_steps_like_a_number() -> None:
    results = []
    for lr in (0.02, torch.tensor(0.02)):
        torch.manual_seed(5)
        weight = matrix(8, 8)
        optimizer = DynMuon([weight], total_steps=4, lr=lr, capturable=isinstance(lr, torch.Tensor))
        for _ in range(3):
            weight.grad = torch.randn(8, 8)
            optimizer.step()
        results.append(weight.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_capturable_state_is_made_of_tensors_and_resumes() -> None:
    weights = {}
    for capturable in (True, False):
        torch.manual_seed(7)
        weight = matrix(8, 8)
        optimizer = DynMuon([weight], total_steps=6, capturable=capturable)
        for _ in range(3):
            weight.grad = torch.randn(8, 8)
            optimizer.step()
        weights[capturable] = (weight.detach(), optimizer)
    torch.testing.assert_close(weights[True][0], weights[False][0], rtol=1e-3, atol=1e-4)
    (group,) = weights[True][1].param_groups
    assert isinstance(group["step"], torch.Tensor)
    assert isinstance(group["p"], torch.Tensor)
    other = DynMuon([matrix(8, 8)], total_steps=6, capturable=True)
    other.load_state_dict(copy.deepcopy(weights[True][1].state_dict()))
    assert other.param_groups[0]["step"].item() == 3


def test_groups_can_be_added_while_training() -> None:
    weight, late = matrix(4, 4), matrix(4, 6)
    optimizer = DynMuon([weight], total_steps=4, lr=0.02)
    optimizer.add_param_group({"params": [late], "lr": 0.5, "weight_decay": 0.0})
    bias = nn.Parameter(torch.zeros(4))
    optimizer.add_param_group({"params": [bias], "algorithm": "adamw", "lr": 0.1})
    for parameter in (weight, late, bias):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert bias.tolist() == pytest.approx([-0.1] * 4, rel=1e-4)
    assert optimizer.param_groups[1]["lr"] == 0.5


def test_a_copied_optimizer_is_independent() -> None:
    weight = matrix(4, 4)
    optimizer = DynMuon([weight], total_steps=4)
    other = copy.deepcopy(optimizer)
    weight.grad = torch.randn(4, 4)
    optimizer.step()
    assert other.param_groups[0]["step"] == 0


# --- borders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be ≥ 0, got -1.0"),
        ({"lr": math.nan}, "lr must be ≥ 0, got nan"),
        ({"lr": torch.ones(2)}, "one element, got 2"),
        ({"weight_decay": -0.1}, "weight_decay must be ≥ 0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ({"update_floor": -0.1}, "update_floor must be ≥ 0"),
        ({"total_steps": 0}, "total_steps must be ≥ 1, got 0"),
        ({"schedule": 0.25}, "schedule must be a callable"),
        ({"adjust_lr": "rms"}, "adjust_lr must be one of"),
        ({"method": "qr"}, "method must be one of"),
        ({"scale": "unit"}, "scale must be one of"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DynMuon([matrix(4, 4)], **{"total_steps": 4, **options})


def test_wrong_groups_are_refused_and_leave_the_optimizer_as_it_was() -> None:
    optimizer = DynMuon([matrix(4, 4)], total_steps=4)
    vector = nn.Parameter(torch.zeros(4))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"params": [vector]}, r"two or more dimensions, got shape \(4,\)"),
        ({"params": [vector], "algorithm": "lion"}, "algorithm must be"),
        ({"params": [vector], "algorithm": "adamw", "betas": (0.9, 1.0)}, "betas must lie"),
        ({"params": [matrix(4, 4)], "split": (3, 3)}, "split"),
        ({"params": [matrix(4, 4), vector], "algorithm": "soap"}, "soap steps matrices"),
        ({"params": [vector], "algorithm": "soap", "refresh_every": 0}, "refresh_every must"),
        ({"params": [vector], "algorithm": "soap", "capturable": True}, "cannot be capturable"),
    ]
    for group, message in wrong:
        with pytest.raises(ValueError, match=message):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    assert len(optimizer.state) == 1


def test_description_names_every_parameter_with_its_algorithm() -> None:
    model = Toy()
    lines = DynMuon.from_model(model, total_steps=4).describe().splitlines()
    assert len(lines) == len(list(model.parameters()))
    assert any(
        line.startswith("dynmuon") and line.endswith("layers.0.weight") and "24×16" in line
        for line in lines
    )
    assert any(line.startswith("soap") and line.endswith("lm_head.weight") for line in lines)
    assert any(line.startswith("adamw") and line.endswith("norm.bias") for line in lines)


def test_roles_have_their_own_learning_rates() -> None:
    optimizer = DynMuon.from_model(
        Toy(), total_steps=4, lr=0.5, embedding_lr=0.4, head_lr=0.3, adamw_lr=0.2
    )
    rates = {group["role"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"matrix": 0.5, "embedding": 0.4, "head": 0.3, "other": 0.2}


# --- it optimizes --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["chain", "svd", "taylor", "scalar", "newton_schulz"])
def test_every_method_learns_the_toy_task(method: str) -> None:
    model = Toy()
    optimizer = DynMuon.from_model(
        model,
        total_steps=60,
        lr=0.01,
        adamw_lr=0.02,
        method=method,  # type: ignore[arg-type]
    )
    losses = train(model, optimizer, range(60))
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


def test_it_descends_an_ill_conditioned_quadratic() -> None:
    torch.manual_seed(6)
    scales = torch.logspace(0, -2, 16)
    target = torch.randn(16, 16)
    weight = nn.Parameter(torch.zeros(16, 16))
    optimizer = DynMuon([weight], total_steps=200, lr=0.1, weight_decay=0.0)
    schedule: Callable[[int], float] = lambda step: 1.0 - step / 200  # noqa: E731
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    first = last = 0.0
    for step in range(200):
        optimizer.zero_grad()
        loss = (scales * (weight - target)).square().sum()
        loss.backward()
        optimizer.step()
        scheduler.step()
        first, last = (loss.item(), last) if step == 0 else (first, loss.item())
    assert last < 1e-2 * first
