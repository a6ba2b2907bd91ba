"""Recursive least squares for a fleet: what all workers share, and how each one differs.

A prediction is x·(θ + δ_w): θ is learned from every worker's outcomes, δ_w from those of worker w
alone, and begins at zero. So a fleet knows after a hundred outcomes what a hundred outcomes teach,
a worker that joins is predicted like the others until it shows to be different, and one that is
slower for good gets a δ of its own. A δ fades while nothing is heard of its worker: who once seemed
slow is tried again.

The recursion is the exponentially forgetting one (Ljung, System Identification, section 11.2), on
a square root S of the covariance P = SSᵀ (Potter's form): whatever comes, P stays symmetric and
positive semi-definite. It is kept below the prior: without that it winds up where nothing new is
asked of it. An outcome that is off by more than ``BELIEVED`` standard deviations counts only as
much as one that is off by so many (Huber's weight): a worker that hung once does not spoil what is
known.
"""

from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BELIEVED = 10.0


class FleetRegression:
    """One target, predicted for every worker.

    Parameters
    ----------
    mean, deviation
        Prior of the shared coefficients, (n_features,).
    own
        Prior deviation of a worker's difference, as a share of ``deviation``.
    forgetting
        Weight of an outcome relative to the next one, of shared and of own coefficients.
    fading
        Seconds after which half of a silent worker's difference is forgotten.
    refresh
        Seconds for which coefficients that were worked out are given again.
    """

    def __init__(
        self,
        mean: ArrayLike,
        deviation: ArrayLike,
        *,
        own: float = 0.05,
        forgetting: tuple[float, float] = (0.998, 0.99),
        fading: float = 60.0,
        refresh: float = 0.0,
    ) -> None:
        self._forgetting = forgetting
        self._fading = fading
        self._prior = np.square(np.asarray(deviation, dtype=np.float64))
        self._own_prior = own**2 * self._prior
        n_features = len(self._prior)
        self.shared: Floats = np.array(mean, dtype=np.float64)
        self.own: Floats = np.zeros((n_features, 0))
        self._S = np.diag(np.sqrt(self._prior))
        self._own_S = np.zeros((0, n_features, n_features))
        self._heard = np.zeros(0)
        self._refresh = refresh
        self._given: tuple[float, Floats] | None = None

    def grow(self, n_slots: int) -> None:
        """Make room for workers up to ``n_slots``."""
        self._given = None
        n_features, n_old = self.own.shape
        prior = np.diag(np.sqrt(self._own_prior))
        new = np.broadcast_to(prior, (n_slots - n_old, n_features, n_features))
        self.own = np.concatenate([self.own, np.zeros((n_features, n_slots - n_old))], axis=1)
        self._own_S = np.concatenate([self._own_S, new])
        self._heard = np.concatenate([self._heard, np.full(n_slots - n_old, -inf)])

    def forget(self, slot: int) -> None:
        """Let a slot be that of a worker of which nothing is known."""
        self._given = None
        self.own[:, slot] = 0.0
        self._own_S[slot] = np.diag(np.sqrt(self._own_prior))
        self._heard[slot] = -inf

    def coefficients(self, now: float) -> Floats:
        """Return every worker's coefficients, (n_features, n_slots)."""
        if self._given is not None and abs(now - self._given[0]) < self._refresh:
            return self._given[1]
        faded = np.exp2((self._heard - now) / self._fading)
        coefficients: Floats = self.shared[:, None] + self.own * faded
        self._given = now, coefficients
        return coefficients

    def predict(self, slot: int, x: Floats, now: float) -> tuple[float, float]:
        """Return what is predicted of features, (n_features,), and its standard deviation."""
        faded = 2.0 ** ((self._heard[slot] - now) / self._fading)
        mean = float(x @ (self.shared + self.own[:, slot] * faded))
        of_shared, of_own = x @ self._S, x @ self._own_S[slot]
        return mean, sqrt(float(of_shared @ of_shared + of_own @ of_own))

    def update(self, slot: int, x: Floats, target: float, *, scale: float, now: float) -> None:
        """Learn an outcome.

        Parameters
        ----------
        slot
            Whose outcome it is.
        x
            Features, (n_features,).
        target, scale
            What was observed, and the size of the error to be expected of it; nothing is learned
            from what is not a number.
        """
        x, target = x / scale, target / scale
        if not isfinite(target):
            return
        self.own[:, slot] *= 2.0 ** ((self._heard[slot] - now) / self._fading)
        self._heard[slot] = now
        error = target - float(x @ self.shared)
        own_error = error - float(x @ self.own[:, slot])
        forgets, own_forgets = self._forgetting
        # As long as it is not known what is shared, an error says little of one worker.
        noise = own_forgets + float(np.square(x @ self._S).sum())
        own_S, own_prior = self._own_S[slot], self._own_prior
        self.own[:, slot] += _step(own_S, x, own_error, own_forgets, noise, own_prior)
        self.shared += _step(self._S, x, error, forgets, forgets, self._prior)

    def state(self) -> dict[str, list[object]]:
        """Return what has been learned, as plain lists.

        Times are seconds before the last outcome, so that they hold for another clock.
        """
        heard: list[float] = self._heard.tolist()
        return {
            "shared": self.shared.tolist(),
            "root": self._S.tolist(),
            "own": self.own.T.tolist(),
            "own_root": self._own_S.tolist(),
            "silent": [max(heard) - at if at > -inf else 0.0 for at in heard],
        }

    def restore(self, state: dict[str, list[object]], now: float) -> None:
        """Take up what :meth:`state` returned, for the same features, as if learned until now."""
        shared = np.array(state["shared"], dtype=np.float64)
        if shared.shape != self.shared.shape:
            raise ValueError(f"expected {len(self.shared)} coefficients, got {shared.shape}")
        n = len(shared)
        self._given = None
        self.shared = shared
        self._S = np.array(state["root"], dtype=np.float64)
        self.own = np.array(state["own"], dtype=np.float64).reshape(-1, n).T.copy()
        self._own_S = np.array(state["own_root"], dtype=np.float64).reshape(-1, n, n)
        self._heard = now - np.array(state["silent"], dtype=np.float64)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        assert np.isfinite(self.shared).all()
        assert np.isfinite(self.own).all()
        assert (np.square(self._S).sum(axis=1) <= self._prior * (1 + 1e-9)).all()
        assert (np.square(self._own_S).sum(axis=2) <= self._own_prior * (1 + 1e-9)).all()


def _step(
    S: Floats, x: Floats, error: float, forgetting: float, noise: float, prior: Floats
) -> Floats:
    """Update the covariance's root in place and return what to add to the coefficients."""
    Sx = x @ S
    explained = float(Sx @ Sx)
    noise *= max(1.0, abs(error) / (BELIEVED * sqrt(noise + explained)))
    variance = noise + explained
    Px = S @ Sx
    S -= Px[:, None] * (Sx / (variance + sqrt(noise * variance)))
    S /= sqrt(forgetting)
    diagonal = np.square(S).sum(axis=1)
    wound_up = diagonal > prior
    if wound_up.any():
        S *= np.sqrt(np.where(wound_up, prior / np.maximum(diagonal, 1e-300), 1.0))[:, None]
    return np.asarray(Px * (error / variance))
