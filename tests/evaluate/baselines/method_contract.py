"""What every method promises, whatever it does: one suite, which the tests of each inherit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator
from tests.evaluate.baselines.answers import MODELS, World, nothing, world
from tests.evaluate.tournaments import tournaments

from triskele.evaluate.comparisons import Comparisons


class MethodContract:
    def make(self) -> Any:
        raise NotImplementedError

    def queries(self, made: World) -> NDArray[Any]:
        return made.X

    def fitted(self) -> tuple[Any, NDArray[Any], World]:
        made = world(120)
        X = self.queries(made)
        return self.make().fit(X, comparisons=made.votes), X, made

    def test_parameters_are_those_of_scikit_learn(self) -> None:
        method = self.make()
        assert str(clone(method).get_params()) == str(method.get_params())

    def test_it_obeys_scikit_learn(self) -> None:
        check_estimator(self.make(), on_skip=None)

    def test_nothing_is_said_before_a_fit(self) -> None:
        with pytest.raises(NotFittedError):
            self.make().capabilities(self.queries(world(4)))

    def test_chances_follow_either_way_of_telling_a_pair(self) -> None:
        method, X, made = self.fitted()
        probes = made.votes.take(made.votes.query % 3 == 0)
        for known in (None, probes):
            chance = method.predict_pairwise(X, made.votes, comparisons=known)
            assert chance.shape == (len(made.votes),)
            assert ((chance >= 0) & (chance <= 1)).all()
            other = method.predict_pairwise(X, made.votes.swapped(), comparisons=known)
            assert other == pytest.approx(1 - chance, abs=1e-9)

    def test_models_are_ranked_by_their_capabilities(self) -> None:
        method, X, _ = self.fitted()
        θ, order = method.capabilities(X), method.rank(X)
        assert (np.diff(np.take_along_axis(θ, order, 1)) <= 0).all()
        assert (np.sort(order) == np.arange(4)).all()

    def test_the_score_is_the_weighted_mean_log_likelihood(self) -> None:
        method, X, made = self.fitted()
        votes = made.votes
        weight = 1.0 + np.arange(len(votes)) % 3
        asked = Comparisons.from_arrays(
            votes.query,
            votes.model_a,
            votes.model_b,
            votes.outcome,
            weight=weight,
            models=MODELS,
            n_queries=votes.n_queries,
        )
        p, y = method.predict_pairwise(X, asked), asked.outcome
        expected = (weight * (y * np.log(p) + (1 - y) * np.log(1 - p))).sum() / weight.sum()
        assert method.score(X, comparisons=asked) == pytest.approx(expected)
        assert np.isnan(method.score(X))

    def test_the_same_seed_gives_the_same_answers(self) -> None:
        (one, X, _), (other, _, _) = self.fitted(), self.fitted()
        assert (one.capabilities(X) == other.capabilities(X)).all()

    def test_names_of_models_may_come_in_any_order_when_it_is_asked(self) -> None:
        method, X, made = self.fitted()
        votes = made.votes
        among = votes.take((votes.model_a != 0) & (votes.model_b != 0))
        renamed = Comparisons.from_arrays(
            among.query,
            [MODELS[index] for index in among.model_a],
            [MODELS[index] for index in among.model_b],
            among.outcome,
            models=MODELS[:0:-1],
            n_queries=among.n_queries,
        )
        expected = method.predict_pairwise(X, among, comparisons=among)
        assert method.predict_pairwise(X, renamed, comparisons=renamed) == pytest.approx(expected)

    def test_what_does_not_fit_the_queries_or_the_models_is_refused(self) -> None:
        method, X, _ = self.fitted()
        with pytest.raises(ValueError, match="comparisons of the 120 rows of X, got 3 queries"):
            method.fit(X, comparisons=nothing(3))
        with pytest.raises(ValueError, match="got 3 queries"):
            method.predict_pairwise(X, nothing(3))
        stranger = Comparisons.from_arrays([0], ["ann"], ["eve"], [1], n_queries=120)
        with pytest.raises(ValueError, match="got 'eve'"):
            method.predict_pairwise(X, stranger)
        with pytest.raises(ValueError, match="got 'eve'"):
            method.capabilities(X, stranger)

    def test_whatever_was_played_all_is_finite(self) -> None:
        @settings(deadline=None, max_examples=25)
        @given(tournaments(min_models=1), st.integers(0, 3))
        def check(votes: Comparisons, seed: int) -> None:
            rng = np.random.default_rng(seed)
            n_queries = votes.n_queries
            kind = rng.integers(2, size=n_queries)
            X = self.queries(World(rng.standard_normal((n_queries, 3)), kind, votes))
            method = self.make().fit(X, comparisons=votes)
            assert method.models_ == votes.models
            for known in (None, votes):
                θ = method.capabilities(X, known)
                assert θ.shape == (n_queries, votes.n_models)
                assert np.isfinite(θ).all()
                chance = method.predict_pairwise(X, votes, comparisons=known)
                assert np.isfinite(chance).all()

        check()

    def test_without_comparisons_all_models_are_alike(self) -> None:
        made = world(30)
        X = self.queries(made)
        method = self.make().fit(X, comparisons=nothing(30))
        assert method.capabilities(X) == pytest.approx(np.zeros((30, 4)))
        assert self.make().fit(X).capabilities(X).shape == (30, 0)

    def test_if_all_tie_all_models_are_alike(self) -> None:
        made = world(60, ties=1.0)
        X = self.queries(made)
        method = self.make().fit(X, comparisons=made.votes)
        assert method.capabilities(X) == pytest.approx(np.zeros((60, 4)), abs=1e-9)
