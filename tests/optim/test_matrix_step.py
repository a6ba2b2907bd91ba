import torch

from triskele.optim.matrix_step import exponent, init_matrix_state, matrix_step, view_of
from triskele.optim.schedule import PowerSchedule

GROUP = {
    "lr": 0.1,
    "weight_decay": 0.0,
    "cautious": False,
    "update_floor": 0.0,
    "momentum": 0.9,
    "nesterov": False,
    "p": 1.0,
    "method": "chain",
    "scale": "rms",
    "dtype": None,
    "adjust_lr": "none",
    "flatten": False,
    "transposed": False,
    "split": (),
    "gains": (),
}


def step(weight: torch.Tensor, state: dict[str, torch.Tensor], **changes: object) -> None:
    with torch.no_grad():
        matrix_step({**GROUP, **changes}, [weight], [state], process_group=None)


def test_the_momentum_is_a_running_mean_and_p_one_steps_along_it() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 6, requires_grad=True)
    state: dict[str, torch.Tensor] = {}
    init_matrix_state(weight, state, momentum_dtype=None)
    gradients = [torch.randn(4, 6), torch.randn(4, 6)]
    mean = torch.zeros(4, 6)
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient
        step(weight, state)
        mean = 0.9 * mean + 0.1 * gradient
        torch.testing.assert_close(state["momentum_buffer"], mean)
        moved = before - weight.detach()
        torch.testing.assert_close(moved, 0.1 * 2.0 * mean / mean.norm(), rtol=1e-3, atol=1e-4)


def test_cautious_decay_spares_entries_that_the_update_grows() -> None:
    torch.manual_seed(1)
    weight = torch.randn(6, 6, requires_grad=True)
    plain = weight.detach().clone().requires_grad_()
    gradient = torch.randn(6, 6)
    for tensor, changes in ((weight, {"weight_decay": 1.0, "cautious": True}), (plain, {})):
        state: dict[str, torch.Tensor] = {}
        init_matrix_state(tensor, state, momentum_dtype=None)
        tensor.grad = gradient.clone()
        before = tensor.detach().clone()
        step(tensor, state, **changes)
    update = before - plain.detach()
    decayed = (weight.detach() - plain.detach()).abs() > 1e-6
    assert torch.equal(decayed, before * update > 0)


def test_an_update_floor_lengthens_short_updates_and_leaves_long_ones() -> None:
    for size, floor, expected in ((10.0, 0.5, 5.0), (10.0, 0.1, 2.0)):
        torch.manual_seed(2)
        direction = torch.randn(4, 6)
        weight = (direction * size / direction.norm()).requires_grad_()
        state: dict[str, torch.Tensor] = {}
        init_matrix_state(weight, state, momentum_dtype=None)
        weight.grad = torch.randn(4, 6)
        before = weight.detach().clone()
        step(weight, state, update_floor=floor, lr=1.0)
        assert abs((weight.detach() - before).norm().item() - expected) < 1e-2 * expected


def test_an_update_floor_leaves_zero_updates_at_zero() -> None:
    weight = torch.ones(4, 4, requires_grad=True)
    state: dict[str, torch.Tensor] = {}
    init_matrix_state(weight, state, momentum_dtype=None)
    weight.grad = torch.zeros(4, 4)
    step(weight, state, update_floor=0.5)
    assert torch.equal(weight, torch.ones(4, 4))


def test_the_group_says_how_parameters_are_read_and_where_p_stands() -> None:
    group = {**GROUP, "flatten": True, "split": [2, 2], "step": 1, "total_steps": 2}
    assert view_of(group).split == (2, 2)
    assert view_of(group).flatten
    schedule = PowerSchedule(shape="linear", start=0.2, end=0.0)
    assert exponent({**group, "schedule": schedule}) == 0.1
