import numpy as np
import pytest
from tests.evaluate.baselines.answers import world

from triskele.evaluate.baselines.comparison_clusters import comparison_only
from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering


def test_it_is_the_published_method_without_the_embedding() -> None:
    expected = EvidenceCalibratedClustering.published(7, random_state=3).get_params()
    expected["prior_weight"] = 0.0
    assert comparison_only(7, random_state=3).get_params() == expected


def test_embeddings_have_no_part_in_it() -> None:
    made = world(100)
    other = np.random.default_rng(9).standard_normal(made.X.shape)
    one, two = (comparison_only(3).fit(X, comparisons=made.votes) for X in (made.X, other))
    assert two.profiles_ == pytest.approx(one.profiles_)
    assert one.predict_proba(made.X) == pytest.approx(np.full((100, 3), 1 / 3))
    known = two.predict_proba(other, comparisons=made.votes)
    assert known == pytest.approx(one.predict_proba(made.X, comparisons=made.votes))
