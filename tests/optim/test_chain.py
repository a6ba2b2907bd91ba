import numpy as np
import pytest
import torch

from triskele.optim.chain import CHAINS, P_MAX, P_MIN, bound_largest
from triskele.optim.spectral import spectral_power

EXPONENTS = (-0.5, -0.3, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


def gain(steps: int, x: np.ndarray, p: float) -> np.ndarray:
    """Return what the chain makes of singular values x when its bound b is 1."""
    chain = CHAINS[steps]
    weights = [float(w) for w in chain.weights(p)]
    n = chain.steps
    value, read = x.copy(), np.full_like(x, weights[1])
    for t, (a, b, c) in enumerate(chain.quintics):
        square = value**2
        step = b * square + c * square**2
        read += weights[2 + t] * square + weights[2 + n + t] * step
        value = value * (a + step)
    read += weights[1 + n] * value**2 + weights[2 * n + 1] * value**4
    return weights[0] * x + read * value


@pytest.mark.parametrize("steps", sorted(CHAINS))
@pytest.mark.parametrize("p", EXPONENTS)
def test_every_singular_value_above_the_floor_has_the_stated_error(steps: int, p: float) -> None:
    chain = CHAINS[steps]
    x = np.geomspace(chain.floor, 1.0, 4000)
    error = np.abs(gain(steps, x, p) / x**p - 1.0)
    assert error.max() <= 1.05 * chain.error * (1.0 - p)


@pytest.mark.parametrize("steps", sorted(CHAINS))
@pytest.mark.parametrize("p", [-0.5, -0.25, 0.25])
def test_below_the_floor_the_gain_is_bounded_and_falls_to_zero(steps: int, p: float) -> None:
    floor = CHAINS[steps].floor
    x = np.geomspace(1e-9, floor, 2000)
    y = gain(steps, x, p)
    assert y.min() > 0.0
    assert y.max() <= 1.1 * floor**p
    assert y[0] < 1e-3 * floor**p


@pytest.mark.parametrize("steps", sorted(CHAINS))
def test_a_bound_that_is_a_little_low_does_no_harm(steps: int) -> None:
    x = np.linspace(1.0, 1.02, 50)
    for p in EXPONENTS:
        assert np.abs(gain(steps, x, p) / x**p - 1.0).max() < 0.25


@pytest.mark.parametrize("steps", sorted(CHAINS))
def test_weights_of_a_tensor_are_those_of_the_float(steps: int) -> None:
    for p in (P_MIN, -0.2, 0.0, 0.6, P_MAX):
        floats = torch.tensor([float(w) for w in CHAINS[steps].weights(p)])
        tensors = torch.stack([torch.as_tensor(w) for w in CHAINS[steps].weights(torch.tensor(p))])
        torch.testing.assert_close(floats, tensors, rtol=1e-4, atol=1e-4)


def test_the_bound_is_above_the_largest_and_close_to_it() -> None:
    generator = torch.Generator().manual_seed(0)
    for decay in (0.0, 0.5, 1.0, 2.0):
        values = torch.rand(40, 64, generator=generator).double() + 0.01
        values = values * torch.arange(1, 65) ** -decay
        sums = [(values**k).sum(-1, keepdim=True) for k in (2, 3, 4)]
        bound = bound_largest(*sums)
        largest = values.amax(-1, keepdim=True)
        assert (bound >= largest * (1 - 1e-9)).all()
        assert (bound <= largest * 2.0).all()


def test_identity_and_rank_one_reach_their_own_bound() -> None:
    for M in (torch.eye(16), torch.outer(torch.ones(16), torch.arange(1.0, 17.0))):
        out = spectral_power(M, -0.25, scale="none", dtype=torch.float32)
        top = torch.linalg.svdvals(M)[0]
        torch.testing.assert_close(torch.linalg.svdvals(out)[0], top**-0.25, rtol=5e-2, atol=0.0)
