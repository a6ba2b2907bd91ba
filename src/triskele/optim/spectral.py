"""Fractional powers of the singular values, U Σᵖ Vᵀ of M = U Σ Vᵀ, by one of five methods.

``"chain"`` is the fast path, :mod:`triskele.optim.chain`: matrix products only, a stated error,
any p in [−1/2, 1].  ``"svd"`` is its oracle, with the same floor.  ``"newton_schulz"`` is Muon,
which ignores p.  The last two are there for the ablation.  ``"taylor"`` is the published DynMuon
class (arXiv 2605.17109): with N = M / ‖M‖_F, Y its Newton–Schulz polar factor, E = N Nᵀ − I and
δ = p / 2 it returns

    p < 0:          ‖M‖_F^p (I + δ E + δ (δ − 1)/2 E²) Y,
    0 ≤ p < 1/4:    Y,
    p ≥ 1/4:        M itself, of its own size,

and ``"scalar"`` is Y at the size that this update has: for p < 0 the factor is the limit of the
bracket for small singular values, 1 − δ + δ (δ − 1)/2, times ‖M‖_F^p; for p ≥ 1/4 it is ‖M‖_F.

Nothing here knows of parameters, schedules or steps.

Shape suffixes: B batch, K the smaller side, N the larger side.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from triskele.optim.chain import CHAINS, P_MAX, P_MIN, TINY, apply_chain, bound_largest
from triskele.optim.polar import Quintic, newton_schulz

Method = Literal["chain", "svd", "taylor", "scalar", "newton_schulz"]
Scale = Literal["rms", "reference", "none"]

PUBLISHED_POLAR: tuple[Quintic, ...] = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""The five quintics of the published class's polar factor."""


@torch.no_grad()
def spectral_power(
    M: Tensor,
    p: float | Tensor,
    *,
    method: Method = "chain",
    scale: Scale = "rms",
    steps: int = 5,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Raise the singular values of each matrix in the last two dimensions to the power p.

    Parameters
    ----------
    M
        Shape (..., m, n), floating; entries up to about 1e18 in size.
    p
        The exponent in [−1/2, 1]: a float, or a 0-dim tensor on ``M``'s device, which
        ``"chain"``, ``"svd"`` and ``"newton_schulz"`` never read on the host; one outside the
        range is then taken to its nearer end.
    method
        ``"chain"``, ``"svd"``, ``"newton_schulz"``, ``"taylor"`` or ``"scalar"``; see the module.
    scale
        ``"rms"``: ‖result‖_F = √min(m, n) at every p, the size of Muon's polar factor; for
        newton_schulz, whose own size that is, no factor at all.
        ``"reference"``: homogeneous of degree p in M, with the paper's factor ‖M‖_F^p where the
        published class has it; for chain and svd this is U Σᵖ Vᵀ itself.
        ``"none"``: what the method computes before any factor: U Σᵖ Vᵀ itself for chain and svd,
        the power of M / ‖M‖_F for the others.
    steps
        For chain and svd which of ``CHAINS``: 5, 6 or 7, with lower floors for more products.
        For Newton–Schulz the number of its steps.
    dtype
        What the products are computed in.  ``None`` picks float16 on CUDA (bfloat16 for the
        methods that were published in it), bfloat16 on a CPU that multiplies it natively, and
        float32 elsewhere.

    Returns
    -------
    Tensor
        M's shape and dtype.  Zero matrices give zeros.  A matrix with a non-finite entry gives
        NaN throughout and leaves the rest of its batch alone.

    Raises
    ------
    ValueError
        For fewer than two dimensions, a non-floating dtype, a float p outside [−1/2, 1], a tensor
        p of more than one element, an unknown method or scale, or a number of steps that the
        method does not have.

    Notes
    -----
    A singular value between ``CHAINS[steps].floor`` · b and b has the relative error
    ``CHAINS[steps].error`` · (1 − p) in float32, where b bounds the largest one from above, by
    1.0 to 1.5 times in practice.  Below the floor σᵖ is not reached: see ``"svd"`` for the ideal,
    σ · max(σ, floor · b)^{p − 1}.  Half precision replaces each σ by one that is off by about 2⁻⁹
    (bfloat16) or 2⁻¹² (float16) of the root mean square of all.  Vectors, and matrices at p = 1 as
    a float, keep their direction exactly, without any product.
    """
    _check(M, p, method, scale, steps)
    if M.numel() == 0:
        return torch.zeros_like(M)
    tall = M.shape[-2] > M.shape[-1]
    wide = M.mT if tall else M
    M_BKN = wide.reshape(-1, *wide.shape[-2:])
    if method != "svd" and M.dtype == torch.float64:
        M_BKN = M_BKN.to(torch.float32)
    norm_B11 = _frobenius(M_BKN)
    # What is returned is out · factor: the factor carries the size that `scale` asks for.
    if method == "svd":
        out_BKN, unit_B11 = _svd(M_BKN, p, CHAINS[steps].floor)
        factor_B11 = unit_B11**p
    elif method == "chain" and _is_parallel(M_BKN.shape[1], p):
        out_BKN, factor_B11 = M_BKN, norm_B11 ** (p - 1)
    elif method == "chain":
        chain = CHAINS[steps]
        compute = dtype or compute_dtype(M.device, half=torch.float16)
        out_BKN, unit_B11 = apply_chain(M_BKN.contiguous(), chain, chain.weights(p), dtype=compute)
        factor_B11 = unit_B11**p
    elif method == "newton_schulz":
        out_BKN = newton_schulz(M_BKN, steps=steps, dtype=dtype or compute_dtype(M.device))
        factor_B11 = norm_B11**p
    else:
        out_BKN, factor_B11 = _published(M_BKN, norm_B11, float(p), method, dtype)
    if scale == "rms" and method != "newton_schulz":
        size_B11 = _frobenius(out_BKN)
        factor_B11 = math.sqrt(out_BKN.shape[1]) / size_B11.clamp(min=TINY)
    elif scale != "reference" and method not in ("chain", "svd"):
        factor_B11 = torch.ones_like(norm_B11)
    # A zero matrix stays zero, and one with a non-finite entry becomes NaN in all of them.
    factor_B11 = torch.where(norm_B11 > 0, factor_B11, 0.0)
    factor_B11 = torch.where(norm_B11.isfinite(), factor_B11, math.nan)
    out_BKN = (out_BKN * factor_B11).to(M.dtype).reshape(wide.shape)
    return out_BKN.mT if tall else out_BKN


def multiply_adds(
    shape: tuple[int, ...],
    *,
    p: float | None = None,
    method: Method = "chain",
    steps: int = 5,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Count the multiply-adds of the matrix products of one :func:`spectral_power`.

    Parameters
    ----------
    shape
        (..., m, n) of the matrices.
    p
        The exponent where it is a float; it matters to chain at 1, taylor and scalar.
    method, steps
        As in :func:`spectral_power`.  ``"svd"`` has no such count.
    dtype
        What chain's products are computed in.

    Returns
    -------
    int
        Products only; the elementwise work is of lower order.  Muon's own cost is
        ``multiply_adds(shape, method="newton_schulz")``.
    """
    if method == "svd":
        raise ValueError('expected a method made of matrix products, got "svd"')
    *batch, m, n = shape
    small, large = min(m, n), max(m, n)
    quintic = 2 * small**2 * large + small**3
    if method == "chain":
        parallel = _is_parallel(small, p)
        each = 0 if parallel else CHAINS[steps].multiply_adds(small, large, dtype)
    elif method == "taylor" and p is not None and p >= 0.25:
        each = 0
    else:
        corrected = method == "taylor" and p is not None and p < 0
        each = steps * quintic + (quintic if corrected else 0)
    return math.prod(batch) * each


def compute_dtype(device: torch.device, *, half: torch.dtype = torch.bfloat16) -> torch.dtype:
    """Pick the dtype of the products: ``half`` on CUDA, bfloat16 on a CPU that has it, float32.

    A CPU without bfloat16 units emulates it ten times slower than float32.
    """
    if device.type == "cuda":
        return half
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bfloat16() else torch.float32


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 natively."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(name.endswith("bf16") and bool(has) for name, has in capabilities.items())


def _check(M: Tensor, p: float | Tensor, method: str, scale: str, steps: int) -> None:
    """Raise for what :func:`spectral_power` does not take."""
    if M.ndim < 2 or not M.is_floating_point():
        raise ValueError(
            f"expected floating matrices of shape (..., m, n), got {M.dtype} {tuple(M.shape)}"
        )
    if method not in get_args(Method):
        raise ValueError(f"expected a method of {get_args(Method)}, got {method!r}")
    if scale not in get_args(Scale):
        raise ValueError(f"expected a scale of {get_args(Scale)}, got {scale!r}")
    if isinstance(p, Tensor):
        if p.ndim > 0:
            raise ValueError(f"expected p as a float or a 0-dim tensor, got shape {tuple(p.shape)}")
    elif not P_MIN <= p <= P_MAX:
        raise ValueError(f"expected p in [{P_MIN}, {P_MAX}], got {p}")
    if method in ("chain", "svd") and steps not in CHAINS:
        raise ValueError(f"expected steps of {tuple(CHAINS)} for method {method!r}, got {steps}")
    if method in ("taylor", "scalar") and steps != len(PUBLISHED_POLAR):
        raise ValueError(f"expected the 5 steps that method {method!r} has, got {steps}")


def _is_parallel(small: int, p: float | Tensor | None) -> bool:
    """Whether the power is parallel to the matrix: a vector, or p = 1 known on the host."""
    return small == 1 or (isinstance(p, float | int) and p == 1)


def _frobenius(x_BKN: Tensor) -> Tensor:
    """‖x‖_F of each matrix, summed in float32 or wider, shape (B, 1, 1)."""
    dtype = torch.promote_types(x_BKN.dtype, torch.float32)
    norm_B11: Tensor = torch.linalg.vector_norm(x_BKN, dim=(-2, -1), keepdim=True, dtype=dtype)
    return norm_B11


def _svd(M_BKN: Tensor, p: float | Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Return U f(Σ / b) Vᵀ with f(x) = x · max(x, floor)^{p − 1}, and b, in float64."""
    exact_BKN = M_BKN.to(torch.float64)
    finite_B11 = exact_BKN.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    u_BKK, s_BK, vh_BKN = torch.linalg.svd(torch.where(finite_B11, exact_BKN, 0.0), False)
    top_B1 = s_BK[:, :1].clamp(min=torch.finfo(torch.float64).tiny)
    x_BK = s_BK / top_B1
    b_B1 = bound_largest(*((x_BK**k).sum(-1, keepdim=True) for k in (4, 6, 8))).sqrt()
    x_BK = x_BK / b_B1
    gain_BK = x_BK.clamp(min=floor) ** (p - 1)
    return (u_BKK * (x_BK * gain_BK)[:, None, :]) @ vh_BKN, (top_B1 * b_B1)[..., None]


def _published(
    M_BKN: Tensor, norm_B11: Tensor, p: float, method: Method, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """Return the published update, or the polar factor, and the factor that goes with it."""
    n_BKN = M_BKN.to(torch.float32) / norm_B11.clamp(min=TINY)
    if method == "taylor" and p >= 0.25:
        return n_BKN, norm_B11
    polar_BKN = newton_schulz(
        n_BKN, coefficients=PUBLISHED_POLAR, dtype=dtype or compute_dtype(M_BKN.device)
    ).to(torch.float32)
    if p >= 0.25:
        return polar_BKN, norm_B11 / _frobenius(polar_BKN).clamp(min=TINY)
    if p >= 0:
        return polar_BKN, torch.ones_like(norm_B11)
    delta = p / 2
    curvature = delta * (delta - 1) / 2
    if method == "scalar":
        return (1 - delta + curvature) * polar_BKN, norm_B11**p
    e_BKK = n_BKN @ n_BKN.mT
    e_BKK.diagonal(dim1=-2, dim2=-1).sub_(1.0)
    bracket_BKK = torch.baddbmm(e_BKK, e_BKK, e_BKK, beta=delta, alpha=curvature)
    bracket_BKK.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return bracket_BKK @ polar_BKN, norm_B11**p
