"""Fractional powers of the singular values, U Σᵖ Vᵀ, from matrix products alone (thin version)."""

import math
from typing import Literal

import torch
from torch import Tensor

from triskele.optim.polar import newton_schulz

Method = Literal["chain", "svd", "taylor", "scalar", "newton_schulz"]
Scale = Literal["rms", "reference", "none"]
CHAIN = (
    (3.14854, -5.21926, 2.50791),
    (3.82981, -6.89579, 3.59407),
    (3.06433, -4.02399, 1.53831),
    (3.45650, -5.24554, 2.27816),
    (4.29349, -4.65835, 1.89729),
    (15.58561, -6.17952, 0.92872),
)
PUBLISHED_POLAR = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
TINY = 1e-30


def spectral_power(
    M: Tensor,
    p: float | Tensor,
    *,
    method: Method = "chain",
    scale: Scale = "rms",
    steps: int = 5,
    floor: float | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """U Σᵖ Vᵀ of each matrix in the last two dimensions; see the full version to come."""
    if M.numel() == 0:
        return torch.zeros_like(M)
    tall = M.shape[-2] > M.shape[-1]
    x = (M.mT if tall else M).to(torch.float32).reshape(-1, *sorted(M.shape[-2:]))
    norm = torch.linalg.matrix_norm(x, keepdim=True)
    n = x / norm.clamp(min=TINY)
    if method == "svd":
        u, s, v = torch.linalg.svd(n, full_matrices=False)
        low = 2e-3 if floor is None else floor
        p_ = torch.as_tensor(p, device=s.device)
        top = s[:, :1].clamp(min=TINY)
        s = s * torch.clamp(s, min=low * top).clamp(min=TINY) ** (p_ - 1)
        out = (u * s[:, None, :]) @ v
        factor = norm**p_
    elif method == "newton_schulz":
        out = newton_schulz(n, dtype=dtype or torch.float32).float()
        factor = norm ** torch.as_tensor(p)
    elif method in ("taylor", "scalar"):
        p = float(p)
        polar = newton_schulz(n, coefficients=PUBLISHED_POLAR, dtype=dtype or torch.float32).float()
        factor = torch.ones_like(norm)
        if p < 0:
            d = p / 2
            factor = norm**p
            if method == "scalar":
                out = (1 - d + d * (d - 1) / 2) * polar
            else:
                a = n @ n.mT
                e = a - torch.eye(a.shape[-1], device=a.device)
                out = polar + d * e @ polar + d * (d - 1) / 2 * e @ (e @ polar)
        elif p < 0.25:
            out = polar
        elif method == "taylor":
            out = x
        else:
            out = polar * norm / torch.linalg.matrix_norm(polar, keepdim=True).clamp(min=TINY)
    elif method == "chain":
        out = _chain(n, p)
        factor = norm ** torch.as_tensor(p)
    else:
        raise ValueError(f"unknown method {method!r}")
    if scale == "rms":
        out = out * (
            math.sqrt(x.shape[1]) / torch.linalg.matrix_norm(out, keepdim=True).clamp(min=TINY)
        )
    elif scale == "reference" or method in ("chain", "svd"):
        out = out * factor
    out = out.to(M.dtype)
    return (out.mT if tall else out).reshape(M.shape)


def _chain(n: Tensor, p: float | Tensor) -> Tensor:
    table = torch.tensor(READOUT, device=n.device)
    at = (torch.as_tensor(p, device=n.device) + 0.5) / 1.5 * (len(READOUT) - 1)
    at = at.clamp(0, len(READOUT) - 1)
    i = at.floor().clamp(max=len(READOUT) - 2)
    c = torch.lerp(
        table.index_select(0, i.long().reshape(1))[0],
        table.index_select(0, i.long().reshape(1) + 1)[0],
        (at - i).to(table.dtype),
    )
    a = n @ n.mT
    bound = 1.002 * torch.linalg.matrix_norm(a @ a, keepdim=True).clamp(min=TINY) ** 0.25
    x = n / bound
    out = c[0] * x
    for (alpha, beta, gamma), weight in zip(CHAIN, c[1:], strict=True):
        a = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=beta, alpha=gamma), x, beta=alpha)
        out = torch.addcmul(out, x, weight)
    return out * bound ** torch.as_tensor(p, device=n.device)


READOUT = (
    (-1.71707, -3.21647, -4.41401, -7.84832, -4.23980, 0.02901, 1.94676),
    (-1.38740, -2.46191, -3.38607, -5.86851, -3.13167, 0.07971, 1.49221),
    (-1.14262, -1.86945, -2.52624, -4.26659, -2.25372, 0.10180, 1.12973),
    (-0.97415, -1.39802, -1.75465, -3.00348, -1.61154, 0.07127, 0.84942),
    (-0.81579, -1.03495, -1.19436, -2.04476, -1.10465, 0.06435, 0.63105),
    (-0.66380, -0.77110, -0.85585, -1.34553, -0.68972, 0.14025, 0.45665),
    (-0.51438, -0.54753, -0.56955, -0.82402, -0.40199, 0.11204, 0.33496),
    (-0.36480, -0.36396, -0.35699, -0.48310, -0.23228, 0.14452, 0.23809),
    (-0.23330, -0.21357, -0.19981, -0.25129, -0.12058, 0.16504, 0.16641),
    (-0.11182, -0.09374, -0.08471, -0.09619, -0.04558, 0.15722, 0.11666),
    (-0.00007, 0.00008, -0.00012, 0.00037, 0.03791, 0.12471, 0.08228),
    (0.10179, 0.07472, 0.05551, 0.06591, 0.03807, 0.11364, 0.05728),
    (0.19578, 0.13041, 0.09425, 0.09951, 0.04940, 0.09484, 0.03981),
    (0.29462, 0.16494, 0.11860, 0.11123, 0.05061, 0.08006, 0.02740),
    (0.38937, 0.18690, 0.13046, 0.11322, 0.04886, 0.06427, 0.01892),
    (0.46766, 0.20210, 0.13393, 0.10826, 0.04475, 0.05069, 0.01300),
    (0.53993, 0.20841, 0.13164, 0.09924, 0.03947, 0.03935, 0.00889),
    (0.60482, 0.20835, 0.12522, 0.08818, 0.03381, 0.03011, 0.00603),
    (0.65859, 0.20513, 0.11583, 0.07643, 0.02827, 0.02272, 0.00407),
    (0.70500, 0.19843, 0.10469, 0.06485, 0.02313, 0.01691, 0.00272),
    (0.74510, 0.18885, 0.09263, 0.05396, 0.01855, 0.01240, 0.00180),
    (0.77968, 0.17698, 0.08026, 0.04406, 0.01458, 0.00896, 0.00118),
    (0.80938, 0.16334, 0.06805, 0.03527, 0.01123, 0.00636, 0.00076),
    (0.84014, 0.14609, 0.05650, 0.02760, 0.00845, 0.00443, 0.00049),
    (0.86974, 0.12677, 0.04574, 0.02105, 0.00619, 0.00301, 0.00030),
    (0.89721, 0.10626, 0.03584, 0.01553, 0.00439, 0.00198, 0.00018),
    (0.92231, 0.08510, 0.02685, 0.01095, 0.00297, 0.00124, 0.00011),
    (0.94505, 0.06365, 0.01879, 0.00721, 0.00187, 0.00073, 0.00006),
    (0.96550, 0.04218, 0.01165, 0.00421, 0.00105, 0.00038, 0.00003),
    (0.98378, 0.02091, 0.00540, 0.00184, 0.00044, 0.00015, 0.00001),
    (1.00000, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
)
