import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.spectral import exact_power, floored_power, matrix_with, published_power
from torch._dynamo.testing import CompileCounter
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim._muon import _zeropower_via_newtonschulz
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from triskele.optim.chain import CHAINS
from triskele.optim.polar import MUON
from triskele.optim.spectral import Method, multiply_adds, spectral_power

EXPONENTS = (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0)
METHODS: tuple[Method, ...] = ("chain", "svd", "newton_schulz", "taylor", "scalar")
STEPS = sorted(CHAINS)
SHAPES = [(64, 64), (56, 72), (48, 192), (192, 48)]
# The largest condition number that each chain claims, and spectra within it.
CONDITIONS = {5: 100, 6: 350, 7: 1000}
SPECTRA = {
    "κ=10": lambda m: np.geomspace(1.0, 0.1, m),
    "κ=100": lambda m: np.geomspace(1.0, 0.01, m),
    "κ=350": lambda m: np.geomspace(1.0, 1 / 350, m),
    "κ=1000": lambda m: np.geomspace(1.0, 1e-3, m),
    "linear, κ=50": lambda m: np.linspace(1.0, 0.02, m),
    "i^-0.5": lambda m: np.arange(1.0, m + 1) ** -0.5,
    "i^-1": lambda m: np.arange(1.0, m + 1) ** -1.0,
    "i^-1.5": lambda m: np.arange(1.0, m + 1) ** -1.5,
    "one and many": lambda m: np.where(np.arange(m) == 0, 1.0, 0.02),
}


def example(spectrum: str, shape: tuple[int, int], *, seed: int = 0) -> torch.Tensor:
    small, large = sorted(shape)
    M = torch.from_numpy(matrix_with(SPECTRA[spectrum](small), large, seed=seed)).float()
    return M if shape[0] <= shape[1] else M.mT.contiguous()


def distance(got: torch.Tensor, exact: np.ndarray) -> float:
    expected = torch.from_numpy(exact)
    return ((got.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("steps", "spectrum"),
    [
        (steps, spectrum)
        for steps, spectrum in itertools.product(STEPS, SPECTRA)
        if 1.0 / SPECTRA[spectrum](64)[-1] <= 1.01 * CONDITIONS[steps]
    ],
)
def test_float32_is_within_the_stated_error_of_the_decomposition(
    steps: int, spectrum: str, shape: tuple[int, int]
) -> None:
    M = example(spectrum, shape)
    for p in EXPONENTS:
        got = spectral_power(M, p, steps=steps, scale="none", dtype=torch.float32)
        stated = CHAINS[steps].error * (1.0 - p)
        assert distance(got, exact_power(M.double().numpy(), p)) <= stated + 2e-3


@pytest.mark.parametrize("given_as", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("steps", "spectrum"), [(5, "κ=10"), (5, "κ=100"), (5, "i^-0.5"), (7, "κ=1000")]
)
def test_half_precision_is_within_three_percent_of_the_decomposition(
    steps: int,
    spectrum: str,
    shape: tuple[int, int],
    dtype: torch.dtype,
    given_as: torch.dtype,
) -> None:
    M = example(spectrum, shape).to(given_as)
    for p in EXPONENTS:
        got = spectral_power(M, p, steps=steps, scale="none", dtype=dtype)
        assert got.dtype == given_as
        limit = 0.045 if dtype == torch.float16 and steps == 7 and p < 0 else 0.03
        assert distance(got, exact_power(M.double().numpy(), p)) <= limit


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("p", [-0.5, -0.25, 0.0, 0.5])
def test_beyond_the_floor_the_oracle_with_the_same_floor_is_followed(steps: int, p: float) -> None:
    values = np.geomspace(1.0, 1e-5, 64)
    M = torch.from_numpy(matrix_with(values, 96, seed=3)).float()
    ours = spectral_power(M, p, steps=steps, scale="none", dtype=torch.float32)
    oracle = spectral_power(M, p, method="svd", steps=steps, scale="none")
    assert (ours - oracle).norm() <= (0.25 if p < 0 else 0.15) * oracle.norm()
    # Nothing is amplified beyond what the floor itself is raised to.
    chain = CHAINS[steps]
    b = 1.1
    top = (1.0 + chain.error * (1.0 - p)) * max(1.0, (chain.floor / b) ** p)
    assert torch.linalg.svdvals(ours.double())[0] <= 1.01 * top


@pytest.mark.parametrize("p", [-0.5, -0.1, 0.5])
def test_the_oracle_of_the_library_is_the_floored_decomposition(p: float) -> None:
    M = torch.from_numpy(matrix_with(np.r_[1.0, np.full(9, 1e-4)], 16, seed=0))
    # One value that dwarfs the rest is its own bound.
    floored = floored_power(M.numpy(), p, CHAINS[5].floor)
    assert distance(spectral_power(M, p, method="svd", scale="none"), floored) <= 1e-6


@pytest.mark.parametrize("method", [m for m in METHODS if m != "newton_schulz"])
def test_rms_gives_every_exponent_the_size_of_a_polar_factor(method: Method) -> None:
    for shape in ((24, 40), (40, 24)):
        M = example("κ=100", shape)
        for p in EXPONENTS:
            size = spectral_power(M, p, method=method).norm().item()
            assert size == pytest.approx(math.sqrt(24), rel=1e-5)


@pytest.mark.parametrize("method", ["chain", "svd"])
def test_reference_and_none_have_the_size_of_the_power_itself(method: Method) -> None:
    M = 37.0 * example("κ=10", (20, 30))
    for p in EXPONENTS:
        exact = np.linalg.norm(exact_power(M.double().numpy(), p))
        for scale in ("reference", "none"):
            got = spectral_power(M, p, method=method, scale=scale, dtype=torch.float32)  # type: ignore[arg-type]
            assert got.norm().item() == pytest.approx(exact, rel=0.02)


def test_p_one_is_the_direction_of_the_matrix() -> None:
    M = torch.randn(12, 20, generator=torch.Generator().manual_seed(0))
    unit = M * math.sqrt(12) / M.norm()
    torch.testing.assert_close(spectral_power(M, 1.0), unit)
    torch.testing.assert_close(
        spectral_power(M, torch.tensor(1.0), dtype=torch.float32), unit, rtol=1e-5, atol=1e-5
    )
    assert torch.equal(spectral_power(M, 1.0, scale="none"), M)


def test_newton_schulz_is_the_step_of_torch_muon() -> None:
    M = torch.randn(16, 24, generator=torch.Generator().manual_seed(0))
    ours = spectral_power(M, 0.0, method="newton_schulz", dtype=torch.bfloat16)
    muon = _zeropower_via_newtonschulz(M.clone(), MUON, 5, 1e-7).float()
    torch.testing.assert_close(ours, muon, rtol=0, atol=2e-2)


def test_p_zero_has_the_direction_of_muon_up_to_its_own_error() -> None:
    M = example("κ=10", (48, 64))
    ours = spectral_power(M, 0.0, dtype=torch.float32).flatten()
    muon = spectral_power(M, 0.0, method="newton_schulz", dtype=torch.float32).flatten()
    assert torch.cosine_similarity(ours, muon, dim=0) > 0.98


@settings(max_examples=30, deadline=None)
@given(exponent=st.floats(-8, 8), p=st.sampled_from(EXPONENTS), dtype=st.sampled_from([0, 1, 2]))
def test_rms_results_do_not_depend_on_scale(exponent: float, p: float, dtype: int) -> None:
    compute = (torch.float32, torch.bfloat16, torch.float16)[dtype]
    M = example("κ=100", (12, 16))
    ours = spectral_power(M * 10.0**exponent, p, dtype=compute)
    plain = spectral_power(M, p, dtype=compute)
    assert (ours - plain).norm() <= (1e-4, 2e-2, 3e-3)[dtype] * plain.norm()


@settings(max_examples=15, deadline=None)
@given(exponent=st.floats(-6, 6), p=st.sampled_from(EXPONENTS))
def test_the_power_itself_is_homogeneous_of_degree_p(exponent: float, p: float) -> None:
    M, factor = example("κ=10", (12, 16)), 10.0**exponent
    ours = spectral_power(M * factor, p, scale="none", dtype=torch.float32)
    plain = spectral_power(M, p, scale="none", dtype=torch.float32) * factor**p
    assert (ours - plain).norm() <= 1e-3 * plain.norm()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    p=st.sampled_from(EXPONENTS),
    shape=st.sampled_from([(10, 14), (10, 24), (10, 10)]),
)
def test_rotations_transposes_and_signs_pass_through(
    seed: int, p: float, shape: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    M = example("κ=100", shape, seed=seed)
    P = torch.linalg.qr(torch.randn(shape[0], shape[0], generator=generator))[0]
    Q = torch.linalg.qr(torch.randn(shape[1], shape[1], generator=generator))[0]
    plain = spectral_power(M, p, dtype=torch.float32)
    turned = spectral_power(P @ M @ Q, p, dtype=torch.float32)
    torch.testing.assert_close(turned, P @ plain @ Q, rtol=0, atol=2e-3)
    flipped = spectral_power(M.mT, p, dtype=torch.float32)
    torch.testing.assert_close(flipped, plain.mT, rtol=0, atol=1e-5)
    negative = spectral_power(-M, p, dtype=torch.float32)
    torch.testing.assert_close(negative, -plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", STEPS)
def test_results_move_continuously_with_p(steps: int) -> None:
    M = example("κ=100", (32, 40))
    previous = spectral_power(M, -0.5, steps=steps, dtype=torch.float32)
    for p in np.linspace(-0.5, 1.0, 151)[1:]:
        current = spectral_power(M, float(p), steps=steps, dtype=torch.float32)
        assert (current - previous).norm() <= 0.02 * previous.norm()
        previous = current


def test_a_tensor_exponent_gives_what_the_float_gives() -> None:
    M = example("κ=100", (16, 24))
    for method, p in itertools.product(METHODS, (-0.25, 0.0, 0.6)):
        torch.testing.assert_close(
            spectral_power(M, torch.tensor(p), method=method, dtype=torch.float32),
            spectral_power(M, p, method=method, dtype=torch.float32),
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_moving_tensor_exponent_compiles_once_into_one_graph() -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(spectral_power, fullgraph=True, backend=counter)
    M = example("κ=100", (16, 24))
    for p in torch.linspace(-0.5, 1.0, 7):
        torch.testing.assert_close(compiled(M, p), spectral_power(M, p))
    assert counter.frame_count == 1


def test_on_cuda_every_product_is_in_float16_and_nothing_is_read_on_the_host() -> None:
    # Fake tensors know shapes, dtypes and devices, and refuse to be read.
    with FakeTensorMode(), Operations() as run:
        M, p = torch.empty(3, 8, 12, device="cuda"), torch.empty((), device="cuda")
        got = spectral_power(M, p)
    assert (got.device.type, got.dtype) == ("cuda", torch.float32)
    products = [dtype for name, dtype in run.seen if "mm" in name]
    assert products == 15 * [torch.float16]


class Operations(TorchDispatchMode):
    """Remembers the name and the result's dtype of every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, object]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        self.seen.append((str(function), getattr(result, "dtype", None)))
        return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("p", [-0.5, 0.0, 0.25, 1.0])
def test_zero_and_empty_matrices_give_zeros(method: Method, p: float) -> None:
    M = torch.zeros(2, 4, 6)
    M[1] = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    for scale in ("rms", "reference", "none"):
        got = spectral_power(M, p, method=method, scale=scale)  # type: ignore[arg-type]
        assert not got[0].any()
        assert got[1].isfinite().all()
        assert got[1].any()
        for shape in ((0, 3), (3, 0), (0, 2, 2), (2, 0, 3)):
            assert spectral_power(torch.zeros(shape), p, method=method).shape == shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [-0.5, -0.25, 0.0, 0.5])
def test_vectors_keep_their_direction(p: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 7), (7, 1), (1, 1)):
        vector = torch.randn(shape, generator=generator)
        got = spectral_power(vector, p, dtype=dtype)
        torch.testing.assert_close(got, vector / vector.norm())


# Half precisions fill a null space with their rounding, which a very negative p then lifts.
@pytest.mark.parametrize(
    ("dtype", "p", "limit"),
    [
        *((torch.float32, p, 0.03) for p in (-0.5, -0.1, 0.5)),
        *((torch.float16, p, 0.04) for p in (-0.1, 0.5)),
        *((torch.bfloat16, p, 0.25) for p in (-0.1, 0.5)),
    ],
)
@pytest.mark.parametrize("shape", [(24, 24), (16, 40)])
def test_a_null_space_stays_empty(
    dtype: torch.dtype, p: float, limit: float, shape: tuple[int, int]
) -> None:
    values = np.r_[1.0, 0.5, 0.1, np.zeros(shape[0] - 3)]
    M = torch.from_numpy(matrix_with(values, shape[1], seed=0)).float()
    U, _, Vh = np.linalg.svd(M.double().numpy(), full_matrices=False)
    exact = (U[:, :3] * values[:3] ** p) @ Vh[:3]
    assert distance(spectral_power(M, p, scale="none", dtype=dtype), exact) <= limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spectrum", ["flat", "one", "geometric to 1e-6"])
def test_extreme_spectra_stay_finite(spectrum: str, dtype: torch.dtype) -> None:
    values = {
        "flat": np.ones(96),
        "one": np.r_[1.0, np.zeros(95)],
        "geometric to 1e-6": np.geomspace(1.0, 1e-6, 96),
    }[spectrum]
    M = torch.from_numpy(matrix_with(values, 96, seed=0)).float()
    for p, steps in itertools.product((-0.5, 0.0, 0.5), STEPS):
        got = spectral_power(M, p, steps=steps, scale="none", dtype=dtype)
        top = torch.linalg.matrix_norm(got.float(), 2)
        assert top <= 1.1 * max(1.0, CHAINS[steps].floor ** p)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(3, 6, 8), (3, 6, 20), (3, 8, 6)])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_matrix_that_is_not_finite_spoils_only_itself(
    method: Method, shape: tuple[int, int, int], wrong: float
) -> None:
    M = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    clean = M.clone()
    M[1, 2, 3] = wrong
    for p in (-0.1, 0.1, 1.0):
        got = spectral_power(M, p, method=method)
        assert got[1].isnan().all()
        torch.testing.assert_close(got[::2], spectral_power(clean, p, method=method)[::2])


@pytest.mark.parametrize("method", METHODS)
def test_leading_dimensions_are_a_batch(method: Method) -> None:
    M = torch.randn(2, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    batched = spectral_power(M, -0.2, method=method, dtype=torch.float32)
    for i, j in itertools.product(range(2), range(3)):
        single = spectral_power(M[i, j], -0.2, method=method, dtype=torch.float32)
        torch.testing.assert_close(batched[i, j], single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_result_has_the_dtype_of_the_input_which_is_left_alone(
    method: Method, dtype: torch.dtype
) -> None:
    M = example("κ=10", (8, 12)).to(dtype)
    before = M.clone()
    for p in (-0.2, 0.5, 1.0):
        assert spectral_power(M, p, method=method).dtype == dtype
    assert torch.equal(M, before)


def test_no_gradient_is_recorded() -> None:
    M = torch.randn(4, 6, requires_grad=True)
    assert not spectral_power(M, -0.2).requires_grad


@pytest.mark.parametrize("p", [-0.5, -0.25, -0.1])
def test_the_published_update_follows_its_formula_below_zero(p: float) -> None:
    M = 5.0 * example("κ=10", (8, 12))
    expected = published_power(M.double().numpy(), p)
    got = spectral_power(M, p, method="taylor", scale="reference", dtype=torch.float32)
    assert distance(got, expected) <= 0.035
    without = spectral_power(M, p, method="taylor", scale="none", dtype=torch.float32)
    torch.testing.assert_close(without * M.norm() ** p, got)
    tall = spectral_power(M.mT, p, method="taylor", scale="reference", dtype=torch.float32)
    torch.testing.assert_close(tall.mT, got)


def test_the_published_update_ignores_p_above_zero() -> None:
    M = 5.0 * example("κ=10", (8, 12))
    polar = exact_power(M.double().numpy(), 0.0)
    for p in (0.0, 0.2):
        for method in ("taylor", "scalar"):
            got = spectral_power(M, p, method=method, scale="reference", dtype=torch.float32)  # type: ignore[arg-type]
            assert distance(got, polar) <= 0.035
    for p in (0.25, 0.7):
        got = spectral_power(M, p, method="taylor", scale="reference")
        torch.testing.assert_close(got, M)


@pytest.mark.parametrize("p", [-0.5, -0.25, -0.1, 0.0, 0.2, 0.25, 0.9])
def test_the_control_is_the_polar_factor_at_the_published_size(p: float) -> None:
    M = 5.0 * example("i^-0.5", (40, 60))
    control = spectral_power(M, p, method="scalar", scale="reference", dtype=torch.float32)
    polar = torch.from_numpy(exact_power(M.double().numpy(), 0.0)).float()
    cosine = torch.cosine_similarity(control.flatten(), polar.flatten(), dim=0)
    assert cosine > 0.999
    published = spectral_power(M, p, method="taylor", scale="reference", dtype=torch.float32)
    assert control.norm().item() == pytest.approx(published.norm().item(), rel=0.02)


@pytest.mark.parametrize("shape", [(32, 32), (32, 44), (32, 128), (128, 32), (2, 3, 16, 24)])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [-0.2, 1.0])
def test_the_stated_cost_of_a_chain_is_what_is_run(
    shape: tuple[int, ...], steps: int, dtype: torch.dtype, p: float
) -> None:
    with FlopCounterMode(display=False) as counter:
        spectral_power(torch.randn(shape), p, steps=steps, dtype=dtype)
    assert counter.get_total_flops() == 2 * multiply_adds(shape, p=p, steps=steps, dtype=dtype)


@pytest.mark.parametrize("method", ["newton_schulz", "taylor", "scalar"])
@pytest.mark.parametrize("p", [-0.2, 0.1, 0.5])
def test_the_stated_cost_of_the_other_methods_is_what_is_run(method: Method, p: float) -> None:
    for shape in ((3, 16, 24), (40, 16)):
        with FlopCounterMode(display=False) as counter:
            spectral_power(torch.randn(shape), p, method=method)
        assert counter.get_total_flops() == 2 * multiply_adds(shape, p=p, method=method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_chain_costs_more_than_as_many_steps_of_muon(dtype: torch.dtype) -> None:
    for shape in ((64, 64), (64, 90), (64, 97), (64, 256), (256, 64), (1, 9), (5, 64, 100)):
        for steps in STEPS:
            muon = multiply_adds(shape, method="newton_schulz", steps=steps)
            assert multiply_adds(shape, p=-0.2, steps=steps, dtype=dtype) <= muon


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 1.5}, r"expected p in \[-0.5, 1.0\], got 1.5"),
        ({"p": math.nan}, r"expected p in \[-0.5, 1.0\], got nan"),
        ({"p": torch.zeros(2)}, r"expected p as a float or a 0-dim tensor, got shape \(2,\)"),
        ({"method": "qr"}, "expected a method of"),
        ({"scale": "unit"}, "expected a scale of"),
        ({"steps": 3}, r"expected steps of \(5, 6, 7\) for method 'chain', got 3"),
        ({"steps": 6, "method": "taylor"}, "expected the 5 steps that method 'taylor' has, got 6"),
        ({"M": torch.zeros(3)}, r"expected floating matrices of shape \(..., m, n\)"),
        ({"M": torch.zeros(3, 3, dtype=torch.int64)}, "expected floating matrices"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spectral_power(**{"M": torch.ones(3, 3), "p": 0.0, **arguments})  # type: ignore[arg-type]


def test_a_decomposition_has_no_count_of_products() -> None:
    with pytest.raises(ValueError, match="made of matrix products"):
        multiply_adds((3, 3), method="svd")
