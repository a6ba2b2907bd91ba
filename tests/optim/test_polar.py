import pytest
import torch
from torch.optim._muon import _zeropower_via_newtonschulz

from triskele.optim.polar import MUON, newton_schulz


@pytest.mark.parametrize("shape", [(16, 16), (16, 40), (40, 16), (1, 5), (5, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_default_settings_give_the_bits_of_torch_muon(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    M = torch.randn(*shape).to(dtype)
    expected = _zeropower_via_newtonschulz(M.clone(), MUON, 5, 1e-7)
    assert torch.equal(newton_schulz(M), expected)


def test_a_batch_gives_what_its_matrices_give() -> None:
    torch.manual_seed(1)
    M = torch.randn(3, 2, 8, 12)
    batched = newton_schulz(M, dtype=torch.float32)
    for i in range(3):
        for j in range(2):
            single = newton_schulz(M[i, j], dtype=torch.float32)
            torch.testing.assert_close(batched[i, j], single, rtol=1e-4, atol=1e-5)


def test_singular_values_end_in_the_published_band() -> None:
    torch.manual_seed(2)
    values = torch.linalg.svdvals(newton_schulz(torch.randn(64, 64), dtype=torch.float32))
    assert values.max() < 1.25
    assert values[:-1].min() > 0.3


def test_the_momentum_handed_in_is_left_alone() -> None:
    M = torch.randn(8, 8, dtype=torch.bfloat16)
    before = M.clone()
    newton_schulz(M)
    assert torch.equal(M, before)


def test_a_coefficient_triple_per_step_is_used_in_order() -> None:
    M = torch.diag(torch.tensor([0.6, 0.8]))
    result = newton_schulz(
        M, steps=2, coefficients=[(2.0, 0.0, 0.0), (0.5, 0.0, 0.0)], dtype=torch.float32
    )
    torch.testing.assert_close(result, M)


def test_zero_and_empty_matrices_stay() -> None:
    assert torch.equal(newton_schulz(torch.zeros(3, 4)), torch.zeros(3, 4, dtype=torch.bfloat16))
    assert newton_schulz(torch.zeros(0, 4)).shape == (0, 4)


def test_vectors_and_wrong_coefficients_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a matrix"):
        newton_schulz(torch.zeros(3))
    with pytest.raises(ValueError, match="non-negative number of steps"):
        newton_schulz(torch.zeros(3, 3), steps=-1)
    with pytest.raises(ValueError, match=r"expected one \(a, b, c\) or 5 of them"):
        newton_schulz(torch.zeros(3, 3), coefficients=[MUON, MUON])
