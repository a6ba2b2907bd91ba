"""Rotary position embedding: position as an angle by which queries and keys are turned.

Su et al., *RoFormer* (2021), in the convention of Hugging Face's Llama: channel ``i`` of a head is
paired with channel ``i + C/2`` and both are turned by ``position · theta^(-2i/C)``. A score between
a query and a key then depends on their distance alone. Optionally the wavelengths are stretched
as in Llama 3.1.

Tables are made afresh in every forward pass: that costs microseconds, holds no state, survives any
cast or move of the model, and vanishes under ``torch.compile``.

Shape suffixes: B batch, T tokens, H heads, C channels of a head, P pairs of channels (C/2).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from triskele.model.config import RopeScaling


class Rotation(NamedTuple):
    """Cosines and sines of the angles, shaped (T, P) or (B, 1, T, P)."""

    cos: Tensor
    sin: Tensor


def rotation(
    positions: Tensor,
    head_dim: int,
    *,
    theta: float,
    scaling: RopeScaling | None = None,
    dtype: torch.dtype = torch.float32,
) -> Rotation:
    """Return the turn of every position.

    Parameters
    ----------
    positions : Tensor
        Integers, (T,) when all sequences share them, else (B, T).
    head_dim : int
        Channels of a head, even.
    theta : float
        Base of the wavelengths.
    scaling : RopeScaling, optional
        The Llama 3.1 stretch.
    dtype : torch.dtype
        Of the result; angles are always computed in float32.
    """
    frequencies_P = _frequencies(head_dim, theta, scaling, positions.device)
    angles = positions[..., None].float() * frequencies_P
    if positions.ndim == 2:
        angles = angles[:, None]
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def rotate(x_BHTC: Tensor, turn: Rotation) -> Tensor:
    """Turn every pair of channels of queries or keys by the angle of its position."""
    left, right = x_BHTC.chunk(2, dim=-1)
    return torch.cat(
        (left * turn.cos - right * turn.sin, right * turn.cos + left * turn.sin), dim=-1
    )


def _frequencies(
    head_dim: int, theta: float, scaling: RopeScaling | None, device: torch.device
) -> Tensor:
    """Radians per position of each pair, the stretched ones slower."""
    exponents_P = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    frequencies_P = 1.0 / theta**exponents_P
    if scaling is None:
        return frequencies_P
    wavelengths_P = 2 * math.pi / frequencies_P
    turns_P = scaling.original_max_seq_len / wavelengths_P
    width = scaling.high_freq_factor - scaling.low_freq_factor
    kept_P = ((turns_P - scaling.low_freq_factor) / width).clamp(0, 1)
    return (1 - kept_P) * frequencies_P / scaling.factor + kept_P * frequencies_P
