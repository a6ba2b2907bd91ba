"""Derive the constants of :mod:`triskele.optim.chain`: shared quintics and their readouts.

A chain is a short sequence of odd quintics x_{t+1} = x_t (a_t + b_t x_t² + c_t x_t⁴), the same for
every p, and a readout, linear in functions that the chain has computed anyway,

    f_p(x) = w_0 x + x_last · (w_1 + Σ_t w_{t+2} a_t + Σ_t w_{...} b_t + w_last a_last²),

with a_t = x_t² and b_t = b_t a_t + c_t a_t².  Its weights are w(p) = e_0 + (1 − p) W T(s), with
T_k(s) the Chebyshev polynomials of s = (p − 1/4) / (3/4), so that p = 1 returns x itself.

The fit is minimax: it minimises ε in |f_p(x) / xᵖ − 1| ≤ ε (1 − p) over x in [floor, 1] and p in
[−1/2, 1], jointly over quintics and weights.  Random chains are first improved by least squares
with the weights eliminated (variable projection), and the best are polished by sequential linear
programming in a trust region.  On (1, 1.04] four times the error is allowed, which keeps the
chain from diverging should the bound on the largest singular value be overshot by rounding.

    python -m benchmarks.fit_spectral_chain --steps 5 --floor 0.006

prints the entry of ``CHAINS``; everything is float64 numpy and deterministic for a given seed.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, linprog
from scipy.sparse import csc_matrix, hstack, vstack

Array = NDArray[np.float64]

TOP = 1.002
GUARD = 1.04
GUARD_SLACK = 4.0
N_POWERS = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Quintics (steps − 1, 3), Chebyshev table (degree + 1, 2 steps + 2) and the error ε."""

    floor: float
    quintics: Array
    table: Array
    error: float


def iterates(quintics: Array, x: Array) -> list[Array]:
    """x_0 … x_{T−1} for the T − 1 rows of ``quintics``."""
    chain = [x]
    for a, b, c in quintics:
        y = chain[-1]
        chain.append(y * (a + b * y**2 + c * y**4))
    return chain


def basis(quintics: Array, x: Array) -> Array:
    """The functions the readout combines, shape (x, 2 T + 2), in the order of the table."""
    chain = iterates(quintics, x)
    last = chain[-1]
    squares = [y**2 for y in chain]
    shapes = [b * a + c * a**2 for (_, b, c), a in zip(quintics, squares, strict=False)]
    return np.stack(
        [
            x,
            last,
            *(a * last for a in squares),
            *(b * last for b in shapes),
            squares[-1] ** 2 * last,
        ],
        axis=-1,
    )


def chebyshev(p: Array, degree: int) -> Array:
    """T_k((p − 1/4) / (3/4)), shape (p, degree + 1)."""
    s = np.clip((p - 0.25) / 0.75, -1.0, 1.0)
    return np.cos(np.arange(degree + 1) * np.arccos(s)[:, None])


def grid(floor: float, n: int) -> tuple[Array, Array]:
    """Sample points in [floor, 1.04], denser at both ends of [floor, 1], and their tolerances."""
    even = np.linspace(0.0, 1.0, n)
    s = 0.5 * even + 0.25 * (1 - np.cos(np.pi * even))
    x = np.exp(np.log(floor) + s * np.log(TOP / floor))
    guard = np.linspace(TOP, GUARD, 12)[1:]
    return np.concatenate([x, guard]), np.concatenate([np.ones(n), np.full(11, GUARD_SLACK)])


def powers(n: int = N_POWERS) -> Array:
    """Values of p in [−1/2, 1], denser at both ends."""
    return 0.25 - 0.75 * np.cos(np.pi * np.arange(n) / (n - 1))


def target(x: Array, p: Array) -> Array:
    """(xᵖ − x) / ((1 − p) xᵖ), what the weighted basis over xᵖ has to equal; shape (p, x)."""
    q = 1.0 - p[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(q < 1e-12, -np.log(x), -np.expm1(q * np.log(x)) / q)


def residual(quintics: Array, table: Array, x: Array, p: Array) -> Array:
    """(f_p(x) / xᵖ − 1) / (1 − p), shape (p, x)."""
    weights = chebyshev(p, len(table) - 1) @ table
    return np.asarray(weights @ basis(quintics, x).T / x ** p[:, None] - target(x, p))


def random_chain(steps: int, rng: np.random.Generator) -> Array:
    """Steps − 1 quintics that lift small x and keep [0, 1] within about [0, 1]."""
    while True:
        y = np.linspace(0.0, 1.0, 400)
        rows = []
        for _ in range(steps - 1):
            a = rng.uniform(2.2, 6.0)
            b = -a * rng.uniform(1.4, 2.6)
            c = -b * rng.uniform(0.45, 0.8)
            z = y * (a + b * y**2 + c * y**4)
            rows.append(np.array([a, b, c]) / z.max())
            if z.max() > 2.5 or z.min() < -0.3:
                break
            y = z / z.max()
        else:
            return np.array(rows)


def project(quintics: Array, x: Array, p: Array, tolerance: Array, ridge: float = 1e-9) -> Array:
    """Least-squares weights for each p on its own, shape (p, 2 T + 2)."""
    phi = basis(quintics, x)
    size = np.sqrt((phi**2).mean(0))
    rows = phi / (x ** p[:, None] * tolerance)[..., None]
    damp = np.broadcast_to(np.diag(np.sqrt(ridge * len(x)) * size), (len(p), *(2 * [len(size)])))
    q, r = np.linalg.qr(np.concatenate([rows, damp], 1))
    right = np.concatenate([target(x, p) / tolerance, np.zeros((len(p), len(size)))], 1)
    return np.asarray(np.linalg.solve(r, np.einsum("pxk,px->pk", q, right)[..., None])[..., 0])


def improve(quintics: Array, floor: float, *, n: int, evaluations: int) -> tuple[float, Array]:
    """Variable projection: least squares over the quintics, weights eliminated."""
    x, tolerance = grid(floor, n)
    p = powers(7)

    def error(theta: Array) -> Array:
        chain = theta.reshape(-1, 3)
        with np.errstate(all="ignore"):
            phi = basis(chain, x)
            if not np.isfinite(phi).all() or np.abs(phi).max() > 1e4:
                return np.full(len(p) * len(x), 1e3)
        weights = project(chain, x, p, tolerance)
        value = (weights @ phi.T / x ** p[:, None] - target(x, p)) / tolerance
        return np.asarray(value.ravel())

    start = quintics.ravel()
    done = least_squares(error, start, max_nfev=evaluations, x_scale=np.maximum(np.abs(start), 0.3))
    return float(np.sqrt(2 * done.cost / (len(p) * len(x)))), done.x.reshape(-1, 3)


def polish(
    quintics: Array,
    table: Array,
    floor: float,
    *,
    n: int = 320,
    rounds: int = 40,
    radius: float = 0.05,
    move_chain: bool = True,
) -> Fit:
    """Sequential linear programming for the minimax error, in a shrinking trust region."""
    x, tolerance = grid(floor, n)
    p = powers()
    waves = chebyshev(p, len(table) - 1)
    quintics, table = quintics.copy(), table.copy()
    best = float(np.abs(residual(quintics, table, x, p) / tolerance).max())
    for _ in range(rounds):
        now = (residual(quintics, table, x, p) / tolerance).ravel()
        phi = basis(quintics, x)
        scale = 1.0 / (x ** p[:, None] * tolerance)
        by_table = np.einsum("pd,xk,px->pxdk", waves, phi, scale).reshape(len(now), -1)
        slopes = [by_table]
        bounds: list[tuple[float | None, float | None]] = [(None, None)] * table.size
        if move_chain:
            slopes.append(_chain_slopes(quintics, waves @ table, x, scale))
            reach = radius * np.maximum(np.abs(quintics.ravel()), 0.2)
            bounds += [(-r, r) for r in reach]
        jacobian = csc_matrix(np.concatenate(slopes, 1))
        one = csc_matrix(np.ones((len(now), 1)))
        cost = np.zeros(jacobian.shape[1] + 1)
        cost[-1] = 1.0
        step = linprog(
            cost,
            A_ub=vstack([hstack([jacobian, -one]), hstack([-jacobian, -one])]).tocsc(),
            b_ub=np.concatenate([-now, now]),
            bounds=[*bounds, (0.0, None)],
            method="highs-ipm",
        )
        if step.x is None:
            radius /= 4
            continue
        moved = table + step.x[: table.size].reshape(table.shape)
        chain = quintics + step.x[table.size : -1].reshape(-1, 3) if move_chain else quintics
        with np.errstate(all="ignore"):
            error = float(np.abs(residual(chain, moved, x, p) / tolerance).max())
        if not error < best:
            radius /= 4
            if radius < 1e-5 or not move_chain:
                break
            continue
        gain, ratio = (best - error) / best, (best - error) / max(best - step.x[-1], 1e-15)
        quintics, table, best = chain, moved, error
        if ratio > 0.6:
            radius = min(2 * radius, 0.3)
        if gain < 3e-4:
            break
    return Fit(floor=floor, quintics=quintics, table=table, error=best)


def _chain_slopes(quintics: Array, weights: Array, x: Array, scale: Array) -> Array:
    """D residual / d quintics by the complex step, shape (p · x, 3 (T − 1))."""
    columns = []
    for i in range(quintics.size):
        shifted = quintics.astype(np.complex128)
        shifted.flat[i] += 1e-20j
        columns.append((weights @ (basis(shifted, x).imag / 1e-20).T * scale).ravel())  # type: ignore[arg-type]
    return np.stack(columns, 1)


def normalised(quintics: Array) -> Array:
    """The same chain with every iterate scaled to a maximum of 1 on [0, 1]."""
    y, out, size = np.linspace(0.0, 1.0, 20001), [], 1.0
    for a, b, c in quintics:
        y = y * (a + b * y**2 + c * y**4)
        peak = float(y.max())
        out.append([a * size / peak, b * size**3 / peak, c * size**5 / peak])
        size = peak
    return np.array(out)


def fit(steps: int, floor: float, *, degree: int, starts: int, seed: int, keep: int = 5) -> Fit:
    """Multi-start fit of a chain of ``steps`` quintic-sized steps."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(starts):
        try:
            found.append(improve(random_chain(steps, rng), floor, n=120, evaluations=25))
        except np.linalg.LinAlgError:
            continue
        print(
            f"start {i + 1}/{starts}: rms {found[-1][0]:.2e}, best {min(f[0] for f in found):.2e}"
        )
    found.sort(key=lambda item: item[0])
    best: Fit | None = None
    for rms, chain in found[:keep]:
        _, chain = improve(chain, floor, n=160, evaluations=60)
        chain = normalised(chain)
        x, tolerance = grid(floor, 320)
        p = powers()
        weights = project(chain, x, p, tolerance)
        table = np.linalg.lstsq(chebyshev(p, degree), weights, rcond=None)[0]
        done = polish(chain, table, floor)
        print(f"polished {rms:.2e} to a minimax error of {done.error:.4%} (1 - p)")
        if best is None or done.error < best.error:
            best = done
    assert best is not None
    chain = np.round(normalised(best.quintics), 6)
    x, tolerance = grid(floor, 320)
    weights = project(chain, x, powers(), tolerance)
    table = np.linalg.lstsq(chebyshev(powers(), degree), weights, rcond=None)[0]
    return polish(chain, table, floor, n=480, move_chain=False)


def main() -> None:
    """Fit one chain and print it as an entry of ``CHAINS``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--floor", type=float, default=6e-3)
    parser.add_argument("--degree", type=int, default=8)
    parser.add_argument("--starts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    done = fit(given.steps, given.floor, degree=given.degree, starts=given.starts, seed=given.seed)
    print(f"# steps {given.steps}: error {done.error:.5f} (1 - p)")
    print(f"floor={done.floor},")
    print("quintics=(")
    for row in done.quintics:
        print("    (" + ", ".join(f"{v:.6f}" for v in row) + "),")
    print("),")
    print("table=(")
    for row in done.table:
        print("    (" + ", ".join(f"{v:.6f}" for v in row) + "),")
    print("),")


if __name__ == "__main__":
    main()
