import math

import numpy as np
import pytest
import torch
from tests.oracles.soap import soap_steps

from triskele.optim.eigenbasis import (
    DAMPING,
    FLOOR,
    SOAP_DEFAULTS,
    init_soap_state,
    soap_step,
)

EXTRA_POWER = SOAP_DEFAULTS["extra_power"]


def step(
    weight: torch.Tensor,
    state: dict[str, torch.Tensor],
    *,
    lr: float = 0.01,
    refresh_every: int = 8,
    weight_decay: float = 0.0,
) -> None:
    with torch.no_grad():
        soap_step(
            [weight],
            [state],
            lr=lr,
            betas=(0.8, 0.9),
            covariance_beta=0.9,
            refresh_every=refresh_every,
            extra_power=EXTRA_POWER,
            weight_decay=weight_decay,
        )


def fresh(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, dict]:
    weight = torch.randn(*shape, dtype=dtype, requires_grad=True)
    state: dict[str, torch.Tensor] = {}
    init_soap_state(weight, state)
    return weight, state


def test_steps_follow_the_paper_in_double_precision() -> None:
    torch.manual_seed(0)
    weight, state = fresh(24, 6)
    spread = torch.logspace(0, -2, 6)
    gradients = [torch.randn(24, 6) * spread for _ in range(7)]
    expected = soap_steps(
        weight.detach().double().numpy(),
        [gradient.double().numpy() for gradient in gradients],
        lr=0.05,
        betas=(0.8, 0.9),
        covariance_beta=0.9,
        damping=DAMPING,
        extra_power=EXTRA_POWER,
        floor=FLOOR,
        weight_decay=0.2,
    )
    for gradient in gradients:
        weight.grad = gradient.clone()
        step(weight, state, lr=0.05, weight_decay=0.2)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-3, atol=1e-4)


def test_the_basis_diagonalises_the_covariance_while_it_turns() -> None:
    torch.manual_seed(1)
    weight, state = fresh(64, 5)
    mixing = torch.randn(5, 5)
    for _ in range(40):
        weight.grad = torch.randn(64, 5) @ mixing
        step(weight, state, refresh_every=2)
    basis, covariance = state["basis"].double(), state["covariance"].double()
    torch.testing.assert_close(
        basis.mT @ basis, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-5
    )
    turned = basis.mT @ covariance @ basis
    off_diagonal = turned - torch.diag(turned.diagonal())
    assert off_diagonal.norm() < 0.1 * turned.norm()


def test_directions_do_not_depend_on_the_scale_of_the_loss() -> None:
    results = []
    for scale in (1.0, 1e-4):
        torch.manual_seed(2)
        weight, state = fresh(16, 4)
        for _ in range(5):
            weight.grad = torch.randn(16, 4) * scale
            step(weight, state)
        results.append(weight.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)


def test_rows_that_no_token_touched_stay() -> None:
    torch.manual_seed(3)
    weight, state = fresh(8, 4)
    before = weight.detach().clone()
    weight.grad = torch.randn(8, 4)
    weight.grad[3] = 0.0
    step(weight, state)
    assert torch.equal(weight[3], before[3])
    assert torch.isfinite(weight).all()
    assert not torch.equal(weight, before)


def test_zero_gradients_do_no_harm() -> None:
    weight, state = fresh(8, 4)
    before = weight.detach().clone()
    weight.grad = torch.zeros(8, 4)
    step(weight, state)
    assert torch.equal(weight, before)


def test_bfloat16_weights_keep_float32_state() -> None:
    weight, state = fresh(8, 4, dtype=torch.bfloat16)
    weight.grad = torch.randn(8, 4, dtype=torch.bfloat16)
    step(weight, state)
    assert {key: value.dtype for key, value in state.items()} == dict.fromkeys(state, torch.float32)


def test_the_first_step_of_a_young_basis_is_bounded() -> None:
    torch.manual_seed(4)
    weight, state = fresh(32, 8)
    before = weight.detach().clone()
    for _ in range(12):
        weight.grad = torch.randn(32, 8) * torch.logspace(0, -4, 8)
        step(weight, state, lr=1.0)
        moved = (weight.detach() - before).norm(dim=1).max().item()
        before = weight.detach().clone()
        assert moved < 3 * math.sqrt(8 / DAMPING)


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"soap steps matrices .*, got shape \(3,\)"):
        init_soap_state(torch.zeros(3), {})
