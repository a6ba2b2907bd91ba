import torch

from triskele.model.norm import RMSNorm


def test_vectors_have_unit_mean_square_times_the_gain() -> None:
    norm = RMSNorm(64, eps=1e-12)
    torch.nn.init.constant_(norm.weight, 3.0)
    x = torch.randn(5, 2, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(x).square().mean(-1), torch.full((5, 2), 9.0))
    torch.testing.assert_close(norm(7 * x), norm(x))
