from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from tests.contracts.workload import WorkloadContract

from triskele.serve.simulate.synthetic import BATCH, Synthetic
from triskele.serve.simulate.workload import Job, Workload


class TestSynthetic(WorkloadContract):
    def make(self, folder: Path) -> Workload:
        return Synthetic(n_jobs=200, prefixes=9, prefix=100, question=50, output=30, page_size=16)


def many(**options: float) -> list[Job]:
    return list(Synthetic(n_jobs=3 * BATCH, seed=1, **options).arrivals())


def test_means_are_those_asked_for() -> None:
    jobs = many(prefixes=20_000, skew=0.0, spread=0.5, rate=50.0)
    n_jobs = len(jobs)
    assert sum(job.n_prompt for job in jobs) / n_jobs == pytest.approx(1024 + 512, rel=0.02)
    assert sum(job.n_output for job in jobs) / n_jobs == pytest.approx(128, rel=0.03)
    assert n_jobs / jobs[-1].at == pytest.approx(50, rel=0.03)


def test_popularity_follows_the_law_of_zipf() -> None:
    jobs = many(prefixes=100, skew=1.0, prefix=64 * 8, spread=0.0)
    uses = [n for _, n in Counter(job.key[:8] for job in jobs).most_common()]
    total = sum(1 / rank for rank in range(1, 101))
    assert len(uses) == 100
    assert uses[0] / len(jobs) == pytest.approx(1 / total, rel=0.1)
    assert uses[0] / uses[9] == pytest.approx(10, rel=0.25)


def test_no_length_is_longer_than_the_longest() -> None:
    jobs = many(longest=600)
    assert max(job.n_prompt for job in jobs) == 1200
    assert max(job.n_output for job in jobs) == 600


def test_fewer_jobs_are_the_first_of_more() -> None:
    fewer = list(Synthetic(n_jobs=BATCH + 9).arrivals())
    assert fewer == list(islice(Synthetic(n_jobs=2_000_000).arrivals(), BATCH + 9))


def test_different_seeds_differ() -> None:
    first, second = (next(Synthetic(seed=seed).arrivals()) for seed in (0, 1))
    assert first != second


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="n_jobs of at least 1, got 0"):
        Synthetic(n_jobs=0)
    with pytest.raises(ValueError, match="skew of at least 0, got -1"):
        Synthetic(skew=-1.0)
