from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.evaluate.planted import planted

from triskele.evaluate.clustering.calibration import Calibration
from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.verdict import gain_sentence


def calibration() -> Calibration:
    world = planted(200, n_models=5)
    ecc = EvidenceCalibratedClustering(4).fit(world.embeddings, comparisons=world.comparisons)
    assert ecc.calibration_ is not None
    return ecc.calibration_


@pytest.mark.parametrize(
    ("structure", "error", "words"),
    [
        (0.05, 0.01, "depends on the query"),
        (0.01, 0.01, "one ranking serves all"),
        (-0.02, 0.01, "one ranking serves all"),
        (float("nan"), float("nan"), "Too few queries"),
    ],
)
def test_it_says_plainly_whether_queries_differ(structure: float, error: float, words: str) -> None:
    found = replace(calibration(), structure=structure, structure_error=error)
    ecc: Any = SimpleNamespace(calibration_=found)
    assert words in gain_sentence(ecc)
    if structure == structure:
        assert f"{structure:+.4f} ± {error:.4f}" in gain_sentence(ecc)


def test_where_nothing_was_held_out_nothing_is_claimed() -> None:
    ecc: Any = SimpleNamespace(calibration_=None)
    assert "not known" in gain_sentence(ecc)
