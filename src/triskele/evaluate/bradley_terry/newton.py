"""Bradley–Terry strengths that maximise the penalised likelihood, of many tables of wins at once.

With wins n_ij of i over j, P(i beats j) = σ(θ_i − θ_j), a ridge ρ and a prior μ, the strengths are

    argmin_θ  Σ_ij n_ij log(1 + exp(θ_j − θ_i)) + ρ/2 ‖θ − μ‖²,

which is unique for ρ > 0. Without a ridge each connected group of models keeps the mean of its
prior; that is also the limit for ρ → 0, and the mean of a group is that of its prior for all ρ.

Newton's method finds it. A whole step is taken if it halves the gradient; otherwise a step that is
short enough to lower the objective for certain: the third derivative along a direction is at most
the range R of the direction times the second, so that log(1 + R) / R of the step is safe (Bach
2010, Self-concordant analysis for logistic regression). No objective is ever evaluated.

Shape suffixes: B tables, M models.
"""

from typing import NamedTuple
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from triskele.evaluate.bradley_terry.connectivity import groups, links, separation
from triskele.evaluate.columns import Flags, Floats

DEFAULT_RIDGE = 0.01
"""Little against a handful of comparisons, yet enough to keep who never lost at a finite place."""
MAX_ROUNDS = 1000
SMALL_STEP = 1e-6
"""Once a whole step is so small, what is left is of the order of its square."""
ROUNDING = 8 * np.finfo(np.float64).eps
"""A gradient smaller than this share of its terms is zero."""
DIAGONAL = 1e-10
"""Added to the diagonal of the Hessian, relative to it, so that a group can be solved for."""
MIN_CURVATURE = 1e-305
MAX_SPAN = 64.0
"""Strengths within so much of each other are exponentiated one by one, not pair by pair."""


def fit_counts(
    wins: ArrayLike,
    *,
    ridge: ArrayLike = DEFAULT_RIDGE,
    prior: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> Floats:
    """Return the strengths of the models of each table.

    Parameters
    ----------
    wins
        What i won against j, (…, n_models, n_models), ≥ 0 and finite, with zeros in the diagonal.
    ridge
        Strength ρ of the pull towards the prior, ≥ 0; one for all tables, or one each, (…).
    prior
        Where strengths are pulled to, (n_models,) or (…, n_models); zero if not given.
    start
        Where to begin, (n_models,) or (…, n_models); at the prior if not given. A start near the
        answer, such as that of similar counts, saves rounds; it does not change the answer.

    Returns
    -------
    Array
        (…, n_models), with the mean of the prior in each connected group.

    Raises
    ------
    ValueError
        If the tables are not square, not finite or negative, if shapes do not fit, or if there is
        no ridge and a table has no finite maximum.

    Warns
    -----
    ConvergenceWarning
        If rounding keeps the gradient from vanishing.
    """
    tables = np.asarray(wins, np.float64)
    _check_tables(tables)
    shape = tables.shape[:-1]
    ρ = _broadcast(ridge, shape[:-1], "ridge")
    if not (ρ >= 0).all():
        raise ValueError(f"expected a ridge of at least 0, got {ridge!r}")
    μ = _broadcast(0.0 if prior is None else prior, shape, "prior")
    θ = μ if start is None else _broadcast(start, shape, "start")
    n_models = shape[-1]
    if n_models == 0 or μ.size == 0:
        return μ.copy()
    wins_BMM, ρ_B = tables.reshape(-1, n_models, n_models), ρ.reshape(-1)
    for table in np.flatnonzero(ρ_B == 0):
        apart = separation(wins_BMM[table])
        if apart is not None:
            raise ValueError(
                f"expected a ridge above 0 for table {table}: models {apart.unbeaten.tolist()} "
                f"lost nothing to the others, models {apart.winless.tolist()} won nothing"
            )
    given = _tables(wins_BMM, ρ_B, μ.reshape(-1, n_models))
    answer_BM, n_left = _maximise(given, θ.reshape(-1, n_models))
    if n_left:
        message = f"{n_left} of {len(wins_BMM)} tables of wins did not converge"
        warn(message, ConvergenceWarning, stacklevel=2)
    return answer_BM.reshape(shape)


class _Tables(NamedTuple):
    """What is given, scaled so that neither 1e-300 nor 1e300 leaves the range of a float."""

    losses_BMM: Floats
    games_BMM: Floats
    ridge_B1: Floats
    prior_BM: Floats
    weight_BM: Floats
    """The most that the curvature of each strength can be, up to a factor of four."""
    averaging_BMM: Floats
    """Replaces each strength by the mean of its group; (B, 1, 1) if all tables are one group."""

    def take(self, kept: Flags) -> "_Tables":
        return _Tables._make(column[kept] for column in self)

    def group_mean(self, x_BM: Floats) -> Floats:
        if self.averaging_BMM.shape[-1] < x_BM.shape[-1]:
            return np.asarray(x_BM.mean(-1, keepdims=True))
        return np.asarray((self.averaging_BMM @ x_BM[..., None])[..., 0])


class _Point(NamedTuple):
    """Where the tables stand."""

    θ_BM: Floats
    P_BMM: Floats
    """P(i beats j)."""
    g_BM: Floats
    """The gradient."""
    noise_BM: Floats
    """How large the gradient may be from rounding alone."""

    def take(self, kept: Flags) -> "_Point":
        return _Point._make(column[kept] for column in self)


def _check_tables(tables: Floats) -> None:
    if tables.ndim < 2 or tables.shape[-1] != tables.shape[-2]:
        raise ValueError(f"expected square tables of wins, got shape {tables.shape}")
    if not ((tables >= 0) & (tables < np.inf)).all():
        raise ValueError("expected wins that are finite and at least 0")
    if np.diagonal(tables, axis1=-2, axis2=-1).any():
        raise ValueError("expected zeros in the diagonal: no model plays against itself")


def _broadcast(values: ArrayLike, shape: tuple[int, ...], name: str) -> Floats:
    given = np.asarray(values, np.float64)
    try:
        wide = np.broadcast_to(given, shape)
    except ValueError:
        raise ValueError(f"expected a {name} of shape {shape}, got {given.shape}") from None
    if not np.isfinite(wide).all():
        raise ValueError(f"expected a finite {name}")
    return wide


def _tables(wins_BMM: Floats, ridge_B: Floats, prior_BM: Floats) -> _Tables:
    scale_B = np.maximum(wins_BMM.max((-1, -2)), ridge_B)
    scale_B[scale_B == 0] = 1.0
    scaled_BMM = wins_BMM / scale_B[:, None, None]
    ridge_B1 = (ridge_B / scale_B)[:, None]
    losses_BMM = np.ascontiguousarray(scaled_BMM.swapaxes(-1, -2))
    games_BMM = scaled_BMM + losses_BMM
    weight_BM = games_BMM.sum(-1) + ridge_B1
    weight_BM[weight_BM == 0] = 1.0
    group_BM = groups(links(wins_BMM))
    averaging_BMM = np.ones((len(wins_BMM), 1, 1))
    if group_BM.any():
        same_BMM = (group_BM[:, :, None] == group_BM[:, None, :]).astype(np.float64)
        averaging_BMM = same_BMM / same_BMM.sum(-1, keepdims=True)
    return _Tables(losses_BMM, games_BMM, ridge_B1, prior_BM, weight_BM, averaging_BMM)


def _maximise(tables: _Tables, start_BM: Floats) -> tuple[Floats, int]:
    """Return the strengths and how many tables are not done after all rounds."""
    θ_BM = np.asarray(start_BM - tables.group_mean(start_BM - tables.prior_BM))
    answer_BM = θ_BM.copy()
    table_B = np.arange(len(θ_BM))
    point = _point(tables, θ_BM)
    least_B = _merit(tables, point)
    is_done = np.zeros(len(table_B), bool)
    for _ in range(MAX_ROUNDS):
        is_done |= (np.abs(point.g_BM) <= point.noise_BM).all(-1)
        if is_done.any():
            left = ~is_done
            answer_BM[table_B[is_done]] = point.θ_BM[is_done]
            tables, point = tables.take(left), point.take(left)
            table_B, least_B = table_B[left], least_B[left]
        if not len(table_B):
            return answer_BM, 0
        point, is_done, least_B = _step(tables, point, least_B)
    answer_BM[table_B] = point.θ_BM
    return answer_BM, int(np.sum(~is_done))


def _step(tables: _Tables, point: _Point, least_B: Floats) -> tuple[_Point, Flags, Floats]:
    """Return where the next step leads, which tables need no further one, and the least merit."""
    Δ_BM = _direction(tables, point)
    R_B = np.ptp(Δ_BM, axis=-1)
    is_small = R_B <= SMALL_STEP
    ahead = _point(tables, point.θ_BM + Δ_BM)
    merit_B = _merit(tables, ahead)
    too_far = (merit_B > least_B / 2) & ~is_small
    if too_far.any():
        R_B1 = R_B[too_far, None]
        shorter_BM = point.θ_BM[too_far] + np.log1p(R_B1) / R_B1 * Δ_BM[too_far]
        nearer = _point(tables.take(too_far), shorter_BM)
        for column, replacement in zip(ahead, nearer, strict=True):
            column[too_far] = replacement
    return ahead, is_small, np.minimum(least_B, merit_B)


def _point(tables: _Tables, θ_BM: Floats) -> _Point:
    P_BMM = _probabilities(θ_BM)
    # Of the games that i lost to j, those it would be expected to win. However sure the model is of
    # a game, this is a small number, not the difference of two large ones.
    surplus_BMM = tables.losses_BMM * P_BMM
    over_BM, under_BM = surplus_BMM.sum(-1), surplus_BMM.sum(-2)
    pull_BM = tables.ridge_B1 * (θ_BM - tables.prior_BM)
    terms_BM = over_BM + under_BM + np.abs(pull_BM)
    noise_BM = ROUNDING * (1 + np.abs(θ_BM).max(-1, keepdims=True)) * terms_BM
    return _Point(θ_BM, P_BMM, over_BM - under_BM + pull_BM, noise_BM)


def _probabilities(θ_BM: Floats) -> Floats:
    """Return P(i beats j), exact to the last digits however small it is."""
    low_B1, high_B1 = θ_BM.min(-1, keepdims=True), θ_BM.max(-1, keepdims=True)
    if (high_B1 - low_B1 > MAX_SPAN).any():
        return np.asarray(expit(θ_BM[:, :, None] - θ_BM[:, None, :]))
    odds_BM: Floats = np.exp(θ_BM - (low_B1 + high_B1) / 2)
    return np.asarray(odds_BM[:, :, None] / (odds_BM[:, :, None] + odds_BM[:, None, :]))


def _merit(tables: _Tables, point: _Point) -> Floats:
    return np.asarray((np.abs(point.g_BM) / tables.weight_BM).max(-1))


def _direction(tables: _Tables, point: _Point) -> Floats:
    """Return the Newton step, within the groups."""
    H_BMM = point.P_BMM * point.P_BMM.swapaxes(-1, -2)
    H_BMM *= tables.games_BMM
    curvature_BM = H_BMM.sum(-1)
    np.negative(H_BMM, out=H_BMM)
    curvature_BM *= 1 + DIAGONAL
    curvature_BM += tables.ridge_B1 + MIN_CURVATURE * tables.weight_BM
    np.einsum("bii->bi", H_BMM)[:] = curvature_BM
    Δ_BM = np.asarray(np.linalg.solve(H_BMM, -point.g_BM[..., None])[..., 0], np.float64)
    return np.asarray(Δ_BM - tables.group_mean(Δ_BM))
