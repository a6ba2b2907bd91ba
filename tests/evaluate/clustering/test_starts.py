import numpy as np
import pytest
from tests.evaluate.planted import planted

from triskele.evaluate.clustering import starts
from triskele.evaluate.clustering.starts import BELIEVED, by_chance, by_means


def test_a_start_by_means_believes_in_the_nearest_mean() -> None:
    data = planted(200, n_kinds=3, signal=5.0)
    start = by_means(data.embeddings, 3, np.random.default_rng(0))
    np.testing.assert_allclose(start.sum(1), 1.0)
    np.testing.assert_allclose(start.max(1), BELIEVED + (1 - BELIEVED) / 3)
    label = start.argmax(1)
    for kind in range(3):
        assert len(set(label[data.kind == kind])) == 1
    assert len(set(label)) == 3


def test_many_queries_are_put_to_the_means_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    data = planted(200, n_kinds=3, signal=5.0)
    monkeypatch.setattr(starts, "SAMPLE", 60)
    label = by_means(data.embeddings, 3, np.random.default_rng(0)).argmax(1)
    assert [len(set(label[data.kind == kind])) for kind in range(3)] == [1, 1, 1]
    assert len(set(label)) == 3


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_fewer_distinct_queries_than_clusters_are_no_trouble(value: float) -> None:
    start = by_means(np.full((20, 3), value), 4, np.random.default_rng(0))
    np.testing.assert_allclose(start.sum(1), 1.0)


def test_a_start_by_chance_is_uniform_over_shares() -> None:
    start = by_chance(4000, 3, np.random.default_rng(0))
    np.testing.assert_allclose(start.sum(1), 1.0)
    np.testing.assert_allclose(start.mean(0), 1 / 3, atol=0.02)
    # The variance of a share under Dirichlet(1, 1, 1).
    np.testing.assert_allclose(start.var(0), 1 / 18, atol=0.005)


def test_starts_are_those_of_the_seed() -> None:
    x = planted(100).embeddings
    for draw in (
        lambda seed: by_means(x, 5, np.random.default_rng(seed)),
        lambda seed: by_chance(100, 5, np.random.default_rng(seed)),
    ):
        np.testing.assert_array_equal(draw(1), draw(1))
        assert (draw(1) != draw(2)).any()
