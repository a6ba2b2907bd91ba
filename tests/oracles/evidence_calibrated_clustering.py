"""Evidence-Calibrated Clustering as arXiv 2605.17110 has it, query by query and vote by vote."""

from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tests.oracles.bradley_terry import maximise

from triskele.evaluate.comparisons import Comparisons

PRIOR_WEIGHT = 3.0
TEMPERATURE = 0.1
RIDGE = 1.0

Table = NDArray[np.float64]


class Round(NamedTuple):
    """What is known after an M step and the E step that follows it."""

    profiles: Table
    centroids: Table
    responsibilities: Table
    objective: float
    """F = T Σ_q log Σ_k exp(score / T) − ½ Σ_k ‖θ_k‖², which no round lowers."""


def published_rounds(
    embeddings: Table,
    comparisons: Comparisons,
    responsibilities: Table,
    n_rounds: int,
    *,
    prior_weight: float = PRIOR_WEIGHT,
) -> list[Round]:
    """Return what each round finds, from given responsibilities on."""
    votes = _votes_by_query(comparisons)
    rounds = []
    for _ in range(n_rounds):
        n_clusters = responsibilities.shape[1]
        profiles = np.array(
            [_profile(comparisons, votes, responsibilities[:, k]) for k in range(n_clusters)]
        )
        centroids = np.array(
            [_centroid(embeddings, responsibilities[:, k]) for k in range(n_clusters)]
        )
        responsibilities, evidence = expectation(
            embeddings, votes, profiles, centroids, prior_weight=prior_weight
        )
        objective = TEMPERATURE * evidence - RIDGE / 2 * float((profiles**2).sum())
        rounds.append(Round(profiles, centroids, responsibilities, objective))
    return rounds


def expectation(
    embeddings: Table,
    votes: list[list[tuple[int, int, float]]],
    profiles: Table,
    centroids: Table,
    *,
    prior_weight: float = PRIOR_WEIGHT,
) -> tuple[Table, float]:
    """Return the responsibilities, and the sum of the logarithms of what they are divided by."""
    responsibilities = np.zeros((len(embeddings), len(profiles)))
    total = 0.0
    for q, embedding in enumerate(embeddings):
        scores = []
        for profile, centroid in zip(profiles, centroids, strict=True):
            fit = 0.0
            for a, b, y in votes[q]:
                p = 1 / (1 + exp(profile[a] - profile[b]))
                fit += (y * log(p) + (1 - y) * log(1 - p)) / len(votes[q])
            scores.append((fit + prior_weight * float(embedding @ centroid)) / TEMPERATURE)
        highest = max(scores)
        divisor = sum(exp(score - highest) for score in scores)
        for k, score in enumerate(scores):
            responsibilities[q, k] = exp(score - highest) / divisor
        total += log(divisor) + highest
    return responsibilities, total


def pairwise(profiles: Table, responsibilities: Table, query: int, a: int, b: int) -> float:
    """Return the chance that b beats a on a query: the mean of what its clusters say."""
    return sum(
        share / (1 + exp(profile[a] - profile[b]))
        for share, profile in zip(responsibilities[query], profiles, strict=True)
    )


def _votes_by_query(comparisons: Comparisons) -> list[list[tuple[int, int, float]]]:
    votes: list[list[tuple[int, int, float]]] = [[] for _ in range(comparisons.n_queries)]
    for row in range(len(comparisons)):
        a, b = int(comparisons.model_a[row]), int(comparisons.model_b[row])
        votes[comparisons.query[row]].append((a, b, float(comparisons.outcome[row])))
    return votes


def _profile(
    comparisons: Comparisons, votes: list[list[tuple[int, int, float]]], share: Table
) -> Table:
    weight = [share[q] / len(votes[q]) for q in comparisons.query]
    weighted = Comparisons.from_arrays(
        comparisons.query,
        comparisons.model_a,
        comparisons.model_b,
        comparisons.outcome,
        weight=weight,
        models=comparisons.models,
        n_queries=comparisons.n_queries,
    )
    return maximise(weighted, ridge=RIDGE, prior=[0.0] * comparisons.n_models)


def _centroid(embeddings: Table, share: Table) -> Table:
    total = np.zeros(embeddings.shape[1])
    for q, embedding in enumerate(embeddings):
        total += share[q] * embedding
    return total / sqrt(sum(x * x for x in total))
