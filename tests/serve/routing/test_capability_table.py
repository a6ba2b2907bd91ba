from pathlib import Path

import numpy as np
import pytest

from triskele.serve.routing.capability_table import CURRENT, CapabilityTable, Shelf, table_of


def table(bias: float = 0.0) -> CapabilityTable:
    return table_of(
        ["small", "large"],
        prices=[1, 10],
        bias=[bias, 1.0],
        points=[[1.0, 0.0], [0.0, 1.0]],
        gamma=4.0,
        weights=[[3.0, 0.0], [0.0, 2.0]],
    )


def test_quality_is_the_logistic_of_bias_and_what_landmarks_near_by_say() -> None:
    found = table().quality([1.0, 0.0])
    near, far = 1.0, np.exp(-4.0 * 2)
    odds = np.array([0.0 + 3 * near, 1.0 + 2 * far])
    assert found == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-5)


def test_what_is_not_known_or_far_from_all_landmarks_has_the_ranking_of_all_queries() -> None:
    overall = 1 / (1 + np.exp(-np.array([0.0, 1.0])))
    assert table().quality(None) == pytest.approx(overall)
    assert table().quality([50.0, 50.0]) == pytest.approx(overall)
    assert table_of(["a"], prices=[1], bias=[0]).quality([1.0, 2.0]) == pytest.approx([0.5])


def test_an_embedding_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 features"):
        table().quality([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["a", "a"]}, "different names"),
        ({"models": []}, "different names"),
        ({"prices": [1]}, "shapes"),
        ({"bias": [0, np.nan]}, "finite"),
        ({"prices": [1, -1]}, "at least 0"),
        ({"gamma": -1.0}, "gamma"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, object], message: str) -> None:
    parts = {"models": ["a", "b"], "prices": [1, 2], "bias": [0, 0], "gamma": 1.0} | change
    models = parts.pop("models")
    with pytest.raises(ValueError, match=message):
        table_of(models, **parts)  # type: ignore[arg-type]


def test_versions_count_up_and_one_can_go_back(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "capability")
    assert shelf.current() is None
    assert shelf.versions() == []
    first, second = shelf.publish(table(0.0)), shelf.publish(table(5.0))
    assert (first.version, second.version) == (1, 2)
    current = shelf.current()
    assert current is not None
    assert current.version == 2
    assert current.quality(None) == pytest.approx(second.quality(None))
    shelf.make_current(1)
    back = Shelf(tmp_path / "capability").current()
    assert back is not None
    assert back.version == 1
    assert np.array_equal(back.weights, first.weights)
    assert shelf.publish(table(1.0)).version == 3


def test_another_process_sees_a_publication(tmp_path: Path) -> None:
    reader, writer = Shelf(tmp_path), Shelf(tmp_path)
    writer.publish(table())
    first = reader.current()
    assert first is not None
    assert reader.current() is first
    writer.publish(table(1.0))
    second = reader.current()
    assert second is not None
    assert second.version == 2


def test_a_damaged_table_and_one_that_is_not_there_are_named(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.publish(table())
    with pytest.raises(ValueError, match="no version 7"):
        shelf.make_current(7)
    (tmp_path / "capability-000001.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ValueError, match="no capability table"):
        shelf.read(1)
    (tmp_path / CURRENT).write_text("{}")
    with pytest.raises(ValueError, match="does not name a version"):
        Shelf(tmp_path).current()
