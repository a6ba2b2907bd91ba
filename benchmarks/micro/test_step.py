"""How long one optimizer step takes: ``pytest benchmarks/micro --benchmark-only``."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn
from torch.optim import Muon

from triskele.optim import DynMuon

SHAPES = [(192, 192)] * 16 + [(512, 192)] * 8 + [(192, 512)] * 4


@pytest.fixture
def matrices() -> list[nn.Parameter]:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return parameters


def test_dynmuon(benchmark: BenchmarkFixture, matrices: list[nn.Parameter]) -> None:
    benchmark(DynMuon(matrices, total_steps=1_000_000).step)
    assert all(parameter.isfinite().all() for parameter in matrices)


def test_torch_muon(benchmark: BenchmarkFixture, matrices: list[nn.Parameter]) -> None:
    benchmark(Muon(matrices).step)
    assert all(parameter.isfinite().all() for parameter in matrices)
