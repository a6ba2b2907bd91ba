from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.kinds import TALENT, source_of_kinds

from triskele.evaluate.fitting import fit_model
from triskele.evaluate.options import FitOptions
from triskele.evaluate.summaries import ClusterSummary, summarize


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClusterSummary, ...]:
    source = source_of_kinds(tmp_path_factory.mktemp("kinds"))
    model, _ = fit_model(source, FitOptions(clusters=3))
    ecc = model.ecc
    examples = [np.flatnonzero(ecc.labels_ == k)[:2] for k in range(ecc.n_clusters_)]
    return summarize(
        ecc, ecc.responsibilities_, source.comparisons, terms=model.terms, examples=examples
    )


def test_each_kind_is_led_by_its_talent(summaries: tuple[ClusterSummary, ...]) -> None:
    assert {one.leaderboard.leader.model for one in summaries} == set(TALENT.values())


def test_sizes_and_comparisons_add_up(summaries: tuple[ClusterSummary, ...]) -> None:
    assert sum(one.n_queries for one in summaries) == 120
    assert sum(one.share for one in summaries) == pytest.approx(1.0)
    assert sum(one.n_comparisons for one in summaries) == pytest.approx(720, rel=0.01)
    assert all(len(one.examples) == 2 for one in summaries)


def test_the_largest_comes_first_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    source = source_of_kinds(tmp_path)
    model, _ = fit_model(source, FitOptions(clusters=3))
    ecc = model.ecc
    belongs = np.zeros((120, ecc.n_clusters_))
    belongs[:100, 2], belongs[100:, 0] = 1, 1
    nothing = [np.zeros(0, np.int64)] * ecc.n_clusters_
    found = summarize(
        ecc, belongs, source.comparisons, terms=((),) * ecc.n_clusters_, examples=nothing
    )
    assert [(one.number, one.n_queries) for one in found] == [(2, 100), (0, 20)]
