import numpy as np
import pytest
from tests.evaluate.planted import planted

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.holdout import Holdout, hold_out


def held(spread: float, *, n: int = 600) -> Holdout | None:
    world = planted(n, n_models=6, signal=2.0, spread=spread)
    ecc = EvidenceCalibratedClustering(4)
    return hold_out(ecc, world.embeddings, world.comparisons, rng=np.random.default_rng(0))


def test_where_queries_differ_the_fit_beats_one_ranking() -> None:
    found = held(2.0)
    assert found is not None
    assert found.gain > 4 * found.gain_error > 0
    assert found.gain == pytest.approx(found.global_loss - found.loss)
    assert found.accuracy > found.global_accuracy
    assert (found.n_queries, found.n_comparisons) == (120, 840)


def test_where_they_do_not_it_gains_nothing() -> None:
    found = held(0.0)
    assert found is not None
    assert abs(found.gain) <= 3 * found.gain_error + 1e-9


def test_favourites_win_as_often_as_they_are_said_to() -> None:
    found = held(2.0, n=1500)
    assert found is not None
    assert sum(one.n for one in found.bins) == found.n_comparisons
    predicted = [one.predicted for one in found.bins]
    assert predicted == sorted(predicted)
    assert predicted[0] >= 0.5
    for one in found.bins:
        assert abs(one.observed - one.predicted) < 5 * one.error + 0.03


def test_the_estimator_given_stays_as_it_was() -> None:
    world = planted(100, n_models=4)
    ecc = EvidenceCalibratedClustering(3)
    hold_out(ecc, world.embeddings, world.comparisons, rng=np.random.default_rng(0))
    assert not hasattr(ecc, "models_")


def test_few_queries_are_not_split() -> None:
    assert held(1.0, n=20) is None


def test_ties_alone_tell_no_winner() -> None:
    votes = Comparisons.from_arrays(
        np.arange(60), np.zeros(60, int), np.ones(60, int), np.full(60, 0.5)
    )
    X = np.random.default_rng(0).standard_normal((60, 3))
    found = hold_out(EvidenceCalibratedClustering(2), X, votes, rng=np.random.default_rng(0))
    assert found is not None
    assert np.isnan(found.accuracy)
    assert found.loss == pytest.approx(np.log(2))
