from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks import fit_spectral_chain as fitting

from triskele.optim.chain import CHAINS, P_MAX, P_MIN, apply_chain, bound_largest

EXPONENTS = np.linspace(P_MIN, P_MAX, 31)
STEPS = sorted(CHAINS)


def gain(steps: int, x: np.ndarray, p: float) -> np.ndarray:
    """Return what the chain makes of singular values x when its bound b is 1."""
    chain = CHAINS[steps]
    weights = [float(w) for w in chain.weights(float(p))]
    n = chain.steps
    value, read = x.copy(), np.full_like(x, weights[1])
    for t, (a, b, c) in enumerate(chain.quintics):
        square = value**2 - chain.centres[t]
        step = b * square + c * square**2
        read += weights[2 + t] * square + weights[2 + n + t] * step
        value = value * (a + step)
    square = value**2 - chain.centres[-1]
    read += weights[1 + n] * square + weights[2 * n + 1] * square**2
    return weights[0] * x + read * value


@pytest.mark.parametrize("steps", STEPS)
def test_every_singular_value_above_the_floor_has_the_stated_error(steps: int) -> None:
    chain = CHAINS[steps]
    x = np.concatenate([np.geomspace(chain.floor, 1.0, 4000), np.linspace(0.8, 1.0, 4000)])
    for p in EXPONENTS:
        error = np.abs(gain(steps, x, p) / x**p - 1.0)
        assert error.max() <= chain.error * (1.0 - p) + 1e-12


@pytest.mark.parametrize("steps", STEPS)
def test_the_stated_error_is_at_most_three_percent(steps: int) -> None:
    assert CHAINS[steps].error * (1.0 - P_MIN) <= 0.03


@pytest.mark.parametrize("steps", STEPS)
def test_below_the_floor_the_gain_levels_off_and_the_output_falls_to_zero(steps: int) -> None:
    chain = CHAINS[steps]
    x = np.linspace(1e-6, 1.0, 4000) * chain.floor
    for p in EXPONENTS[:-1]:
        y = gain(steps, x, p)
        amplification = y / x / chain.floor ** (p - 1.0)
        assert (np.diff(amplification) <= 1e-9).all()
        assert amplification[0] <= 1.85
        assert 0.0 < y[0] < 2e-6 * chain.floor**p
        assert y.max() <= (1.0 + chain.error * (1.0 - p)) * chain.floor**p


@pytest.mark.parametrize("steps", STEPS)
def test_a_bound_that_is_four_percent_low_does_no_harm(steps: int) -> None:
    x = np.linspace(1.0, 1.04, 400)
    for p in EXPONENTS:
        assert np.abs(gain(steps, x, p) / x**p - 1.0).max() <= 0.12


@pytest.mark.parametrize("steps", STEPS)
def test_an_iterate_that_rounding_has_raised_by_one_percent_does_no_harm(steps: int) -> None:
    chain = fitted(steps)
    peaks = fitting.iterates(chain.quintics, np.linspace(0, 1, 5000), centres=chain.centres)
    for t, peak in enumerate(y.max() for y in peaks):
        raised = np.array([1.01 * peak])
        onward = fitting.iterates(chain.quintics[t:], raised, centres=chain.centres[t:])
        assert onward[-1].max() < 1.1


@pytest.mark.parametrize("steps", STEPS)
def test_p_one_reads_the_matrix_and_nothing_else(steps: int) -> None:
    weights = CHAINS[steps].weights(1.0)
    assert weights[0] == 1.0
    assert not any(weights[1:])


@pytest.mark.parametrize("steps", STEPS)
def test_weights_of_a_tensor_are_those_of_the_float(steps: int) -> None:
    for p in EXPONENTS:
        floats = torch.tensor([float(w) for w in CHAINS[steps].weights(float(p))])
        tensors = torch.stack([torch.as_tensor(w) for w in CHAINS[steps].weights(torch.tensor(p))])
        torch.testing.assert_close(floats, tensors, rtol=1e-4, atol=1e-4)


def test_a_tensor_beyond_the_range_is_taken_to_its_nearer_end() -> None:
    for outside, end in ((-2.0, P_MIN), (3.0, P_MAX)):
        beyond = torch.stack(list(CHAINS[5].weights(torch.tensor(outside))))
        torch.testing.assert_close(beyond, torch.stack(list(CHAINS[5].weights(torch.tensor(end)))))


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0, 2.0])
def test_the_bound_is_above_the_largest_and_closer_than_the_norm(decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(200, 64, generator=generator).double() + 0.01
    values = values * torch.arange(1, 65) ** -decay
    sums = [(values**k).sum(-1) for k in (2, 3, 4)]
    bound, largest = bound_largest(*sums), values.amax(-1)
    assert (bound >= largest * (1 - 1e-12)).all()
    assert (bound <= sums[2] ** 0.25 * (1 + 1e-12)).all()
    assert (bound / largest).max() < 1.5


@pytest.mark.parametrize("n_equal", [1, 2, 7])
def test_few_distinct_eigenvalues_leave_the_bound_a_bound(n_equal: int) -> None:
    values = torch.zeros(32)
    values[:n_equal] = 3.0
    values[n_equal : n_equal + 1] = 0.3
    bound = bound_largest(*((values**k).sum() for k in (2, 3, 4)))
    assert 3.0 * (1 - 1e-5) <= bound.item() <= 3.0 * n_equal**0.25


@pytest.mark.parametrize("steps", STEPS)
def test_gram_form_and_factor_form_agree(steps: int) -> None:
    torch.manual_seed(0)
    M = torch.randn(2, 24, 37)
    weights = CHAINS[steps].weights(-0.3)
    wide = torch.cat([M, torch.zeros(2, 24, 11)], -1)
    factor, b = apply_chain(M, CHAINS[steps], weights, dtype=torch.float32)
    gram, same_b = apply_chain(wide, CHAINS[steps], weights, dtype=torch.float32)
    assert CHAINS[steps].multiply_adds(24, 48, torch.float32) != steps * (2 * 24**2 * 48 + 24**3)
    torch.testing.assert_close(gram[..., :37], factor, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(b, same_b)
    assert not gram[..., 37:].any()


@pytest.mark.parametrize("steps", STEPS)
def test_the_fit_derives_the_readout(steps: int) -> None:
    ours = fitted(steps)
    table = fitting.readout(ours.quintics, ours.centres, ours.floor, n=240, rounds=30)
    derived = replace(ours, table=table)
    assert fitting.worst(derived) <= 1.1 * ours.error
    x, p = np.geomspace(ours.floor, 1.0, 500), fitting.powers(9)
    difference = fitting.errors(ours, x, p) - fitting.errors(derived, x, p)
    assert np.abs(difference).max() <= 0.2 * ours.error


@pytest.mark.parametrize("steps", STEPS)
def test_the_centres_are_the_means_that_the_fit_takes(steps: int) -> None:
    ours = fitted(steps)
    centres, again = fitting.centred(raw(ours), ours.floor)
    np.testing.assert_array_equal(centres, ours.centres)
    np.testing.assert_allclose(again, ours.quintics, rtol=1e-12)


@pytest.mark.parametrize("steps", STEPS)
def test_no_nearby_quintics_fit_better(steps: int) -> None:
    ours = fitted(steps)
    here, _ = fitting.improve(raw(ours), ours.floor, n=200, evaluations=1)
    noise = np.random.default_rng(0).standard_normal(ours.quintics.shape)
    shaken = raw(ours) * (1.0 + 0.002 * noise)
    before, _ = fitting.improve(shaken, ours.floor, n=200, evaluations=1)
    after, _ = fitting.improve(shaken, ours.floor, n=200, evaluations=60)
    assert before > here
    assert after >= 0.98 * here


def fitted(steps: int) -> fitting.Fit:
    chain = CHAINS[steps]
    return fitting.Fit(
        floor=chain.floor,
        centres=np.array(chain.centres),
        quintics=np.array(chain.quintics),
        table=np.array(chain.table),
        error=chain.error,
    )


def raw(chain: fitting.Fit) -> np.ndarray:
    """Return the quintics in powers of x² itself."""
    (a, b, c), middle = chain.quintics.T, chain.centres[:-1]
    return np.stack([a - b * middle + c * middle**2, b - 2 * c * middle, c], axis=1)
