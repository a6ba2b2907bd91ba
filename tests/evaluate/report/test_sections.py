from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.kinds import source_of_kinds

from triskele.evaluate.fitting import fit_model
from triskele.evaluate.options import FitOptions
from triskele.evaluate.report.findings import Findings, findings_of
from triskele.evaluate.report.sections import (
    clusters_section,
    coverage_section,
    pairs_section,
    predictions_section,
    ranking_section,
    told_apart,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    folder: Path = tmp_path_factory.mktemp("kinds")
    source = source_of_kinds(folder)
    model, X = fit_model(source, FitOptions(clusters=3))
    return findings_of(source, model, X, verdict="", map_queries=100, seed=0)


def test_the_ranking_has_a_line_per_model(found: Findings) -> None:
    assert ranking_section(found).count('class="track"') == 4
    apart = replace(found, leaderboard=replace(found.leaderboard, n_groups=2))
    assert "2 groups of models were never compared" in ranking_section(apart)


def test_each_cluster_has_a_card_a_chip_and_examples(found: Findings) -> None:
    drawn = clusters_section(found)
    assert drawn.count("<article") == drawn.count("<button") == 3
    assert drawn.count("<li>") == 12
    assert "100 of 120 queries, drawn at random." in drawn


def test_without_structure_there_is_a_map_and_no_card(found: Findings) -> None:
    drawn = clusters_section(replace(found, is_structured=False))
    assert "<article" not in drawn
    assert 'id="map"' in drawn


def test_pairs_stand_side_by_side(found: Findings) -> None:
    n_pairs = len(found.splits) + len(found.merges)
    assert pairs_section(found).count("<blockquote") == 2 * n_pairs
    assert pairs_section(replace(found, splits=(), merges=())) == ""
    assert "No two queries that read alike" in pairs_section(replace(found, splits=()))


def test_predictions_say_what_was_gained(found: Findings) -> None:
    drawn = predictions_section(found)
    assert "log-loss is" in drawn
    assert "better" in drawn
    assert found.holdout is not None
    worse = replace(found, holdout=replace(found.holdout, gain=-0.1))
    assert "worse" in predictions_section(worse)
    assert "Too few queries" in predictions_section(replace(found, holdout=None))


def test_coverage_counts_pairs(found: Findings) -> None:
    assert "6 of 6 pairs" in coverage_section(found)
    assert "0 of 6 pairs" in coverage_section(replace(found, counts=np.zeros((4, 4))))


def test_texts_with_one_beginning_are_shown_where_they_differ() -> None:
    same = "You are given a function and have to complete it, as follows: " * 3
    first, second = told_apart(same + "alpha", same + "omega", 100)
    assert first.startswith("… ")
    assert first.endswith("alpha")
    assert second.endswith("omega")
    assert told_apart("a b", "a c", 100) == ("a b", "a c")
