"""The chain: one short sequence of quintics whose by-products give U Σᵖ Vᵀ for every p.

With X_0 = M / b, b an upper bound on the largest singular value, every p shares the steps

    A_t = X_t X_tᵀ − α_t I,   B_t = b_t A_t + c_t A_t²,   X_{t+1} = a_t X_t + B_t X_t,   t < T − 1,

and differs only in the weights of the readout, in which nothing but its last product is new:

    w_0 X_0 + (w_1 I + Σ_t w_{2+t} A_t + Σ_t w_{2+T+t} B_t + w_{2T+1} A_{T−1}²) X_{T−1}.

That is T times the three products of a Newton–Schulz quintic.  The centres α_t only keep A_t small,
and with it what half precision rounds away.  The weights are
w(p) = e_0 + (1 − p) floor^{p/2} W T(s), T_k the Chebyshev polynomials of s = (p − 1/4) / (3/4), so
p may be a tensor that never visits the host.  Quintics and W are fitted jointly by
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
    centres
        α of the T steps, about the mean eigenvalue of X_t X_tᵀ; exact in half precision.
    quintics
        (a, b, c) of the T − 1 steps; every X_t has its largest singular value near 1.
    table
        W: a row per function of the readout, a column per Chebyshev degree.
    """

    floor: float
    error: float
    centres: tuple[float, ...]
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
            # A blocking copy would wait for everything that the device has been given before.
            table = torch.tensor(self.table, dtype=torch.float32).to(p.device, non_blocking=True)
            size = (1.0 - p) * self.floor ** (p / 2)
            first, *rest = (size * (table @ (degrees * angle).cos())).unbind()
            return [1.0 + first, *rest]
        theta = math.acos(min(max((p - 0.25) / 0.75, -1.0), 1.0))
        waves = [math.cos(k * theta) for k in range(n_degrees)]
        size_ = (1.0 - p) * self.floor ** (p / 2)
        sums = [size_ * sum(map(mul, row, waves)) for row in self.table]
        return [1.0 + sums[0], *sums[1:]]

    def multiply_adds(self, small: int, large: int, dtype: torch.dtype) -> int:
        """Multiply-adds of the products that :func:`apply_chain` runs for one matrix."""
        if _in_gram_form(small, large, dtype, self):
            return 2 * small**2 * large + (4 * self.steps - 3) * small**3
        return self.steps * (2 * small**2 * large + small**3)


FIVE = Chain(
    floor=0.007,
    error=0.0189,
    centres=(0.109375, 0.265625, 0.46875, 0.640625, 0.84375),
    quintics=(
        (2.756131, -6.151223, 4.438992),
        (1.937021, -3.964531, 3.554127),
        (1.374132, -2.227539, 2.648238),
        (1.177202, -1.155507, 1.843262),
    ),
    table=(
        (7.919103, 14.685440, 4.994680, 0.976241, -0.012033, -0.146831, -0.031704),
        (-0.674863, -2.775021, -0.925078, -0.169319, 0.021578, 0.042829, 0.009270),
        (-6.631016, -11.207108, -3.999509, -0.884315, -0.065020, 0.069597, 0.016517),
        (-0.377148, -0.663391, -0.127524, -0.004480, 0.011624, 0.008712, 0.001051),
        (-0.019841, -0.076774, 0.023512, -0.009908, 0.004014, 0.002732, -0.000024),
        (0.010479, -0.007868, 0.045609, -0.019835, 0.007278, -0.002727, -0.000810),
        (-0.594579, 0.599453, -0.186590, 0.069546, -0.020868, 0.003881, -0.001873),
        (0.867713, 1.432095, 0.383962, 0.039821, -0.021305, -0.022037, -0.004224),
        (0.098671, 0.084234, 0.062753, 0.014712, -0.004090, -0.006974, -0.001571),
        (0.005050, -0.179130, 0.073365, 0.000309, 0.001192, -0.002469, -0.001007),
        (0.033866, -0.263397, 0.147035, -0.024341, 0.003318, -0.002423, -0.000522),
        (1.383021, -1.991574, 0.828781, -0.203968, 0.029725, -0.001098, -0.002143),
    ),
)

SIX = Chain(
    floor=0.0023,
    error=0.0199,
    centres=(0.078125, 0.21875, 0.390625, 0.515625, 0.625, 0.890625),
    quintics=(
        (2.993426, -6.781852, 4.654141),
        (2.136212, -4.586704, 3.970987),
        (1.559366, -2.692126, 2.634362),
        (1.213024, -2.069784, 3.352183),
        (1.234340, -1.269925, 1.114562),
    ),
    table=(
        (11.959185, 21.981408, 10.312859, 3.134725, 0.720662, 0.145013, 0.020847),
        (-0.542228, -2.636705, -1.318372, -0.435413, -0.095170, -0.021967, -0.002853),
        (-9.728123, -16.714207, -7.853429, -2.472467, -0.598370, -0.121735, -0.016638),
        (-0.528810, -0.937395, -0.332658, -0.068472, -0.010491, -0.002124, -0.000003),
        (-0.022352, -0.069140, 0.002891, -0.015589, -0.005114, -0.001267, -0.000165),
        (0.052786, 0.062052, 0.020986, -0.034536, -0.000527, 0.001160, -0.000515),
        (0.066764, 0.196092, -0.154010, 0.089456, -0.056200, 0.021919, -0.005053),
        (-0.567272, 0.710603, -0.336115, 0.147304, -0.057764, 0.019984, -0.004072),
        (1.131931, 1.943737, 0.798185, 0.197711, 0.033398, 0.005745, 0.000995),
        (0.074247, 0.091371, 0.089326, 0.043704, 0.012922, 0.003310, 0.000775),
        (-0.053030, -0.213013, 0.043435, 0.018549, 0.003466, 0.001162, 0.000473),
        (0.007520, -0.248311, 0.104544, -0.019640, 0.006758, 0.000540, -0.000617),
        (0.090244, -0.183042, 0.052569, 0.030775, -0.033928, 0.014570, -0.002749),
        (1.541250, -2.339933, 1.078963, -0.321642, 0.057394, 0.000238, -0.002634),
    ),
)

SEVEN = Chain(
    floor=0.0008,
    error=0.0199,
    centres=(0.078125, 0.1875, 0.3125, 0.453125, 0.578125, 0.65625, 0.890625),
    quintics=(
        (2.995427, -6.798739, 4.655815),
        (2.299059, -5.302014, 4.454847),
        (1.779568, -3.284701, 2.934943),
        (1.397141, -2.336549, 2.941173),
        (1.126080, -1.519475, 2.893318),
        (1.203544, -1.172472, 1.059016),
    ),
    table=(
        (21.488012, 38.247576, 20.605441, 7.355016, 2.017030, 0.560398, 0.126719),
        (-1.651900, -4.577986, -2.609981, -0.998184, -0.266998, -0.082946, -0.021113),
        (-16.726836, -28.683180, -15.344476, -5.598228, -1.584614, -0.420954, -0.085044),
        (-0.974026, -1.685346, -0.767247, -0.215741, -0.049790, -0.018400, -0.005654),
        (-0.051537, -0.125977, -0.041825, -0.032671, -0.021498, -0.011630, -0.003653),
        (0.053334, 0.052706, 0.011721, -0.026279, -0.011399, -0.005348, 0.000108),
        (0.061355, 0.058529, 0.033423, -0.040802, 0.001640, 0.002381, -0.000911),
        (0.023232, 0.273490, -0.206183, 0.099972, -0.032806, -0.012478, 0.011389),
        (-0.691717, 1.003162, -0.524154, 0.219480, -0.067932, 0.007741, 0.003625),
        (2.039469, 3.492225, 1.729892, 0.542479, 0.125558, 0.037231, 0.010825),
        (0.168153, 0.269388, 0.204164, 0.094833, 0.032118, 0.012506, 0.003663),
        (-0.081907, -0.226638, 0.026718, 0.030589, 0.007548, 0.001477, 0.000098),
        (-0.041436, -0.263766, 0.062020, 0.006113, 0.001914, -0.000091, 0.001280),
        (0.051374, -0.295619, 0.160502, -0.049169, 0.011209, 0.001752, -0.001060),
        (0.110685, -0.160520, 0.059083, 0.007420, -0.006110, -0.013857, 0.010004),
        (1.737804, -2.762159, 1.442864, -0.533947, 0.153091, -0.040877, 0.009985),
    ),
)

CHAINS: Mapping[int, Chain] = MappingProxyType({5: FIVE, 6: SIX, 7: SEVEN})


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
    a_BKK, b_BKK, top_B11 = _first_step(x_BKN, chain)
    read_BKK = _add(a_BKK.to(torch.float32) * to_square[0], b_BKK, to_step[0])
    # X_0 is x / √top; the root goes into the small factor and into what multiplies M.
    unit_B11 = top_B11.rsqrt()
    step_BKN = (b_BKK * unit_B11).to(low) @ x_BKN
    x_BKN = torch.addcmul(step_BKN, M_BKN, chain.quintics[0][0] * size_B11 * unit_B11)
    for t, (a, b, c) in enumerate(chain.quintics[1:], 1):
        low = torch.float32 if t < n_float32 else dtype
        low_BKN = x_BKN.to(low)
        a_BKK = _add_diagonal(_gram(low_BKN), -chain.centres[t])
        b_BKK = torch.baddbmm(a_BKK, a_BKK, a_BKK, beta=b, alpha=c)
        read_BKK = _add(_add(read_BKK, a_BKK, to_square[t]), b_BKK, to_step[t])
        if t == n_float32:
            x_BKN = torch.add(b_BKK @ low_BKN, x_BKN, alpha=a)
        else:
            x_BKN = torch.baddbmm(low_BKN, b_BKK, low_BKN, beta=a)
    x_BKN = x_BKN.to(dtype)
    a_BKK = _add_diagonal(_gram(x_BKN), -chain.centres[-1])
    read_BKK = _add(_add(read_BKK, a_BKK, to_square[chain.steps - 1]), a_BKK @ a_BKK, weights[-1])
    out_BKN = _add_diagonal(read_BKK, weights[1]).to(dtype) @ x_BKN
    out_BKN = torch.addcmul(out_BKN, M_BKN, size_B11 * unit_B11 * weights[0])
    return out_BKN, top_B11.sqrt() / size_B11


def _gram_form(
    M_BKN: Tensor, size_B11: Tensor, chain: Chain, weights: Sequence[Weight]
) -> tuple[Tensor, Tensor]:
    """Run the chain on G_t = X_t X_tᵀ and on Q_t with X_t = Q_t X_0, in float32."""
    to_square, to_step = weights[2:], weights[2 + chain.steps :]
    x_BKN = M_BKN * size_B11
    a_BKK, b_BKK, top_B11 = _first_step(x_BKN, chain)
    read_BKK = _add(a_BKK * to_square[0], b_BKK, to_step[0])
    g_BKK = _add_diagonal(a_BKK, chain.centres[0])
    q_BKK = _add_diagonal(b_BKK, chain.quintics[0][0])
    g_BKK = q_BKK @ g_BKK @ q_BKK
    for t, (a, b, c) in enumerate(chain.quintics[1:], 1):
        a_BKK = _add_diagonal(g_BKK.clone(), -chain.centres[t])
        b_BKK = torch.baddbmm(a_BKK, a_BKK, a_BKK, beta=b, alpha=c)
        read_BKK = _add(_add(read_BKK, a_BKK, to_square[t]), b_BKK, to_step[t])
        b_BKK = _add_diagonal(b_BKK, a)
        g_BKK = b_BKK @ g_BKK @ b_BKK
        q_BKK = b_BKK @ q_BKK
    a_BKK = _add_diagonal(g_BKK, -chain.centres[-1])
    read_BKK = _add(_add(read_BKK, a_BKK, to_square[chain.steps - 1]), a_BKK @ a_BKK, weights[-1])
    whole_BKK = _add_diagonal(_add_diagonal(read_BKK, weights[1]) @ q_BKK, weights[0])
    return (whole_BKK * top_B11.rsqrt()) @ x_BKN, top_B11.sqrt() / size_B11


def _first_step(x_BKN: Tensor, chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
    """Return A_0 and B_0 of x / √top, and top, a bound on the largest eigenvalue of x xᵀ."""
    g_BKK = _gram(x_BKN)
    square_BKK = g_BKK @ g_BKK
    sums = (
        (left * right).sum((-2, -1), keepdim=True, dtype=torch.float32)
        for left, right in ((g_BKK, g_BKK), (g_BKK, square_BKK), (square_BKK, square_BKK))
    )
    top_B11 = MARGIN * bound_largest(*sums).clamp(min=TINY)
    _, b, c = chain.quintics[0]
    centre = chain.centres[0]
    # b A + c A² with A = G / top − centre I, from the G² that the bound has asked for.
    b_BKK = torch.addcmul(g_BKK * ((b - 2 * c * centre) / top_B11), square_BKK, c / top_B11**2)
    b_BKK = _add_diagonal(b_BKK.to(x_BKN.dtype), centre * (c * centre - b))
    a_BKK = _add_diagonal((g_BKK / top_B11).to(x_BKN.dtype), -centre)
    return a_BKK, b_BKK, top_B11


def _gram(x_BKN: Tensor) -> Tensor:
    """Return x xᵀ; one matrix as a plain product, for which nothing copies the transpose."""
    if x_BKN.shape[0] == 1:
        x_KN = x_BKN[0]
        return (x_KN @ x_KN.mT)[None]
    return x_BKN @ x_BKN.mT


def _add(total: Tensor, x: Tensor, weight: Weight) -> Tensor:
    """Total + weight · x, in place."""
    if isinstance(weight, Tensor):
        return total.addcmul_(x, weight)
    return total.add_(x, alpha=weight)


def _add_diagonal(x_BKK: Tensor, weight: Weight) -> Tensor:
    """Return x + weight · I, in place."""
    x_BKK.diagonal(dim1=-2, dim2=-1).add_(weight)
    return x_BKK
