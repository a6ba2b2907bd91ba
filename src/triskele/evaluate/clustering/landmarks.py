"""A smooth kernel as features: where a query lies among landmarks.

The kernel is exp(−γ‖x − z‖²) with γ such that two queries at the mean squared distance have e⁻¹·⁸.
With L landmarks z drawn from the queries, the features φ(x) = k(x, z) K⁻¹ᐟ² have inner products
that are the kernel's, exactly at the landmarks and nearly in between (Williams and Seeger 2001,
the Nyström method). They are centred on the mean of the queries they are fitted on, so that a
linear function of them adds nothing to a constant.
"""

from dataclasses import dataclass

import numpy as np

from triskele.evaluate.columns import Real

WIDTH = 1.8
"""−log of the kernel at the mean squared distance; results are flat around it."""
BLOCK = 65_536
"""Queries at a time, which bounds the memory."""
SMALLEST = 1e-6
"""Relative to the largest, of the eigenvalues of the landmarks' kernel that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmarks:
    """Features of queries, (n, L), from their embeddings, (n, D)."""

    points_LD: Real
    whitening_LL: Real
    mean_L: Real
    gamma: float

    @classmethod
    def fit(cls, embeddings: Real, *, n_landmarks: int, rng: np.random.Generator) -> "Landmarks":
        """Choose landmarks among embeddings; all of them, if there are no more."""
        n = len(embeddings)
        chosen = rng.choice(n, min(n, n_landmarks), replace=False)
        points = np.ascontiguousarray(embeddings[np.sort(chosen)])
        # Twice the total variance is the mean squared distance.
        spread = float(np.var(embeddings, axis=0, dtype=np.float64).sum())
        gamma = WIDTH / (2 * spread) if spread > 0 else 1.0
        values, vectors = np.linalg.eigh(_kernel(points, points, gamma).astype(np.float64))
        kept = values > SMALLEST * values[-1]
        inverse_root = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
        dtype = embeddings.dtype
        bare = cls(
            points_LD=points,
            whitening_LL=inverse_root.astype(dtype),
            mean_L=np.zeros(len(points), dtype),
            gamma=gamma,
        )
        sample = embeddings if n <= BLOCK else embeddings[rng.choice(n, BLOCK, replace=False)]
        return cls(
            points_LD=points,
            whitening_LL=bare.whitening_LL,
            mean_L=bare.transform(sample).mean(0, dtype=np.float64).astype(dtype),
            gamma=gamma,
        )

    def transform(self, embeddings: Real) -> Real:
        """Return the features of embeddings, (n, L)."""
        features = np.empty((len(embeddings), len(self.points_LD)), embeddings.dtype)
        for first in range(0, len(embeddings), BLOCK):
            block = slice(first, first + BLOCK)
            kernel = _kernel(embeddings[block], self.points_LD, self.gamma)
            np.matmul(kernel, self.whitening_LL, out=features[block])
        features -= self.mean_L
        return features


def _kernel(x: Real, z: Real, gamma: float) -> Real:
    distance = -2 * (x @ z.T)
    distance += np.einsum("nd,nd->n", x, x)[:, None]
    distance += np.einsum("nd,nd->n", z, z)
    distance *= -gamma
    np.minimum(distance, 0, out=distance)
    return np.asarray(np.exp(distance, out=distance))
