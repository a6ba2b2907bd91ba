from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import adjusted_rand_score
from tests.evaluate.baselines.answers import world
from tests.evaluate.baselines.method_contract import MethodContract

from triskele.evaluate.baselines.embedding_clusters import EmbeddingClusters
from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.bradley_terry.newton import fit_counts


class TestContract(MethodContract):
    def make(self) -> EmbeddingClusters:
        return EmbeddingClusters(3)


def test_clusters_rest_where_soft_k_means_does() -> None:
    made = world(200)
    method = EmbeddingClusters(4).fit(made.X, comparisons=made.votes)
    unit = made.X / np.linalg.norm(made.X, axis=1, keepdims=True)
    r = softmax(30 * unit @ method.cluster_centers_.T, axis=1)
    assert method.responsibilities_ == pytest.approx(r)
    means = r.T @ unit
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert np.linalg.norm(means - method.cluster_centers_) < 1e-4
    assert (method.labels_ == r.argmax(1)).all()
    assert 5 < method.n_iter_ < 1000


def test_a_comparison_counts_as_its_query_belongs_and_queries_count_alike() -> None:
    made = world(200)
    votes = made.votes.take((made.votes.query % 2 == 0) | (np.arange(len(made.votes)) % 4 == 0))
    for shrink in ("zero", "global"):
        method = EmbeddingClusters(4, ridge=2.0, shrink=shrink).fit(made.X, comparisons=votes)
        prior = method.global_ if shrink == "global" else np.zeros(4)
        share = method.responsibilities_ / np.bincount(votes.query, minlength=200)[:, None]
        for cluster in range(4):
            wins = count_wins(votes, weight=share[votes.query, cluster])
            expected = fit_counts(wins, ridge=2.0, prior=prior)
            assert method.profiles_[cluster] == pytest.approx(expected)


def test_a_prediction_is_the_mean_of_those_of_the_clusters() -> None:
    made = world(60)
    method = EmbeddingClusters(4).fit(made.X, comparisons=made.votes)
    votes, p = made.votes, method.profiles_
    each = expit(p[:, votes.model_b] - p[:, votes.model_a])
    expected = (method.responsibilities_[votes.query] * each.T).sum(1)
    assert method.predict_pairwise(made.X, votes) == pytest.approx(expected)
    assert method.capabilities(made.X) == pytest.approx(method.responsibilities_ @ p)


def test_what_is_known_of_a_query_moves_it_to_clusters_that_agree() -> None:
    made = world(60)
    method = EmbeddingClusters(4).fit(made.X, comparisons=made.votes)
    known = made.votes
    p = method.profiles_
    lead = p[:, known.model_b] - p[:, known.model_a]
    likelihood = known.outcome * np.log(expit(lead)) + (1 - known.outcome) * np.log(expit(-lead))
    mean = np.stack([likelihood[:, known.query == q].mean(1) for q in range(60)])
    unit = made.X / np.linalg.norm(made.X, axis=1, keepdims=True)
    expected = softmax(30 * unit @ method.cluster_centers_.T + 10 * mean, axis=1)
    assert method.predict_proba(made.X, comparisons=known) == pytest.approx(expected)
    deaf = EmbeddingClusters(4, evidence_weight=0.0).fit(made.X, comparisons=known)
    assert deaf.predict_proba(made.X, comparisons=known) == pytest.approx(
        deaf.predict_proba(made.X)
    )


def test_kinds_of_queries_are_found() -> None:
    made = world(300)
    found = [
        EmbeddingClusters(2, random_state=seed).fit(made.X, comparisons=made.votes).labels_
        for seed in range(3)
    ]
    assert max(adjusted_rand_score(made.kind, labels) for labels in found) > 0.95


def test_there_are_no_more_clusters_than_queries() -> None:
    made = world(3)
    assert EmbeddingClusters(30).fit(made.X, comparisons=made.votes).n_clusters_ == 3


def test_the_search_ends_when_it_is_told_to() -> None:
    made = world(100)
    assert EmbeddingClusters(5, max_iter=2).fit(made.X, comparisons=made.votes).n_iter_ == 2


@pytest.mark.parametrize(
    "wrong", [{"n_clusters": 0}, {"ridge": 0.0}, {"shrink": "mean"}, {"evidence_weight": -1.0}]
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        EmbeddingClusters(**wrong).fit(np.eye(3))
