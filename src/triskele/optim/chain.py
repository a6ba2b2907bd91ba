"""The chain: one short sequence of quintics whose by-products give U Σᵖ Vᵀ for every p.

With X_0 = M / b, b an upper bound on the largest singular value, every p shares the steps

    A_t = X_t X_tᵀ,   B_t = b_t A_t + c_t A_t²,   X_{t+1} = a_t X_t + B_t X_t,   t < T − 1,

and differs only in the weights of the readout, in which nothing but its last product is new:

    w_0 X_0 + (w_1 I + Σ_t w_{2+t} A_t + Σ_t w_{2+T+t} B_t + w_{2T+1} A_{T−1}²) X_{T−1}.

That is T times the three products of a Newton–Schulz quintic.  The weights are
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
    error=0.0187,
    quintics=(
        (3.495544, -7.200400, 4.500935),
        (3.242099, -5.858900, 3.559096),
        (2.995565, -4.686882, 2.622207),
        (2.670390, -3.515880, 1.845490),
    ),
    table=(
        (7.853701, 14.617864, 5.008310, 0.994968, 0.006576, -0.138721, -0.033268),
        (2.458161, -2.793308, 0.954363, -0.246274, 0.044134, -0.004053, 0.000606),
        (-6.611967, -11.199288, -4.015917, -0.896437, -0.075462, 0.065427, 0.017349),
        (-0.372935, -0.659162, -0.127052, -0.005153, 0.011321, 0.008973, 0.001391),
        (-0.021134, -0.076035, 0.019983, -0.011957, 0.002533, 0.001968, -0.000396),
        (0.006073, -0.003357, 0.042033, -0.019017, 0.005922, -0.002311, -0.001276),
        (-2.931644, 3.967018, -1.588315, 0.414714, -0.072522, 0.007736, 0.000456),
        (0.853343, 1.413025, 0.382832, 0.041759, -0.019026, -0.020986, -0.004458),
        (0.094827, 0.078760, 0.063441, 0.015666, -0.002834, -0.006248, -0.001482),
        (0.003693, -0.182041, 0.073099, -0.000674, 0.000968, -0.002640, -0.001292),
        (0.030005, -0.260067, 0.144414, -0.022806, 0.002553, -0.002143, -0.000617),
        (1.384187, -1.995915, 0.830008, -0.203712, 0.030553, -0.002640, -0.001062),
    ),
)

SIX = Chain(
    floor=0.0023,
    error=0.0196,
    quintics=(
        (3.714484, -8.518789, 5.429559),
        (3.303939, -6.195548, 3.890367),
        (2.941544, -4.427849, 2.361154),
        (3.156501, -5.454790, 3.296969),
        (2.468316, -2.672271, 1.110511),
    ),
    table=(
        (12.439302, 23.859552, 10.346858, 2.978578, 0.599007, 0.061349, -0.000020),
        (2.752043, -3.555935, 1.482495, -0.451239, 0.096951, -0.014652, 0.001116),
        (-10.219616, -18.144583, -8.048691, -2.435046, -0.538523, -0.075248, -0.004628),
        (-0.519789, -0.963665, -0.316971, -0.061880, -0.007827, -0.000167, 0.000229),
        (0.011695, -0.053056, 0.039864, -0.002928, -0.000138, 0.003074, 0.001293),
        (0.060652, 0.046843, 0.032588, -0.032299, -0.000429, 0.004352, 0.001156),
        (0.009878, 0.309310, -0.222472, 0.112068, -0.051544, 0.006655, 0.004759),
        (-3.259966, 4.801559, -2.216059, 0.698650, -0.149028, 0.014814, 0.001909),
        (1.076431, 1.961909, 0.725569, 0.163685, 0.018376, -0.003292, -0.001151),
        (0.084465, 0.151100, 0.083019, 0.032688, 0.005977, -0.000896, -0.000389),
        (-0.033761, -0.184364, 0.060423, 0.021671, 0.003980, 0.001913, 0.000825),
        (0.012905, -0.247342, 0.109138, -0.020290, 0.004929, 0.001601, -0.000532),
        (0.052241, -0.103455, 0.009621, 0.042284, -0.028160, 0.002084, 0.004380),
        (1.493219, -2.261969, 1.036750, -0.302807, 0.051005, 0.000176, -0.001683),
    ),
)

SEVEN = Chain(
    floor=0.0008,
    error=0.0199,
    quintics=(
        (3.554999, -7.526233, 4.655832),
        (3.449803, -6.972587, 4.454856),
        (3.092651, -5.119035, 2.934945),
        (3.059776, -5.001980, 2.941167),
        (2.971554, -4.864864, 2.893310),
        (2.429059, -2.562428, 1.059014),
    ),
    table=(
        (21.488037, 38.247631, 20.605444, 7.355008, 2.017029, 0.560401, 0.126720),
        (3.161978, -4.517640, 2.177472, -0.777911, 0.214043, -0.049793, 0.008259),
        (-16.726853, -28.683215, -15.344481, -5.598224, -1.584612, -0.420955, -0.085045),
        (-0.974030, -1.685352, -0.767248, -0.215739, -0.049788, -0.018399, -0.005654),
        (-0.051540, -0.125982, -0.041825, -0.032670, -0.021497, -0.011629, -0.003653),
        (0.053333, 0.052705, 0.011721, -0.026279, -0.011399, -0.005348, 0.000108),
        (0.061355, 0.058528, 0.033423, -0.040803, 0.001640, 0.002382, -0.000911),
        (0.023230, 0.273494, -0.206191, 0.099979, -0.032812, -0.012475, 0.011388),
        (-3.787176, 5.923249, -3.094248, 1.170569, -0.340621, 0.080550, -0.014160),
        (2.039466, 3.492221, 1.729887, 0.542477, 0.125557, 0.037232, 0.010825),
        (0.168152, 0.269387, 0.204163, 0.094832, 0.032118, 0.012506, 0.003663),
        (-0.081907, -0.226639, 0.026718, 0.030589, 0.007548, 0.001477, 0.000098),
        (-0.041436, -0.263766, 0.062020, 0.006113, 0.001914, -0.000091, 0.001279),
        (0.051374, -0.295619, 0.160502, -0.049169, 0.011209, 0.001752, -0.001061),
        (0.110684, -0.160515, 0.059077, 0.007426, -0.006114, -0.013854, 0.010003),
        (1.737800, -2.762150, 1.442857, -0.533942, 0.153087, -0.040874, 0.009984),
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
    a_BKK, c_BKK, top_B11 = _first_gram(x_BKN)
    (a, b, c), *later = chain.quintics
    b_BKK = b * a_BKK + c * c_BKK
    # X_0 is x / √top; the root goes into the small factor and into what multiplies M.
    unit_B11 = top_B11.rsqrt()
    read_BKK = _add(a_BKK.to(torch.float32) * to_square[0], b_BKK, to_step[0])
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
    return torch.addcmul(
        out_BKN, M_BKN, size_B11 * unit_B11 * weights[0]
    ), top_B11.sqrt() / size_B11


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
