"""Data and protocol of the evaluation claims: what is shown, what is asked, and how it is scored.

Of a data set's queries a fifth is held out. Each training query has some comparisons, each held-out
query three that may be shown as probes and six that are asked, of models with different scores. In
the disjoint protocol what shares a model with a probe of its query is not asked.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from triskele.evaluate import Comparisons, sample_comparisons, split_probes, split_queries
from triskele.evaluate.dataset import Dataset
from triskele.evaluate.datasets import load

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
DATASETS = ("mmlupro", "openllm_lb2", "zeroeval", "wildbench")
N_PROBES, N_ASKED = 3, 6
TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """One seed's queries and comparisons."""

    dataset: Dataset
    train: Integers
    test: Integers
    evidence: Comparisons
    """Of the training queries."""
    probes: Comparisons
    asked: Comparisons
    """Of the held-out queries."""

    def shown(self, n_probes: int) -> Comparisons:
        """Return the first probes of each held-out query."""
        rank = _rank_in_query(self.probes.query)
        return self.probes.take(rank < n_probes)

    def disjoint(self, shown: Comparisons) -> NDArray[np.bool_]:
        """Return which of the comparisons asked share no model with what is shown."""
        n_models = self.asked.n_models
        key = lambda c, model: c.query * n_models + model  # noqa: E731
        seen = np.concatenate([key(shown, shown.model_a), key(shown, shown.model_b)])
        touched = np.isin(key(self.asked, self.asked.model_a), seen)
        touched |= np.isin(key(self.asked, self.asked.model_b), seen)
        return ~touched


@cache
def dataset_of(name: str, data: Path) -> Dataset:
    """Return a data set with its embeddings."""
    return load(data / name)


def split(dataset: Dataset, *, per_query: int, seed: int) -> Split:
    """Return what one seed shows and asks."""
    assert dataset.scores is not None
    rng = np.random.default_rng(seed)
    train, test = split_queries(dataset.n_queries, test_size=TEST_SHARE, rng=rng)
    models = dataset.models
    evidence = sample_comparisons(
        dataset.scores[train], per_query=per_query, models=models, rng=rng
    )
    held_out = sample_comparisons(
        dataset.scores[test], per_query=N_PROBES + N_ASKED, models=models, rng=rng
    )
    probes, asked = split_probes(held_out, n_probes=N_PROBES, disjoint=False, rng=rng)
    return Split(
        dataset=dataset, train=train, test=test, evidence=evidence, probes=probes, asked=asked
    )


def figures(asked: Comparisons, chance: Floats, kept: NDArray[np.bool_]) -> tuple[float, float]:
    """Return accuracy in per cent and log-loss of some comparisons, each a mean over queries."""
    query = asked.query[kept]
    _, number = np.unique(query, return_inverse=True)
    weight = 1 / np.bincount(number)[number]
    p, outcome = chance[kept].clip(1e-6, 1 - 1e-6), asked.outcome[kept]
    right = np.where(p == 0.5, 0.5, (p > 0.5) == (outcome > 0.5))
    accuracy = float(np.average(right, weights=weight))
    return 100 * accuracy, float(log_loss(outcome > 0.5, p, sample_weight=weight, labels=[0, 1]))


def calibration_error(asked: Comparisons, chance: Floats, n_bins: int = 10) -> float:
    """Return the mean distance of forecast and outcome over bins of forecasts, in per cent."""
    swapped = chance < 0.5
    sure = np.where(swapped, 1 - chance, chance)
    right = np.where(swapped, 1 - asked.outcome, asked.outcome)
    place = np.minimum(((sure - 0.5) * 2 * n_bins).astype(int), n_bins - 1)
    size = np.bincount(place, minlength=n_bins)
    away = np.bincount(place, sure - right, minlength=n_bins)
    return float(100 * np.abs(away).sum() / size.sum())


def _rank_in_query(query: Integers) -> Integers:
    """Return how many comparisons of the same query come before each."""
    order = np.argsort(query, kind="stable")
    counts = np.bincount(query)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(query), np.int64)
    rank[order] = np.arange(len(query)) - first
    return rank
