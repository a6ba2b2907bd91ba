"""How long one batch of matrices takes: ``pytest benchmarks/micro --benchmark-only``."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from triskele.optim import newton_schulz, spectral_power

SIZES = [(16, 256, 256), (4, 256, 1024), (4, 768, 768)]


@pytest.fixture(params=SIZES, ids=lambda size: "×".join(map(str, size)))
def matrices(request: pytest.FixtureRequest) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(request.param)


@pytest.mark.parametrize("p", [0.25, -0.25])
def test_spectral_power(benchmark: BenchmarkFixture, matrices: torch.Tensor, p: float) -> None:
    result = benchmark(spectral_power, matrices, p)
    assert result.shape == matrices.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_newton_schulz(
    benchmark: BenchmarkFixture, matrices: torch.Tensor, dtype: torch.dtype
) -> None:
    result = benchmark(newton_schulz, matrices, dtype=dtype)
    assert result.shape == matrices.shape
