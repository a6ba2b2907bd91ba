import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.spectral import exact_power, matrix_with
from torch.utils.flop_counter import FlopCounterMode

from triskele.optim.chain import CHAINS
from triskele.optim.spectral import multiply_adds, spectral_power

EXPONENTS = (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0)
SHORT, LONG = min(CHAINS), max(CHAINS)


def conditioned(condition: float, shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    m, n = sorted(shape)
    values = np.geomspace(1.0, 1.0 / condition, m)
    M = torch.from_numpy(matrix_with(values, n, seed=seed)).float()
    return M if shape[0] <= shape[1] else M.mT.contiguous()


def error(got: torch.Tensor, M: torch.Tensor, p: float) -> float:
    exact = torch.from_numpy(exact_power(M.double().numpy(), p))
    return ((got.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("shape", [(64, 64), (48, 160), (160, 48)])
@pytest.mark.parametrize(("steps", "condition"), [(SHORT, 10), (SHORT, 100), (LONG, 1000)])
@pytest.mark.parametrize("p", EXPONENTS)
def test_float32_stays_within_four_percent_of_the_decomposition(
    p: float, steps: int, condition: int, shape: tuple[int, int]
) -> None:
    M = conditioned(condition, shape)
    got = spectral_power(M, p, steps=steps, scale="none", dtype=torch.float32)
    assert error(got, M, p) <= 0.04


@pytest.mark.parametrize("decay", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("p", [-0.25, 0.25])
def test_power_law_spectra_agree_with_the_floored_decomposition(p: float, decay: float) -> None:
    values = np.arange(1, 65) ** -decay
    M = torch.from_numpy(matrix_with(values, 96, seed=1)).float()
    steps = LONG if decay > 1.0 else SHORT
    ours = spectral_power(M, p, steps=steps, scale="none", dtype=torch.float32)
    floored = spectral_power(M, p, method="svd", steps=steps, scale="none")
    assert (ours - floored).norm() <= 0.08 * floored.norm()


@pytest.mark.parametrize("p", [-0.25, 0.0, 0.25])
def test_bfloat16_stays_close_where_the_matrix_is_well_conditioned(p: float) -> None:
    M = conditioned(100, (64, 64))
    assert error(spectral_power(M, p, scale="none", dtype=torch.bfloat16), M, p) <= 0.06


@pytest.mark.parametrize("method", ["chain", "svd", "taylor", "scalar"])
def test_rms_gives_every_exponent_the_size_of_a_polar_factor(method: str) -> None:
    M = conditioned(50, (24, 40))
    for p in EXPONENTS:
        size = spectral_power(M, p, method=method).norm().item()  # type: ignore[arg-type]
        assert size == pytest.approx(24**0.5, rel=1e-2)


def test_p_one_is_the_direction_of_the_matrix() -> None:
    M = torch.randn(12, 20)
    torch.testing.assert_close(spectral_power(M, 1.0), M * 12**0.5 / M.norm())


def test_p_zero_agrees_with_muon_up_to_its_own_error() -> None:
    M = conditioned(20, (32, 48))
    ours = spectral_power(M, 0.0, dtype=torch.float32).flatten()
    muon = spectral_power(M, 0.0, method="newton_schulz", dtype=torch.float32).flatten()
    assert torch.cosine_similarity(ours, muon, dim=0) > 0.97


@settings(max_examples=25, deadline=None)
@given(exponent=st.floats(-8, 8), p=st.sampled_from(EXPONENTS))
def test_rms_results_do_not_depend_on_scale(exponent: float, p: float) -> None:
    M = conditioned(30, (12, 16))
    ours = spectral_power(M * 10.0**exponent, p, dtype=torch.float32)
    torch.testing.assert_close(
        ours, spectral_power(M, p, dtype=torch.float32), rtol=1e-3, atol=1e-4
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), p=st.sampled_from(EXPONENTS))
def test_rotations_transposes_and_signs_pass_through(seed: int, p: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    M = conditioned(50, (10, 14), seed=seed)
    P = torch.linalg.qr(torch.randn(10, 10, generator=generator))[0]
    Q = torch.linalg.qr(torch.randn(14, 14, generator=generator))[0]
    plain = spectral_power(M, p, dtype=torch.float32)
    turned = spectral_power(P @ M @ Q, p, dtype=torch.float32)
    torch.testing.assert_close(turned, P @ plain @ Q, rtol=0, atol=5e-3)
    torch.testing.assert_close(
        spectral_power(M.mT, p, dtype=torch.float32), plain.mT, rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        spectral_power(-M, p, dtype=torch.float32), -plain, rtol=0, atol=1e-5
    )


def test_results_move_continuously_with_p() -> None:
    M = conditioned(80, (32, 32))
    previous = spectral_power(M, -0.5, dtype=torch.float32)
    for p in np.arange(-0.49, 1.0, 0.01):
        current = spectral_power(M, float(p), dtype=torch.float32)
        assert (current - previous).norm() < 0.05 * previous.norm()
        previous = current


def test_a_tensor_exponent_gives_what_the_float_gives() -> None:
    M = conditioned(30, (16, 24))
    for p in (-0.25, 0.0, 0.6):
        torch.testing.assert_close(
            spectral_power(M, torch.tensor(p), dtype=torch.float32),
            spectral_power(M, p, dtype=torch.float32),
            rtol=1e-3,
            atol=1e-4,
        )


@pytest.mark.parametrize("p", [-0.25, 0.0, 0.25])
def test_zero_rank_one_and_thin_matrices_are_defined(p: float) -> None:
    assert torch.equal(spectral_power(torch.zeros(4, 6), p), torch.zeros(4, 6))
    outer = torch.outer(torch.arange(1.0, 5.0), torch.arange(1.0, 7.0))
    direction = spectral_power(outer, p, dtype=torch.float32)
    torch.testing.assert_close(
        direction / direction.norm(), outer / outer.norm(), rtol=0, atol=1e-2
    )
    for shape in ((1, 7), (7, 1)):
        vector = torch.randn(*shape)
        torch.testing.assert_close(
            spectral_power(vector, p, dtype=torch.float32),
            vector / vector.norm(),
            rtol=0,
            atol=1e-3,
        )
    assert spectral_power(torch.zeros(0, 3), p).shape == (0, 3)


@pytest.mark.parametrize("method", ["chain", "svd", "newton_schulz", "taylor", "scalar"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_matrix_that_is_not_finite_spoils_only_itself(method: str, wrong: float) -> None:
    M = torch.randn(3, 6, 8)
    M[1, 2, 3] = wrong
    got = spectral_power(M, -0.1, method=method)  # type: ignore[arg-type]
    assert got[1].isnan().all()
    assert got[0].isfinite().all()
    assert got[2].isfinite().all()


def test_leading_dimensions_are_a_batch() -> None:
    M = torch.randn(2, 3, 6, 10)
    batched = spectral_power(M, -0.2, dtype=torch.float32)
    for i, j in itertools.product(range(2), range(3)):
        single = spectral_power(M[i, j], -0.2, dtype=torch.float32)
        torch.testing.assert_close(batched[i, j], single, rtol=1e-3, atol=1e-4)


def test_the_published_update_follows_its_formula() -> None:
    M = conditioned(10, (8, 12)).double()
    p, delta = -0.25, -0.125
    N = M / M.norm()
    E = N @ N.mT - torch.eye(8).double()
    C = torch.eye(8).double() + delta * E + delta * (delta - 1) / 2 * E @ E
    polar = torch.from_numpy(exact_power(M.numpy(), 0.0))
    expected = M.norm() ** p * C @ polar
    got = spectral_power(M.float(), p, method="taylor", scale="reference", dtype=torch.float32)
    assert (got.double() - expected).norm() < 0.04 * expected.norm()
    control = spectral_power(M.float(), p, method="scalar", scale="reference", dtype=torch.float32)
    size = M.norm() ** p * (1 - delta + delta * (delta - 1) / 2) * 8**0.5
    assert control.norm().item() == pytest.approx(size.item(), rel=0.04)


@pytest.mark.parametrize("shape", [(32, 32), (32, 128), (128, 32), (2, 16, 24)])
@pytest.mark.parametrize("steps", sorted(CHAINS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_stated_cost_is_what_is_run(
    shape: tuple[int, ...], steps: int, dtype: torch.dtype
) -> None:
    with FlopCounterMode(display=False) as counter:
        spectral_power(torch.randn(*shape), -0.2, steps=steps, dtype=dtype)
    assert counter.get_total_flops() == 2 * multiply_adds(shape, p=-0.2, steps=steps, dtype=dtype)


def test_the_default_chain_costs_no_more_than_muon() -> None:
    for shape in ((64, 64), (64, 256), (256, 64)):
        muon = multiply_adds(shape, method="newton_schulz")
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            assert multiply_adds(shape, p=-0.2, dtype=dtype) <= muon


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 1.5}, r"expected p in \[-0.5, 1.0\], got 1.5"),
        ({"method": "qr"}, "expected a method of"),
        ({"scale": "unit"}, "expected a scale of"),
        ({"steps": 3}, "expected steps of"),
        ({"M": torch.zeros(3)}, "expected floating matrices"),
        ({"M": torch.zeros(3, 3, dtype=torch.int64)}, "expected floating matrices"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spectral_power(**{"M": torch.ones(3, 3), "p": 0.0, **arguments})  # type: ignore[arg-type]
