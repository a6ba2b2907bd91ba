"""Derive the constants of :mod:`triskele.optim.chain`: shared quintics and their readouts.

A chain is a short sequence of odd quintics x_{t+1} = x_t (a_t + B_t), the same for every p, and a
readout that is linear in functions the chain has computed anyway,

    f_p(x) = w_0 x + x_{T−1} (w_1 + Σ_t w_{2+t} A_t + Σ_t w_{2+T+t} B_t + w_{2T+1} A_{T−1}²),

with A_t = x_t² − α_t and B_t = b_t A_t + c_t A_t².  The centres α_t change nothing but rounding:
they make A_t small, and are set at the end to the means of x_t².  The weights are
w(p) = e_0 + (1 − p) floor^{p/2} W T(s), with T_k(s) the Chebyshev polynomials of
s = (p − 1/4) / (3/4): p = 1 returns x itself, and the power of the floor halves the range that the
polynomial in p has to cover.

The error is |f_p(x) / xᵖ − 1| / (1 − p) for x in [floor, 1] and p in [−1/2, 1].  Random chains are
improved by least squares with the weights eliminated for each p (variable projection), with three
sizes of grid; W is then the minimiser of the error's 8-norm, close to least squares on average and
to minimax at worst.  On (1, 1.04] errors count a quarter, which keeps the chain from diverging
where rounding overshoots the bound on the largest singular value.

    python -m benchmarks.fit_spectral_chain --steps 5 --floor 0.007

prints the entry of ``CHAINS``; everything is float64 numpy and deterministic for a given seed.
"""

import argparse
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Array = NDArray[np.float64]

TOP = 1.002
GUARD = 1.04
GUARD_WEIGHT = 0.25
DEGREE = 6
NORM = 8
BAD = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Centres (T,), quintics (T − 1, 3), W (2 T + 2, degree + 1) and the largest error."""

    floor: float
    centres: Array
    quintics: Array
    table: Array
    error: float


def iterates(quintics: Array, x: Array, *, centres: Array | None = None) -> list[Array]:
    """x_0 … x_{T−1} for the T − 1 rows of ``quintics``."""
    chain = [x]
    for t, (a, b, c) in enumerate(quintics):
        y = chain[-1]
        square = y**2 - (0.0 if centres is None else centres[t])
        chain.append(y * (a + b * square + c * square**2))
    return chain


def basis(quintics: Array, x: Array, *, centres: Array | None = None) -> Array:
    """Return what the readout combines, shape (x, 2 T + 2), in the order of the weights."""
    chain = iterates(quintics, x, centres=centres)
    last = chain[-1]
    middles = np.zeros(len(chain)) if centres is None else centres
    squares = [y**2 - middle for y, middle in zip(chain, middles, strict=True)]
    steps = [b * a + c * a**2 for (_, b, c), a in zip(quintics, squares, strict=False)]
    columns = [np.ones_like(x), *squares, *steps, squares[-1] ** 2]
    return np.stack([x, *(column * last for column in columns)], axis=-1)


def waves(p: Array, floor: float) -> Array:
    """floor^{p/2} T_k((p − 1/4) / (3/4)), shape (p, degree + 1)."""
    s = np.clip((p - 0.25) / 0.75, -1.0, 1.0)
    return np.asarray(
        floor ** (p[:, None] / 2) * np.cos(np.arange(DEGREE + 1) * np.arccos(s)[:, None])
    )


def grid(floor: float, n: int) -> tuple[Array, Array]:
    """Points in [floor, 1.04], denser at both ends of [floor, 1], and their weights."""
    even = np.linspace(0.0, 1.0, n)
    s = 0.5 * even + 0.25 * (1 - np.cos(np.pi * even))
    x = np.exp(np.log(floor) + s * np.log(TOP / floor))
    guard = np.linspace(TOP, GUARD, 13)[1:]
    return np.concatenate([x, guard]), np.concatenate([np.ones(n), np.full(12, GUARD_WEIGHT)])


def powers(n: int) -> Array:
    """Values of p in [−1/2, 1], denser at both ends."""
    return 0.25 - 0.75 * np.cos(np.pi * np.arange(n) / (n - 1))


def target(x: Array, p: Array) -> Array:
    """(xᵖ − x) / ((1 − p) xᵖ), which the weighted basis over xᵖ has to equal; shape (p, x)."""
    q = 1.0 - p[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(q < 1e-12, -np.log(x), -np.expm1(q * np.log(x)) / q)


def errors(chain: Fit, x: Array, p: Array) -> Array:
    """(f_p(x) / xᵖ − 1) / (1 − p), shape (p, x)."""
    phi = basis(chain.quintics, x, centres=chain.centres)
    weights = waves(p, chain.floor) @ chain.table.T
    return np.asarray(weights @ phi.T / x ** p[:, None] - target(x, p))


def random_chain(steps: int, rng: np.random.Generator) -> Array:
    """Quintics of random shape that lift small x and map [0, 1] to within about [0, 1]."""
    while True:
        y = np.linspace(0.0, 1.0, 400)
        rows = []
        for _ in range(steps - 1):
            a = rng.uniform(2.2, 6.0)
            b = -a * rng.uniform(1.4, 2.6)
            c = -b * rng.uniform(0.45, 0.8)
            z = y * (a + b * y**2 + c * y**4)
            if z.max() > 2.5 or z.min() < -0.3:
                break
            rows.append(np.array([a, b, c]) / z.max())
            y = z / z.max()
        else:
            return np.array(rows)


def improve(quintics: Array, floor: float, *, n: int, evaluations: int) -> tuple[float, Array]:
    """Least squares over the quintics, the weights eliminated; returns the rms and the chain."""
    (x, weight), p = grid(floor, n), powers(9)
    scale = weight / x ** p[:, None]
    goal = target(x, p) * weight

    def residual(theta: Array) -> Array:
        with np.errstate(all="ignore"):
            phi = basis(theta.reshape(-1, 3), x)
        if not np.isfinite(phi).all() or np.abs(phi).max() > BAD:
            return np.full(goal.size, BAD)
        rows = phi * scale[..., None]
        return np.asarray(
            (np.einsum("pxk,pk->px", rows, _project(rows, goal, ridge=1e-9)) - goal).ravel()
        )

    start = quintics.ravel()
    done = least_squares(
        residual, start, max_nfev=evaluations, x_scale=np.maximum(np.abs(start), 0.3)
    )
    return float(np.sqrt(2 * done.cost / goal.size)), done.x.reshape(-1, 3)


def readout(
    quintics: Array, centres: Array, floor: float, *, n: int = 480, rounds: int = 40
) -> Array:
    """W of the smallest 8-norm of the error, by damped iteratively reweighted least squares."""
    (x, weight), p = grid(floor, n), powers(13)
    scale = weight / x ** p[:, None]
    phi = basis(quintics, x, centres=centres)
    rows = np.einsum("xk,pd,px->pxkd", phi, waves(p, floor), scale)
    rows = rows.reshape(len(p) * len(x), -1)
    goal = (target(x, p) * weight).ravel()
    table = _project(rows[None], goal[None], ridge=1e-14)[0]
    for _ in range(rounds):
        error = np.abs(rows @ table - goal)
        emphasis = (error / error.max() + 1e-4) ** ((NORM - 2) / 2)
        again = _project((rows * emphasis[:, None])[None], (goal * emphasis)[None], ridge=1e-14)[0]
        table += (again - table) / (NORM - 1)
    return np.asarray(table.reshape(-1, DEGREE + 1))


def normalised(quintics: Array) -> Array:
    """Return the same chain with every iterate scaled to a maximum of 1 on [0, 1]."""
    y, out, size = np.linspace(0.0, 1.0, 20001), [], 1.0
    for a, b, c in quintics:
        y = y * (a + b * y**2 + c * y**4)
        peak = float(y.max())
        out.append([a * size / peak, b * size**3 / peak, c * size**5 / peak])
        size = peak
    return np.array(out)


def centred(quintics: Array, floor: float) -> tuple[Array, Array]:
    """Return the means of x_t² over log-uniform x, in 64ths, and the same chain about them."""
    x = np.exp(np.linspace(np.log(floor), 0.0, 400))
    centres = np.array([(y**2).mean() for y in iterates(quintics, x)])
    centres = np.round(64 * centres) / 64
    a, b, c = quintics.T
    middle = centres[:-1]
    return centres, np.stack([a + b * middle + c * middle**2, b + 2 * c * middle, c], axis=1)


def fit(steps: int, floor: float, *, starts: int, seed: int) -> Fit:
    """Fit a chain of ``steps`` quintic-sized steps from ``starts`` random ones."""
    rng = np.random.default_rng(seed)
    found: list[tuple[float, Array]] = []
    for i in range(starts):
        try:
            found.append(improve(random_chain(steps, rng), floor, n=120, evaluations=25))
        except np.linalg.LinAlgError:
            continue
        print(f"start {i + 1}/{starts}: rms {found[-1][0]:.3e}", end="\r", flush=True)
    for n, keep in ((200, 8), (360, 3)):
        found = sorted(found, key=lambda item: item[0])[:keep]
        found = [improve(chain, floor, n=n, evaluations=80) for _, chain in found]
        print(f"rms on {n} points: " + " ".join(f"{rms:.3e}" for rms, _ in sorted(found, key=_rms)))
    centres, quintics = centred(normalised(min(found, key=_rms)[1]), floor)
    quintics = np.round(quintics, 6)
    table = np.round(readout(quintics, centres, floor), 6)
    done = Fit(floor=floor, centres=centres, quintics=quintics, table=table, error=math.nan)
    return replace(done, error=worst(done))


def worst(chain: Fit) -> float:
    """Return the largest error on a fine grid of [floor, 1.002] and p in [−1/2, 1]."""
    low = np.exp(np.linspace(np.log(chain.floor), 0.0, 6000))
    x = np.concatenate([low, np.linspace(0.7, TOP, 6000)])
    return float(np.abs(errors(chain, x, powers(41))).max())


def main() -> None:
    """Fit one chain and print it as an entry of ``CHAINS``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--floor", type=float, default=7e-3)
    parser.add_argument("--starts", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    done = fit(given.steps, given.floor, starts=given.starts, seed=given.seed)
    print("Chain(")
    print(f"    floor={done.floor},\n    error={np.ceil(done.error * 1e4) / 1e4:.4f},")
    print("    centres=(" + ", ".join(f"{value:g}" for value in done.centres) + "),")
    for name, rows in (("quintics", done.quintics), ("table", done.table)):
        print(f"    {name}=(")
        for row in rows:
            print("        (" + ", ".join(f"{value:.6f}" for value in row) + "),")
        print("    ),")
    print(")")


def _project(rows: Array, goal: Array, *, ridge: float) -> Array:
    """Solve a stack of least-squares problems, slightly damped; (p, x, k), (p, x) to (p, k)."""
    size = np.sqrt(ridge * (rows**2).sum(1))
    damp = size[:, :, None] * np.eye(rows.shape[2])
    q, r = np.linalg.qr(np.concatenate([rows, damp], 1))
    right = np.einsum("pxk,px->pk", q[:, : rows.shape[1]], goal)
    return np.asarray(np.linalg.solve(r, right[..., None])[..., 0])


def _rms(found: tuple[float, Array]) -> float:
    return found[0]


if __name__ == "__main__":
    main()
