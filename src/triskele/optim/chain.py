"""The chain: one short sequence of quintics whose by-products give U Σᵖ Vᵀ for every p.

With X_0 = M / b, b an upper bound on the largest singular value, every p shares the steps

    A_t = X_t X_tᵀ,   B_t = b_t A_t + c_t A_t²,   X_{t+1} = a_t X_t + B_t X_t,   t < T − 1,

and differs only in the weights of the readout, in which nothing but its last product is new:

    w_0 X_0 + (w_1 I + Σ_t w_{2+t} A_t + Σ_t w_{2+T+t} B_t + w_{2T+1} A_{T−1}²) X_{T−1}.

That is T times the three products of a Newton–Schulz quintic.  The weights are
w(p) = e_0 + (1 − p) W T(s), T_k the Chebyshev polynomials of s = (p − 1/4) / (3/4), so p may be a
tensor that never visits the host.  Quintics and W are fitted jointly, minimax, by
``benchmarks/fit_spectral_chain.py``: for a singular value σ in [floor·b, b] the relative error is
at most ``error``·(1 − p).  Below the floor the gain σ^{p−1} levels off and the output falls to
zero in proportion to σ, so that noise is never amplified without bound.

The bound costs no product: with s_k = tr A_0ᵏ, Cauchy–Schwarz on all eigenvalues λ of A_0 but the
largest gives (s_3 − λ³)² ≤ (s_2 − λ²)(s_4 − λ⁴), a quartic in λ whose largest root bounds it.

Wide matrices in float32 run on Gram matrices instead: X_t = Q_t X_0 with the same A_t, B_t.

Shape suffixes: B batch, K the smaller side, N the larger side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from types import MappingProxyType

import torch
from torch import Tensor

from triskele.optim.polar import Quintic

Weight = float | Tensor

P_MIN, P_MAX = -0.5, 1.0
TINY = 1e-18
MARGIN = 1.004
"""Slack on the bound of σ₁², for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The constants of a chain of T steps.

    Attributes
    ----------
    floor
        Smallest σ / b at which ``error`` holds.
    error
        ε of the bound ε (1 − p) on the relative error of each singular value above the floor.
    quintics
        (a, b, c) of the T − 1 steps; every X_t has its largest singular value near 1.
    table
        W: a row per function of the readout, a column per Chebyshev degree.
    """

    floor: float
    error: float
    quintics: tuple[Quintic, ...]
    table: tuple[tuple[float, ...], ...]

    @property
    def steps(self) -> int:
        """T: the chain costs as much as T Newton–Schulz quintics."""
        return len(self.quintics) + 1

    def weights(self, p: Weight) -> Sequence[Weight]:
        """Return the 2 T + 2 weights w(p): floats for a float p, else 0-dim tensors beside it."""
        n_degrees = len(self.table[0])
        if isinstance(p, Tensor):
            p = p.to(torch.float32).clamp(P_MIN, P_MAX)
            angle = ((p - 0.25) / 0.75).clamp(-1.0, 1.0).acos()
            degrees = torch.arange(n_degrees, dtype=torch.float32, device=p.device)
            table = torch.tensor(self.table, dtype=torch.float32, device=p.device)
            first, *rest = ((1.0 - p) * (table @ (degrees * angle).cos())).unbind()
            return [1.0 + first, *rest]
        theta = math.acos(min(max((p - 0.25) / 0.75, -1.0), 1.0))
        waves = [math.cos(k * theta) for k in range(n_degrees)]
        sums = [(1.0 - p) * sum(map(mul, row, waves)) for row in self.table]
        return [1.0 + sums[0], *sums[1:]]

    def multiply_adds(self, small: int, large: int, dtype: torch.dtype) -> int:
        """Multiply-adds of the products that :func:`apply_chain` runs for one matrix."""
        if _in_gram_form(small, large, dtype, self):
            return 2 * small**2 * large + (4 * self.steps - 3) * small**3
        return self.steps * (2 * small**2 * large + small**3)


FIVE = Chain(
    floor=0.007,
    error=0.0159,
    quintics=(
        (3.644044, -8.025936, 4.840833),
        (3.165262, -5.506364, 3.341101),
        (2.895785, -4.254180, 2.277841),
        (2.721184, -3.605570, 1.876305),
    ),
    table=(
        (-1.999379, 7.847344, -4.367340, 1.390965, -0.466045, 0.258861, -0.116809, 0.035264),
        (5.173745, -8.595798, 5.181995, -2.417375, 0.923289, -0.306206, 0.090865, -0.019172),
        (0.580820, -4.530554, 2.476228, -0.787716, 0.284898, -0.147824, 0.057421, -0.025911),
        (0.105229, -0.401766, 0.266726, -0.091404, 0.021803, -0.020673, 0.010936, -0.007142),
        (0.101398, -0.207197, 0.169001, -0.093158, 0.033694, -0.013804, -0.000250, -0.004902),
        (0.081140, -0.149642, 0.130354, -0.097171, 0.049521, -0.001907, -0.020558, 0.007472),
        (-6.767922, 11.519054, -7.291466, 3.592574, -1.460640, 0.539623, -0.194556, 0.049720),
        (-0.135288, 0.694547, -0.467307, 0.157914, -0.051367, 0.031573, -0.016842, 0.003372),
        (0.007724, 0.045352, -0.028610, 0.007929, -0.012391, 0.004266, 0.000306, -0.001702),
        (0.172593, -0.336357, 0.251721, -0.129588, 0.050432, -0.015021, 0.000100, -0.001507),
        (0.292167, -0.562454, 0.424686, -0.230919, 0.082774, -0.004948, -0.017251, 0.007101),
        (3.306831, -5.666007, 3.627385, -1.802185, 0.734288, -0.272698, 0.101181, -0.027285),
    ),
)

SEVEN = Chain(
    floor=0.0007,
    error=0.0363,
    quintics=(
        (3.424695, -6.796755, 4.180794),
        (3.374463, -6.569303, 4.184011),
        (3.337265, -6.369495, 4.023797),
        (3.101662, -5.174598, 3.017386),
        (3.210367, -5.763363, 3.552996),
        (2.572814, -3.055886, 1.438084),
    ),
    table=(
        (4.181660, 3.506935, -2.759310, 0.699989, 0.071963, -0.107473, 0.020971, 0.002080),
        (13.434307, -23.943442, 17.037673, -9.743323, 4.439458, -1.548607, 0.373166, -0.046862),
        (-2.734132, -1.920536, 1.470627, -0.376386, -0.026142, 0.047875, -0.007726, -0.001605),
        (-0.202939, -0.226134, 0.204167, -0.071191, 0.014470, -0.004179, 0.002956, -0.000982),
        (-0.062618, -0.071446, 0.146262, -0.096446, 0.025471, 0.011031, -0.013593, 0.004654),
        (0.129556, -0.239957, 0.165868, -0.113686, 0.064747, -0.024960, 0.004735, 0.000151),
        (0.052474, -0.103669, 0.119493, -0.146660, 0.132280, -0.083097, 0.033755, -0.007037),
        (1.084912, -1.840519, 1.136089, -0.507505, 0.144140, -0.006999, -0.014803, 0.005062),
        (-18.726038, 33.570896, -24.206302, 14.003605, -6.384370, 2.185162, -0.503172, 0.058539),
        (0.615494, 0.216336, -0.298223, 0.079812, 0.012556, -0.016001, 0.003754, 0.000040),
        (0.262744, -0.148599, 0.035178, -0.012634, 0.013360, -0.010911, 0.005285, -0.001309),
        (0.209916, -0.347880, 0.265421, -0.140264, 0.045159, -0.000948, -0.007403, 0.002895),
        (0.351235, -0.631140, 0.463077, -0.267236, 0.124118, -0.045828, 0.012084, -0.001659),
        (0.540426, -1.007494, 0.795649, -0.514851, 0.272701, -0.116587, 0.036758, -0.006484),
        (1.533598, -2.727285, 1.915565, -1.054707, 0.441623, -0.127907, 0.018565, 0.000534),
        (9.816438, -17.591135, 12.658772, -7.282211, 3.278730, -1.094530, 0.240419, -0.025617),
    ),
)

CHAINS: Mapping[int, Chain] = MappingProxyType({5: FIVE, 7: SEVEN})


def apply_chain(
    M_BKN: Tensor, chain: Chain, weights: Sequence[Weight], *, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return U (Σ / b)ᵖ Vᵀ of each wide matrix, and b, shapes (B, K, N) and (B, 1, 1).

    ``weights`` are those of ``chain`` at p and ``dtype`` is what the products are computed in.  In
    bfloat16 the first T − 5 steps stay in float32, and in any half precision the first half step
    adds a_t X_t in float32: rounding the small singular values before they are lifted is what
    costs accuracy.  A zero matrix gives zeros, a matrix with a non-finite entry NaN throughout.
    """
    small, large = M_BKN.shape[-2:]
    norm_B11 = torch.linalg.vector_norm(M_BKN, dim=(-2, -1), keepdim=True, dtype=torch.float32)
    # ‖X‖_F = K^¼ keeps the entries of A and A² within the range of float16 at any spectrum.
    size_B11 = small**0.25 / norm_B11.clamp(min=TINY)
    size_B11 = torch.where(norm_B11.isfinite(), size_B11, math.nan)
    if _in_gram_form(small, large, dtype, chain):
        return _gram_form(M_BKN, size_B11, chain, weights)
    return _factor_form(M_BKN, size_B11, chain, weights, dtype)


def bound_largest(second: Tensor, third: Tensor, fourth: Tensor) -> Tensor:
    """Bound the largest of some non-negative numbers from above by their power sums.

    Three Newton steps toward the largest root of s_2 λ⁴ − 2 s_3 λ³ + s_4 λ² = s_2 s_4 − s_3²,
    from λ = s_4^¼ on its right, where the quartic is convex: each stays on that side.  No step
    passes the mean s_4 / s_3, which guards the double root that few distinct numbers give.
    """
    unit = fourth.clamp(min=TINY) ** 0.25
    second, third = second / unit**2, third / unit**3
    spare = (second - third**2).clamp(min=0.0)
    mean = 1.0 / third.clamp(min=1.0)
    largest = torch.ones_like(unit)
    for _ in range(3):
        value = largest**2 * (1.0 - 2.0 * third * largest + second * largest**2) - spare
        slope = 2.0 * largest * (1.0 - 3.0 * third * largest + 2.0 * second * largest**2)
        largest = torch.maximum(largest - value.clamp(min=0.0) / slope.clamp(min=TINY), mean)
    return largest * unit


def _in_gram_form(small: int, large: int, dtype: torch.dtype, chain: Chain) -> bool:
    """Whether Gram matrices take fewer products, and float32 is there to hold them.

    They square the condition number, which half precisions do not survive; where a long chain in
    bfloat16 would need float32 for most of its steps, a wide matrix takes it for all.
    """
    wide = 2 * large > 3 * small
    return wide and (dtype == torch.float32 or (dtype == torch.bfloat16 and chain.steps > 5))


def _factor_form(
    M_BKN: Tensor, size_B11: Tensor, chain: Chain, weights: Sequence[Weight], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Run the chain on X_t itself."""
    n_float32 = chain.steps - 5 if dtype == torch.bfloat16 else 0
    to_square, to_step = weights[2:], weights[2 + chain.steps :]
    low = torch.float32 if n_float32 else dtype
    x_BKN = (M_BKN * size_B11).to(low)
    a_BKK, c_BKK, top_B11 = _first_gram(x_BKN)
    (a, b, c), *later = chain.quintics
    b_BKK = b * a_BKK + c * c_BKK
    # X_0 is x / √top; the root goes into the small factor and into what multiplies M.
    unit_B11 = top_B11.rsqrt()
    read_BKK = _add(a_BKK * to_square[0], b_BKK, to_step[0])
    step_BKN = (b_BKK * unit_B11).to(low) @ x_BKN
    x_BKN = torch.addcmul(step_BKN, M_BKN, a * size_B11 * unit_B11)
    for t, (a, b, c) in enumerate(later, 1):
        low = torch.float32 if t < n_float32 else dtype
        low_BKN = x_BKN.to(low)
        a_BKK = low_BKN @ low_BKN.mT
        b_BKK = torch.baddbmm(a_BKK, a_BKK, a_BKK, beta=b, alpha=c)
        read_BKK = _add(_add(read_BKK, a_BKK, to_square[t]), b_BKK, to_step[t])
        if t == n_float32:
            x_BKN = torch.add(b_BKK @ low_BKN, x_BKN, alpha=a)
        else:
            x_BKN = torch.baddbmm(low_BKN, b_BKK, low_BKN, beta=a)
    x_BKN = x_BKN.to(dtype)
    a_BKK = x_BKN @ x_BKN.mT
    read_BKK = _add(read_BKK, a_BKK, to_square[chain.steps - 1])
    read_BKK = _add(read_BKK, a_BKK @ a_BKK, weights[-1])
    out_BKN = _add_diagonal(read_BKK, weights[1]).to(dtype) @ x_BKN
    return torch.addcmul(out_BKN, M_BKN, size_B11 * unit_B11 * weights[0]), top_B11.sqrt() / size_B11


def _gram_form(
    M_BKN: Tensor, size_B11: Tensor, chain: Chain, weights: Sequence[Weight]
) -> tuple[Tensor, Tensor]:
    """Run the chain on X_t X_tᵀ and on Q_t with X_t = Q_t X_0, in float32."""
    to_square, to_step = weights[2:], weights[2 + chain.steps :]
    x_BKN = M_BKN * size_B11
    a_BKK, c_BKK, top_B11 = _first_gram(x_BKN)
    (a, b, c), *later = chain.quintics
    b_BKK = b * a_BKK + c * c_BKK
    read_BKK = _add(a_BKK * to_square[0], b_BKK, to_step[0])
    q_BKK = _add_diagonal(b_BKK, a)
    a_BKK = q_BKK @ a_BKK @ q_BKK
    for t, (a, b, c) in enumerate(later, 1):
        b_BKK = torch.baddbmm(a_BKK, a_BKK, a_BKK, beta=b, alpha=c)
        read_BKK = _add(_add(read_BKK, a_BKK, to_square[t]), b_BKK, to_step[t])
        b_BKK = _add_diagonal(b_BKK, a)
        a_BKK = b_BKK @ a_BKK @ b_BKK
        q_BKK = b_BKK @ q_BKK
    read_BKK = _add(read_BKK, a_BKK, to_square[chain.steps - 1])
    read_BKK = _add(read_BKK, a_BKK @ a_BKK, weights[-1])
    whole_BKK = _add_diagonal(_add_diagonal(read_BKK, weights[1]) @ q_BKK, weights[0])
    return (whole_BKK * top_B11.rsqrt()) @ x_BKN, top_B11.sqrt() / size_B11


def _first_gram(x_BKN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return A_0 and A_0² of x / √top, and top, a bound on the largest eigenvalue of x xᵀ."""
    a_BKK = x_BKN @ x_BKN.mT
    c_BKK = a_BKK @ a_BKK
    sums = (
        (left * right).sum((-2, -1), keepdim=True, dtype=torch.float32)
        for left, right in ((a_BKK, a_BKK), (a_BKK, c_BKK), (c_BKK, c_BKK))
    )
    top_B11 = MARGIN * bound_largest(*sums).clamp(min=TINY)
    return (a_BKK / top_B11).to(x_BKN.dtype), (c_BKK / top_B11 / top_B11).to(x_BKN.dtype), top_B11


def _add(total: Tensor, x: Tensor, weight: Weight) -> Tensor:
    """Total + weight · x, in place."""
    if isinstance(weight, Tensor):
        return total.addcmul_(x, weight)
    return total.add_(x, alpha=weight)


def _add_diagonal(x_BKK: Tensor, weight: Weight) -> Tensor:
    """Return x + weight · I, in place."""
    x_BKK.diagonal(dim1=-2, dim2=-1).add_(weight)
    return x_BKK
