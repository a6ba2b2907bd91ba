"""How sure the strengths are: covariances and resamples of a Bradley–Terry fit.

With the curvature H of the penalised objective at its minimum, and the score s_q of each query, the
sum over its comparisons of their gradients,

- Laplace: H⁻¹, the posterior under the prior N(μ, I/ρ). It takes every unit of weight for an
  independent comparison from the model.
- sandwich: H⁻¹ (Σ_q s_q s_qᵀ + ρI) H⁻¹. Comparisons of one query may depend on each other, weights
  may be anything, and the model may be wrong (White 1982; Liang and Zeger 1986). The prior counts
  as evidence of its own, so that a model whose comparisons are all won, and hence show no
  variation, is not taken to be known; where the model is right this is Laplace again.
- bootstrap: queries are drawn with replacement and the strengths fitted again.

Strengths are only known relative to each other: everything here is about strengths less their mean.
"""

from dataclasses import replace

import numpy as np
from scipy import sparse

from triskele.evaluate.bradley_terry.counts import wins_by_query
from triskele.evaluate.bradley_terry.covariates import Effects, fit_effects
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.comparisons import Comparisons

AT_ONCE = 1 << 22
"""Numbers that a batch of resamples may take; bounds the memory."""
RESAMPLE_RIDGE = 1e-6
"""Of the mean weight. Where there is no ridge: in a resample a model may have lost everything."""


def curvature_of_counts(wins: Floats, strengths: Floats) -> Floats:
    """Return the curvature of the negative log likelihood, without the ridge.

    Parameters
    ----------
    wins
        (n_models, n_models), what i won against j.
    strengths
        (n_models,).
    """
    lead = strengths[:, None] - strengths[None, :]
    # σ(x) σ(−x), exact however large x is.
    fading = np.exp(-np.abs(lead))
    pairs = (wins + wins.T) * fading / np.square(1 + fading)
    return np.asarray(np.diag(pairs.sum(1)) - pairs)


def inverse_curvature(curvature: Floats, group: Integers, *, ridge: float) -> Floats:
    """Return the inverse of curvature plus ridge, for strengths less their mean.

    The likelihood does not depend on the mean of a connected group: there the curvature is zero and
    the inverse that of the ridge.

    Parameters
    ----------
    curvature
        (n_parameters, n_parameters); strengths first, then coefficients of covariates.
    group
        Connected group of each model, (n_models,).
    ridge
        At least 0. At 0 the levels of several groups are arbitrary; each then has its own zero.
    """
    n_models, n_parameters = len(group), len(curvature)
    _, number, size = np.unique(group, return_inverse=True, return_counts=True)
    levels = np.zeros((n_parameters, len(size)))
    levels[np.arange(n_models), number] = 1 / np.sqrt(size[number])
    scale = np.diagonal(curvature)[:n_models]
    in_group = np.bincount(number, scale, len(size)) / size
    in_group[in_group == 0] = 1.0
    full = curvature + ridge * np.eye(n_parameters) + (levels * in_group) @ levels.T
    inverse = _without(levels, np.asarray(np.linalg.inv(full), np.float64))
    if ridge > 0:
        levels[:n_models] -= levels[:n_models].mean(0) if n_models else 0.0
        inverse += levels @ levels.T / ridge
    return inverse


def laplace(inverse: Floats, group: Integers, *, ridge: float) -> Floats:
    """Return the covariance of independent comparisons: :func:`inverse_curvature` itself.

    Without a ridge, nothing is known of a model without comparisons: its variance is infinite.
    """
    return _with_unknown(inverse.copy(), group, ridge)


def sandwich(
    inverse: Floats,
    group: Integers,
    comparisons: Comparisons,
    covariates: Floats,
    surplus: Floats,
    *,
    ridge: float,
) -> Floats:
    """Return the covariance that allows for dependence within queries.

    Parameters
    ----------
    inverse, group, ridge
        As for :func:`inverse_curvature`, and what it returned.
    comparisons, covariates
        What was fitted: n of them, and (n, n_covariates).
    surplus
        Predicted less observed outcome, times the weight, (n,).
    """
    n_models, n_covariates = comparisons.n_models, covariates.shape[1]
    query, n = comparisons.query, len(comparisons)
    values = [surplus, -surplus, (surplus[:, None] * covariates).ravel()]
    rows = [query, query, np.repeat(query, n_covariates)]
    of_covariates = np.tile(n_models + np.arange(n_covariates), n)
    columns = [comparisons.model_b, comparisons.model_a, of_covariates]
    scores = sparse.csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(comparisons.n_queries, n_models + n_covariates),
    )
    n_queries = n_queries_compared(comparisons)
    evidence = (scores.T @ scores).toarray() * (n_queries / max(n_queries - 1, 1))
    covariance = inverse @ (evidence + ridge * np.eye(len(inverse))) @ inverse
    return _with_unknown(covariance, group, ridge)


def resample_counts(
    comparisons: Comparisons,
    *,
    ridge: float,
    prior: Floats,
    start: Floats,
    n_resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """Return the strengths of resamples of the queries.

    Queries with one comparison each are told apart only by what it says, and drawn by kind: a
    million votes are resampled as fast as a thousand.

    Parameters
    ----------
    comparisons
        What was fitted.
    ridge, prior, start
        As of :func:`~triskele.evaluate.bradley_terry.newton.fit_counts`; without a ridge a very
        small one is taken.
    n_resamples
        How many.
    rng
        The source of the draws.

    Returns
    -------
    Array
        (n_resamples, n_models), each less its mean.
    """
    kinds, multiplicity = _kinds_of_queries(comparisons)
    wins, n_models, n_queries = wins_by_query(kinds), comparisons.n_models, multiplicity.sum()
    if n_queries == 0:
        return np.tile(prior - prior.mean(), (n_resamples, 1))
    resampled = np.empty((n_resamples, n_models))
    at_once = max(1, AT_ONCE // (kinds.n_queries + n_models * n_models))
    for begin in range(0, n_resamples, at_once):
        n = min(at_once, n_resamples - begin)
        drawn = rng.multinomial(n_queries, multiplicity / n_queries, size=n)
        tables = np.ascontiguousarray((wins @ drawn.T).T).reshape(n, n_models, n_models)
        resampled[begin : begin + n] = fit_counts(
            tables, ridge=_ridge_of_resamples(comparisons, ridge), prior=prior, start=start
        )
    return np.asarray(resampled - resampled.mean(1, keepdims=True))


def resample_effects(
    comparisons: Comparisons,
    covariates: Floats,
    *,
    ridge: float,
    prior: Floats,
    start: Effects,
    n_resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """Return strengths and coefficients of resamples of the queries, one fit after another.

    Parameters
    ----------
    comparisons, covariates, ridge, prior, start
        As of :func:`~triskele.evaluate.bradley_terry.covariates.fit_effects`.
    n_resamples
        How many.
    rng
        The source of the draws.

    Returns
    -------
    Array
        (n_resamples, n_models + n_covariates), strengths less their mean.
    """
    of_row = np.unique(comparisons.query, return_inverse=True)[1]
    n_queries = int(of_row.max(initial=-1)) + 1
    resampled = np.empty((n_resamples, comparisons.n_models + covariates.shape[1]))
    for row in resampled:
        drawn = np.bincount(rng.integers(n_queries, size=n_queries), minlength=n_queries)
        weight = comparisons.weight * drawn[of_row]
        fit = fit_effects(
            comparisons, covariates, ridge=ridge, prior=prior, start=start, weight=weight
        )
        row[:] = np.concatenate([fit.strengths - fit.strengths.mean(), fit.coefficients])
    return resampled


def n_queries_compared(comparisons: Comparisons) -> int:
    """Return how many queries have a comparison of positive weight."""
    return int(np.count_nonzero(np.bincount(comparisons.query[comparisons.weight > 0])))


def _without(directions: Floats, matrix: Floats) -> Floats:
    """Project a symmetric matrix onto what is orthogonal to some orthonormal columns."""
    left = matrix - directions @ (directions.T @ matrix)
    return np.asarray(left - (left @ directions) @ directions.T)


def _with_unknown(covariance: Floats, group: Integers, ridge: float) -> Floats:
    if ridge == 0 and len(group) > 1:
        alone = np.flatnonzero(np.bincount(group)[group] == 1)
        covariance[alone, alone] = np.inf
    return covariance


def _ridge_of_resamples(comparisons: Comparisons, ridge: float) -> float:
    weights = comparisons.weight[comparisons.weight > 0]
    return ridge if ridge > 0 or not weights.size else RESAMPLE_RIDGE * float(weights.mean())


def _kinds_of_queries(comparisons: Comparisons) -> tuple[Comparisons, Integers]:
    """Return one query of each kind, and how many there are of the kind."""
    weighed = comparisons.take(comparisons.weight > 0)
    is_single = np.bincount(weighed.query, minlength=weighed.n_queries)[weighed.query] == 1
    single, several = np.flatnonzero(is_single), np.flatnonzero(~is_single)
    codes = np.zeros(len(single), np.int64)
    for column in (weighed.model_a, weighed.model_b, weighed.outcome, weighed.weight):
        values, code = np.unique(column[single], return_inverse=True)
        # Numbered anew each time, so that they stay small.
        codes = np.unique(codes * len(values) + code, return_inverse=True)[1]
    _, first, of_kind = np.unique(codes, return_index=True, return_counts=True)
    queries, of_row = np.unique(weighed.query[several], return_inverse=True)
    rows = np.concatenate([single[first], several])
    kind = np.concatenate([np.arange(len(first)), len(first) + of_row])
    multiplicity = np.concatenate([of_kind, np.ones(len(queries), np.int64)])
    return replace(weighed.take(rows), query=kind, n_queries=len(multiplicity)), multiplicity
