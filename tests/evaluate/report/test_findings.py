from pathlib import Path

import numpy as np
import pytest
from tests.evaluate.kinds import MODELS, TALENT, source_of_kinds, with_texts

from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.fitting import fit_model
from triskele.evaluate.options import FitOptions
from triskele.evaluate.report.findings import Findings, findings_of
from triskele.evaluate.sources import Source


def findings(source: Source, options: FitOptions | None = None) -> Findings:
    model, X = fit_model(source, options or FitOptions(clusters=3))
    return findings_of(source, model, X, verdict="so it is", map_queries=50, seed=0)


def test_all_there_is_to_report_is_found(tmp_path: Path) -> None:
    found = findings(source_of_kinds(tmp_path))
    assert found.is_structured
    assert found.models == MODELS
    assert {one.leaderboard.leader.model for one in found.clusters} == set(TALENT.values())
    assert set(found.suited) == set(TALENT.values())
    assert found.counts.sum() == 2 * 720
    assert np.array_equal(found.counts, found.counts.T)
    assert len(found.map.rows) == len(found.map.points) == 50
    assert found.holdout is not None
    assert found.holdout.gain > 0
    assert all(one.examples for one in found.clusters)


def test_where_queries_do_not_differ_there_are_no_pairs(tmp_path: Path) -> None:
    found = findings(source_of_kinds(tmp_path, talent=0.0))
    assert not found.is_structured
    assert (found.splits, found.merges) == ((), ())


def test_queries_without_texts_are_reported_too(tmp_path: Path) -> None:
    source = source_of_kinds(tmp_path)
    np.save(tmp_path / "x.npy", np.eye(3)[np.arange(120) % 3] + 0.1)
    options = FitOptions(clusters=3, embeddings=tmp_path / "x.npy")
    found = findings(with_texts(source, ("",) * 120), options)
    assert found.clusters
    assert found.merges == ()


def test_a_fit_of_other_models_is_refused(tmp_path: Path) -> None:
    source = source_of_kinds(tmp_path)
    model, X = fit_model(source, FitOptions(clusters=3))
    votes = Comparisons.from_arrays([0], ["ada"], ["eve"], [1.0], n_queries=120)
    other = Source(
        name="x",
        ids=source.ids,
        texts=source.texts,
        comparisons=votes,
        embeddings=None,
        is_sampled=False,
    )
    with pytest.raises(ValueError, match="eve"):
        findings_of(other, model, X, verdict="", map_queries=5, seed=0)
