"""One ranking of models for all queries: Bradley–Terry with intervals, ties and covariates.

P(b beats a) = σ(θ_b − θ_a + x·β), with strengths θ whose mean is zero and, if they are given,
covariates x of each comparison. A ridge ρ pulls the strengths towards a prior.

What is defined where the data say little:

- Who won or lost everything gets a finite strength from the ridge. Without a ridge there is none,
  and ``fit`` raises, naming the models.
- Groups of models that were never compared with each other stand at their prior relative to each
  other; the ridge says how sure that is. Without a ridge they are never told apart in ranks.
- Without comparisons, or if all have weight 0, the strengths are the prior.
- If all comparisons are ties, all strengths are equal (given no prior).
- One model has strength 0 and an interval of no width.
- If fewer than two queries were compared, they show nothing of how queries differ, and the sandwich
  and the bootstrap are replaced by Laplace's approximation.
"""

from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, ndtri
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from triskele.evaluate.bradley_terry.connectivity import groups, links, separation
from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.covariates import (
    Effects,
    check_covariates,
    fit_effects,
    information,
    log_odds,
)
from triskele.evaluate.bradley_terry.intervals import (
    curvature_of_counts,
    inverse_curvature,
    laplace,
    n_queries_compared,
    resample_counts,
    resample_effects,
    sandwich,
)
from triskele.evaluate.bradley_terry.newton import DEFAULT_RIDGE, fit_counts
from triskele.evaluate.bradley_terry.ranking import Ranking, rank_models
from triskele.evaluate.columns import Floats, Integers, listed
from triskele.evaluate.comparisons import Comparisons

Intervals = Literal["laplace", "sandwich", "bootstrap"]


class BradleyTerry(BaseEstimator):  # type: ignore[misc]
    """Strengths of models from comparisons of any queries.

    Parameters
    ----------
    ridge
        Strength ρ of the pull towards the prior, ≥ 0: the penalty is ρ/2 ‖θ − prior‖².
    prior
        Strengths to be pulled towards, (n_models,) in the order of the comparisons' models; only
        their differences matter. All equal if not given.
    intervals
        How the uncertainty is found, see ``intervals``; ``None`` leaves it out.
    level
        Probability with which an interval contains what it is of.
    n_bootstrap
        Resamples, for ``intervals="bootstrap"``.
    random_state
        Seed or generator of the resamples.

    Attributes
    ----------
    models_ : tuple of str
        Names.
    theta_ : array of shape (n_models,)
        Strengths, mean zero.
    covariance_ : array of shape (n_models, n_models)
        Of ``theta_``; not there if ``intervals`` is ``None``, as all that follows from it.
    lower_, upper_ : arrays of shape (n_models,)
        Ends of the interval of each strength.
    coefficients_ : array of shape (n_covariates,)
        β, empty without covariates.
    coefficients_lower_, coefficients_upper_ : arrays of shape (n_covariates,)
        Ends of the interval of each coefficient.
    components_ : array of shape (n_models,)
        Number of the connected group of each model; groups count from 0 by their first model.
    n_components_ : int
        How many groups there are.
    """

    def __init__(
        self,
        *,
        ridge: float = DEFAULT_RIDGE,
        prior: ArrayLike | None = None,
        intervals: Intervals | None = "sandwich",
        level: float = 0.9,
        n_bootstrap: int = 500,
        random_state: int | np.random.Generator | None = None,
    ) -> None:
        self.ridge = ridge
        self.prior = prior
        self.intervals = intervals
        self.level = level
        self.n_bootstrap = n_bootstrap
        self.random_state = random_state

    def fit(self, comparisons: Comparisons, covariates: ArrayLike | None = None) -> Self:
        """Find the strengths.

        Parameters
        ----------
        comparisons
            Of any number of queries.
        covariates
            (n, n_covariates), b's value minus a's; of a deviation of about one, for the ridge pulls
            their coefficients towards zero.

        Raises
        ------
        ValueError
            If an argument is out of its range, there is no model, or there is no ridge and models
            are infinitely strong.
        """
        self._check_parameters()
        models, n_models = comparisons.models, comparisons.n_models
        if n_models == 0:
            raise ValueError("expected comparisons of at least one model, got none")
        prior = self._centred_prior(n_models)
        wins = count_wins(comparisons)
        if self.ridge == 0:
            _refuse_infinite(models, wins)
        theta = fit_counts(wins, ridge=self.ridge, prior=prior)
        fit = _Fit(
            comparisons=comparisons,
            covariates=np.zeros((len(comparisons), 0)),
            effects=Effects(theta - theta.mean(), np.zeros(0)),
            group=groups(links(wins)),
            prior=prior,
            ridge=float(self.ridge),
        )
        if covariates is not None:
            fit = fit.with_covariates(check_covariates(covariates, len(comparisons)))
        self.models_ = models
        self.theta_, self.coefficients_ = fit.effects
        numbers, self.components_ = np.unique(fit.group, return_inverse=True)
        self.n_components_ = len(numbers)
        self._find_intervals(fit, wins)
        return self

    def predict_pairwise(self, a: ArrayLike, b: ArrayLike) -> Floats:
        """Return the probability that b beats a, covariates being equal.

        Parameters
        ----------
        a, b
            Names or indices of models, of shapes that broadcast.

        Raises
        ------
        ValueError
            If there is no such model.
        """
        check_is_fitted(self)
        lead = self.theta_[self._indices(b)] - self.theta_[self._indices(a)]
        return np.asarray(expit(lead))

    def rank(self) -> Ranking:
        """Return ranks, their intervals and the sets of models that are not told apart.

        Raises
        ------
        ValueError
            If the fit was made without intervals.
        """
        check_is_fitted(self)
        if self.intervals is None:
            raise ValueError("expected a fit with intervals, got intervals=None")
        covariance = self.covariance_
        if self.ridge == 0 and self.n_components_ > 1:
            is_apart = self.components_[:, None] != self.components_[None, :]
            covariance = np.where(is_apart, -np.inf, covariance)
        return rank_models(self.models_, self.theta_, covariance, level=self.level)

    def _check_parameters(self) -> None:
        if not 0 <= self.ridge < np.inf:
            raise ValueError(f"expected a finite ridge of at least 0, got {self.ridge}")
        if self.intervals is not None and self.intervals not in get_args(Intervals):
            raise ValueError(
                f"expected intervals to be one of {get_args(Intervals)} or None, "
                f"got {self.intervals!r}"
            )
        if not 0 < self.level < 1:
            raise ValueError(f"expected a level between 0 and 1, got {self.level}")
        if self.n_bootstrap < 2:
            raise ValueError(f"expected at least 2 resamples, got n_bootstrap={self.n_bootstrap}")

    def _centred_prior(self, n_models: int) -> Floats:
        if self.prior is None:
            return np.zeros(n_models)
        prior = np.asarray(self.prior, np.float64)
        if prior.shape != (n_models,) or not np.isfinite(prior).all():
            raise ValueError(f"expected a finite prior for {n_models} models, got {self.prior!r}")
        return np.asarray(prior - prior.mean())

    def _find_intervals(self, fit: "_Fit", wins: Floats) -> None:
        """Set the covariance and the ends of the intervals."""
        for name in _OF_INTERVALS:
            if hasattr(self, name):
                delattr(self, name)
        if self.intervals is None:
            return
        n_models = len(self.models_)
        estimate = np.concatenate(fit.effects)
        if self.intervals == "bootstrap" and n_queries_compared(fit.comparisons) > 1:
            rng = np.random.default_rng(self.random_state)
            resampled = fit.resamples(self.n_bootstrap, rng)
            covariance = np.cov(resampled, rowvar=False).reshape(len(estimate), -1)
            ends = ((1 - self.level) / 2, (1 + self.level) / 2)
            lower, upper = np.quantile(resampled, ends, axis=0)
        else:
            covariance = fit.covariance(wins, kind=self.intervals)
            reach = float(ndtri((1 + self.level) / 2)) * np.sqrt(np.diagonal(covariance))
            lower, upper = estimate - reach, estimate + reach
        self.covariance_ = covariance[:n_models, :n_models]
        self.lower_, self.coefficients_lower_ = lower[:n_models], lower[n_models:]
        self.upper_, self.coefficients_upper_ = upper[:n_models], upper[n_models:]

    def _indices(self, models: ArrayLike) -> Integers:
        given = np.asarray(models)
        if given.dtype.kind in "UO":
            place = {name: index for index, name in enumerate(self.models_)}
            unknown = [name for name in given.ravel().tolist() if name not in place]
            if unknown:
                raise ValueError(f"expected models of the fit, got {listed(unknown)}")
            flat = [place[name] for name in given.ravel().tolist()]
            return np.array(flat, np.int64).reshape(given.shape)
        if given.dtype.kind not in "iu":
            raise ValueError(f"expected names or indices of models, got {given.dtype}")
        if ((given < 0) | (given >= len(self.models_))).any():
            raise ValueError(f"expected indices of {len(self.models_)} models, got {models!r}")
        return given.astype(np.int64)


_OF_INTERVALS = (
    "covariance_",
    "lower_",
    "upper_",
    "coefficients_lower_",
    "coefficients_upper_",
)


class _Fit(NamedTuple):
    comparisons: Comparisons
    covariates: Floats
    effects: Effects
    group: Integers
    prior: Floats
    ridge: float

    def with_covariates(self, covariates: Floats) -> "_Fit":
        effects = fit_effects(
            self.comparisons,
            covariates,
            ridge=self.ridge,
            prior=self.prior,
            start=Effects(self.effects.strengths, np.zeros(covariates.shape[1])),
        )
        strengths = effects.strengths - effects.strengths.mean()
        effects = Effects(strengths, effects.coefficients)
        return self._replace(covariates=covariates, effects=effects)

    def covariance(self, wins: Floats, *, kind: str) -> Floats:
        comparisons, x, effects = self.comparisons, self.covariates, self.effects
        curvature = (
            information(comparisons, x, effects)
            if x.shape[1]
            else curvature_of_counts(wins, effects.strengths)
        )
        inverse = inverse_curvature(curvature, self.group, ridge=self.ridge)
        if kind == "laplace" or n_queries_compared(comparisons) < 2:
            return laplace(inverse, self.group, ridge=self.ridge)
        predicted = expit(log_odds(comparisons, x, effects))
        surplus = comparisons.weight * (predicted - comparisons.outcome)
        return sandwich(inverse, self.group, comparisons, x, surplus, ridge=self.ridge)

    def resamples(self, n_resamples: int, rng: np.random.Generator) -> Floats:
        if not self.covariates.shape[1]:
            return resample_counts(
                self.comparisons,
                ridge=self.ridge,
                prior=self.prior,
                start=self.effects.strengths,
                n_resamples=n_resamples,
                rng=rng,
            )
        return resample_effects(
            self.comparisons,
            self.covariates,
            ridge=self.ridge,
            prior=self.prior,
            start=self.effects,
            n_resamples=n_resamples,
            rng=rng,
        )


def _refuse_infinite(models: tuple[str, ...], wins: Floats) -> None:
    apart = separation(wins)
    if apart is not None:
        unbeaten, winless = ([models[index] for index in indices] for indices in apart)
        raise ValueError(
            f"expected a ridge above 0, for without one some strengths are infinite: "
            f"{listed(unbeaten)} lost nothing to the others, {listed(winless)} won nothing"
        )
