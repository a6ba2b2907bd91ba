from dataclasses import replace

import numpy as np
import pytest
from tests.evaluate.planted import Planted, planted

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts
from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.clustering.estimation import GLOBAL_RIDGE
from triskele.evaluate.comparisons import Comparisons


def streamed(
    batches: list[Planted], ecc: EvidenceCalibratedClustering | None = None
) -> EvidenceCalibratedClustering:
    found = EvidenceCalibratedClustering(6, n_landmarks=60) if ecc is None else ecc
    for batch in batches:
        found.partial_fit(batch.embeddings, comparisons=batch.comparisons)
    return found


def batches_of(data: Planted, n: int) -> list[Planted]:
    return [data.of(rows) for rows in np.array_split(np.arange(len(data.kind)), n)]


@pytest.mark.parametrize(("signal", "seed"), [(1.0, 0), (1.0, 1), (0.5, 2)])
def test_five_batches_come_close_to_one_fit(signal: float, seed: int) -> None:
    data = planted(2500, signal=signal, seed=seed)
    train, test = data.of(slice(2000)), data.of(slice(2000, None))
    whole = streamed([train])
    first = streamed(batches_of(train, 5)[:1])
    parts = streamed(batches_of(train, 5))
    one_fit, from_first, in_batches = (
        -ecc.score(test.embeddings, comparisons=test.comparisons) for ecc in (whole, first, parts)
    )
    assert in_batches < from_first
    assert in_batches == pytest.approx(one_fit, rel=0.02)


def test_the_first_batch_is_a_fit() -> None:
    data = planted(100)
    ecc = EvidenceCalibratedClustering(6, n_landmarks=60)
    fitted = ecc.fit(data.embeddings, comparisons=data.comparisons)
    np.testing.assert_allclose(
        streamed([data]).capabilities(data.embeddings), fitted.capabilities(data.embeddings)
    )


def test_a_fit_may_be_continued_and_begun_anew() -> None:
    data = planted(200)
    first, second = batches_of(data, 2)
    continued = EvidenceCalibratedClustering(6, n_landmarks=60)
    continued.fit(first.embeddings, comparisons=first.comparisons)
    streamed([second], continued)
    np.testing.assert_allclose(continued.global_, streamed([first, second]).global_)
    continued.fit(first.embeddings, comparisons=first.comparisons)
    np.testing.assert_allclose(continued.global_, streamed([first]).global_)


def test_the_global_profile_is_that_of_all_batches() -> None:
    data = planted(300)
    expected = fit_counts(count_wins(data.comparisons), ridge=GLOBAL_RIDGE)
    np.testing.assert_allclose(streamed(batches_of(data, 3)).global_, expected, atol=1e-8)


def test_sums_are_those_of_all_batches() -> None:
    ecc = streamed(batches_of(planted(300), 3))
    sums = ecc._totals.clusters
    assert sums.sizes_K.sum() == pytest.approx(300)
    assert sums.wins_KMM.sum() == pytest.approx(300 * 7)
    assert ecc._totals.wins_MM.sum() == pytest.approx(300 * 7)


def test_the_shares_follow_what_arrives() -> None:
    data = planted(1200)
    even, of_one_kind = data.of(slice(400)), data.of(np.arange(400, 1200)[data.kind[400:] == 2])
    ecc = streamed([even])
    label = np.bincount(ecc.predict(of_one_kind.embeddings)).argmax()
    before = ecc.shares_[label]
    streamed([of_one_kind], ecc)
    assert ecc.shares_[label] > before + 0.1
    assert ecc.shares_.sum() == pytest.approx(1.0)


def test_responsibilities_and_labels_are_those_of_the_last_batch() -> None:
    first, second = planted(100).of(slice(70)), planted(100).of(slice(70, None))
    ecc = streamed([first, second])
    assert ecc.responsibilities_.shape == (30, ecc.n_clusters_)
    assert ecc.labels_.shape == (30,)


def test_queries_without_comparisons_change_the_clusters_alone() -> None:
    data = planted(200)
    first, second = batches_of(data, 2)
    ecc = streamed([first])
    overall, weights, sizes = ecc.global_, ecc.calibration_, ecc._totals.clusters.sizes_K
    ecc.partial_fit(second.embeddings)
    np.testing.assert_allclose(ecc.global_, overall, atol=1e-9)
    assert ecc.calibration_ == weights
    assert ecc._totals.clusters.sizes_K.sum() == pytest.approx(sizes.sum() + 100)


def test_comparisons_of_no_weight_change_nothing_more() -> None:
    first, second = batches_of(planted(200), 2)
    nothing = replace(second.comparisons, weight=np.zeros(len(second.comparisons)))
    one, other = streamed([first]), streamed([first])
    one.partial_fit(second.embeddings)
    other.partial_fit(second.embeddings, comparisons=nothing)
    np.testing.assert_array_equal(
        one.capabilities(first.embeddings), other.capabilities(first.embeddings)
    )


def test_one_ranking_for_all_stays_one() -> None:
    data = planted(400, spread=0.0)
    order = np.random.default_rng(0).permutation(len(data.comparisons))
    votes = replace(data.comparisons, query=data.comparisons.query[order])
    ecc = streamed(batches_of(data._replace(comparisons=votes), 2))
    assert ecc.n_clusters_ == 1
    np.testing.assert_allclose(ecc.capabilities(data.embeddings), np.tile(ecc.global_, (400, 1)))
    np.testing.assert_allclose(ecc.profiles_, ecc.global_[None])


@pytest.mark.parametrize(
    "ecc",
    [
        EvidenceCalibratedClustering.published(4),
        EvidenceCalibratedClustering(4, n_landmarks=0),
        EvidenceCalibratedClustering(4, n_folds=0),
        EvidenceCalibratedClustering(4, evidence="mean", shrink="zero"),
    ],
    ids=["published", "no trend", "no folds", "mean"],
)
def test_any_settings_can_be_continued(ecc: EvidenceCalibratedClustering) -> None:
    data = planted(600)
    train, test = data.of(slice(400)), data.of(slice(400, None))
    found = streamed(batches_of(train, 2), ecc)
    assert np.isfinite(found.capabilities(test.embeddings, test.comparisons)).all()
    lead = found.global_[test.comparisons.model_b] - found.global_[test.comparisons.model_a]
    overall = np.mean(np.logaddexp(0, lead) - test.comparisons.outcome * lead)
    assert -found.score(test.embeddings, comparisons=test.comparisons) < overall


def test_batches_of_one_query_are_batches() -> None:
    data = planted(130)
    ecc = streamed([data.of(slice(100))])
    for row in range(100, 130):
        streamed([data.of(slice(row, row + 1))], ecc)
    assert ecc._totals.wins_MM.sum() == pytest.approx(130 * 7)
    assert np.isfinite(ecc.capabilities(data.embeddings)).all()


def test_a_batch_is_the_same_in_single_precision() -> None:
    first, second = batches_of(planted(200), 2)
    double, single = (
        streamed([first, second._replace(embeddings=second.embeddings.astype(dtype))])
        for dtype in (np.float64, np.float32)
    )
    np.testing.assert_allclose(
        double.capabilities(first.embeddings), single.capabilities(first.embeddings), atol=0.05
    )


def test_models_of_a_later_batch_must_be_known() -> None:
    ecc = streamed([planted(100)])
    before = ecc.global_
    strange = Comparisons.from_arrays([0], ["m0"], ["new"], [1.0])
    with pytest.raises(ValueError, match="12 models that were fitted, got 'new'"):
        ecc.partial_fit(np.ones((1, 16)), comparisons=strange)
    assert ecc.global_ is before


def test_later_batches_have_as_many_features() -> None:
    with pytest.raises(ValueError, match="16 features"):
        streamed([planted(100)]).partial_fit(np.ones((1, 3)))
