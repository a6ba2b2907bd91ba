import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.evaluate.planted import planted

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.clustering.selection import EvidenceCalibratedClusteringCV
from triskele.evaluate.sampling import split_probes

QUICK = EvidenceCalibratedClustering(n_landmarks=0, n_init=2)


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [EvidenceCalibratedClusteringCV(n_clusters=(2, 3), prior_weight=(11.0,))]
)
def test_the_estimator_keeps_the_conventions(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]


def test_the_planted_number_of_clusters_is_preferred() -> None:
    data = planted(500, spread=2.0)
    chosen = EvidenceCalibratedClusteringCV(QUICK, n_clusters=(1, 2, 4), prior_weight=(11.0,))
    chosen.fit(data.embeddings, comparisons=data.comparisons)
    assert chosen.best_params_["n_clusters"] == 4
    mean = chosen.cv_results_["mean_test_score"]
    assert chosen.best_score_ == mean.max()
    assert mean[0] < mean[1] < mean[2]


def test_what_is_chosen_is_fitted_to_all_queries() -> None:
    data = planted(200)
    chosen = EvidenceCalibratedClusteringCV(QUICK, n_clusters=(3,), prior_weight=(11.0, 5.5))
    chosen.fit(data.embeddings, comparisons=data.comparisons)
    again = EvidenceCalibratedClustering(n_landmarks=0, n_init=2)
    again.set_params(**chosen.best_params_).fit(data.embeddings, comparisons=data.comparisons)
    np.testing.assert_array_equal(
        chosen.capabilities(data.embeddings), again.capabilities(data.embeddings)
    )
    np.testing.assert_array_equal(chosen.rank(data.embeddings), again.rank(data.embeddings))
    np.testing.assert_array_equal(
        chosen.predict_pairwise(data.embeddings, data.comparisons),
        again.predict_pairwise(data.embeddings, data.comparisons),
    )
    assert chosen.labels_.shape == (200,)
    assert chosen.estimator is QUICK
    assert not hasattr(QUICK, "labels_")


def test_what_is_chosen_does_better_on_new_queries_than_the_worst() -> None:
    data = planted(700, spread=2.0)
    train, test = data.of(slice(500)), data.of(slice(500, None))
    shown, asked = split_probes(
        test.comparisons, n_probes=1, disjoint=False, rng=np.random.default_rng(0)
    )
    chosen = EvidenceCalibratedClusteringCV(QUICK, n_clusters=(1, 4), prior_weight=(11.0,))
    chosen.fit(train.embeddings, comparisons=train.comparisons)
    worst = chosen.cv_results_["params"][int(chosen.cv_results_["mean_test_score"].argmin())]
    other = EvidenceCalibratedClustering(n_landmarks=0, n_init=2).set_params(**worst)
    other.fit(train.embeddings, comparisons=train.comparisons)
    told = {"comparisons": asked, "evidence": shown}
    assert chosen.score(test.embeddings, **told) > other.score(test.embeddings, **told)


def test_without_enough_to_choose_by_the_first_is_taken() -> None:
    chosen = EvidenceCalibratedClusteringCV(n_clusters=(3, 2), prior_weight=(11.0,))
    chosen.fit(np.random.default_rng(0).random((20, 4)))
    assert chosen.best_params_["n_clusters"] == 3
    assert np.isnan(chosen.best_score_)
    assert chosen.predict(np.random.default_rng(1).random((5, 4))).shape == (5,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_clusters": ()}, "values of n_clusters"),
        ({"n_parts": 1}, "two parts"),
        ({"n_shown": -1}, "at least 0 comparisons shown"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvidenceCalibratedClusteringCV().set_params(**change).fit(np.eye(5))
