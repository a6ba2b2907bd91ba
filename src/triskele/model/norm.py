"""Root-mean-square normalisation (Zhang and Sennrich, 2019), as the Llama layout uses it.

It does not know what it normalises: the residual stream, or a query's or a key's channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Scale each vector to unit root mean square, then each channel by a learned gain."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalised over its last axis."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
