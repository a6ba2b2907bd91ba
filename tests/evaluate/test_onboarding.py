from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from tests.evaluate.planted import planted

from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.onboarding import Onboarding, median_opponent


class World(NamedTuple):
    """Known models, and a new one that is good where the known ``m1`` is."""

    ecc: EvidenceCalibratedClustering
    X: NDArray[np.float64]
    θ_new: NDArray[np.float64]
    θ_QM: NDArray[np.float64]


@pytest.fixture(scope="module")
def world() -> World:
    data = planted(600, seed=3)
    ecc = EvidenceCalibratedClustering(4, n_init=3).fit(
        data.embeddings, comparisons=data.comparisons
    )
    θ_QM = ecc.capabilities(data.embeddings)
    θ_QM -= θ_QM.mean(1, keepdims=True)
    return World(ecc, data.embeddings, θ_QM[:, 1] + 0.3, θ_QM)


def answers(world: World, n: int, *, seed: int, chosen: bool) -> tuple[Onboarding, float]:
    """Ask n questions, ten at a time; return what was learned and its error."""
    rng = np.random.default_rng(seed)
    talk = Onboarding(world.ecc, world.X, name="new")
    rows, opponents, outcomes = [], [], []
    given: Comparisons | None = None
    for _ in range(n // 10):
        if chosen:
            found = talk.suggest(10, asked=given)
            asked = [(question.query, talk.models.index(question.opponent)) for question in found]
        else:
            median = median_opponent(world.θ_QM)
            asked = [(row, int(median[row])) for row in rng.choice(600, 10).tolist()]
        for row, opponent in asked:
            chance = expit(world.θ_new[row] - world.θ_QM[row, opponent])
            rows.append(row)
            opponents.append(opponent)
            outcomes.append(float(rng.random() < chance))
        given = Comparisons.from_arrays(
            rows,
            opponents,
            [len(talk.models)] * len(rows),
            outcomes,
            models=(*talk.models, "new"),
            n_queries=600,
        )
        talk.fit(given)
    mean, _ = talk.capabilities(world.X)
    return talk, float(np.sqrt(np.square(mean - world.θ_new).mean()))


def test_before_any_comparison_a_new_model_is_like_the_mean_of_the_known(world: World) -> None:
    mean, deviation = Onboarding(world.ecc, world.X, name="new").capabilities(world.X)
    np.testing.assert_allclose(mean, 0.0, atol=1e-6)
    spread = world.θ_QM.std()
    assert 0.4 * spread < deviation.mean() < 2.5 * spread


def test_comparisons_lead_to_the_truth(world: World) -> None:
    errors = [
        np.mean([answers(world, n, seed=s, chosen=True)[1] for s in range(3)]) for n in (20, 400)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.4


def test_chosen_questions_teach_more_than_the_median_opponent(world: World) -> None:
    chosen = np.mean([answers(world, 60, seed=seed, chosen=True)[1] for seed in range(8)])
    drawn = np.mean([answers(world, 60, seed=seed, chosen=False)[1] for seed in range(8)])
    assert chosen < drawn


def test_uncertainty_falls_and_is_honest(world: World) -> None:
    before = Onboarding(world.ecc, world.X, name="new").capabilities(world.X)[1].mean()
    z = []
    for seed in range(6):
        talk, _ = answers(world, 100, seed=seed, chosen=True)
        mean, deviation = talk.capabilities(world.X)
        assert deviation.mean() < 0.7 * before
        z.append((mean - world.θ_new) / deviation)
    assert 0.6 < np.mean(np.abs(z) < 1.645) <= 1.0


def test_no_query_is_asked_about_twice(world: World) -> None:
    talk = Onboarding(world.ecc, world.X, name="new")
    first = talk.suggest(300)
    asked = Comparisons.from_arrays(
        [question.query for question in first],
        [question.opponent for question in first],
        ["new"] * 300,
        [0.5] * 300,
        models=(*talk.models, "new"),
        n_queries=600,
    )
    rest = talk.suggest(300, asked=asked)
    assert {question.query for question in (*first, *rest)} == set(range(600))
    with pytest.raises(ValueError, match="at most 300 questions"):
        talk.suggest(301, asked=asked)


def test_a_question_is_put_to_an_opponent_that_is_about_as_good(world: World) -> None:
    talk, _ = answers(world, 200, seed=0, chosen=True)
    mean, _ = talk.capabilities(world.X)
    for question in talk.suggest(20):
        gaps = np.abs(world.θ_QM[question.query] - mean[question.query])
        assert talk.models[int(gaps.argmin())] == question.opponent


def test_comparisons_can_be_told_either_way_round(world: World) -> None:
    given = Comparisons.from_arrays(
        [0, 1, 2],
        ["m0", "m1", "m2"],
        ["new"] * 3,
        [1.0, 0.0, 1.0],
        models=(*world.ecc.models_, "new"),
        n_queries=600,
    )
    one = Onboarding(world.ecc, world.X, name="new").fit(given).capabilities(world.X)
    other = Onboarding(world.ecc, world.X, name="new").fit(given.swapped()).capabilities(world.X)
    np.testing.assert_allclose(one, other)


def test_comparisons_of_others_change_nothing(world: World) -> None:
    others = Comparisons.from_arrays([0, 1], ["m0", "m1"], ["m2", "m3"], [1.0, 0.0], n_queries=600)
    fresh = Onboarding(world.ecc, world.X, name="new")
    np.testing.assert_allclose(
        Onboarding(world.ecc, world.X, name="new").fit(others).capabilities(world.X),
        fresh.capabilities(world.X),
    )


def test_a_model_that_never_loses_stays_finite_and_leads(world: World) -> None:
    n = 200
    given = Comparisons.from_arrays(
        np.arange(n),
        ["m0"] * n,
        ["new"] * n,
        np.ones(n),
        models=(*world.ecc.models_, "new"),
        n_queries=600,
    )
    talk = Onboarding(world.ecc, world.X, name="new").fit(given)
    mean, deviation = talk.capabilities(world.X)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()
    assert (talk.rank(world.X)[:, 0] == len(talk.models)).mean() > 0.5


def test_predictions_are_less_sure_than_without_uncertainty(world: World) -> None:
    talk, _ = answers(world, 50, seed=1, chosen=True)
    p = talk.predict_pairwise(world.X, np.zeros(600, int))
    mean, _ = talk.capabilities(world.X)
    plain = expit(mean - world.θ_QM[:, 0])
    assert (np.abs(p - 0.5) <= np.abs(plain - 0.5) + 1e-12).all()
    assert ((p > 0.5) == (plain > 0.5)).all()


def test_the_level_is_the_mean_over_queries(world: World) -> None:
    talk, _ = answers(world, 50, seed=2, chosen=True)
    mean, deviation = talk.capabilities(world.X)
    level, error = talk.level(world.X)
    assert level == pytest.approx(mean.mean())
    assert 0 < error <= deviation.max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "m3"}, "expected a new model"),
        ({"name": "new", "n_factors": -1}, "at least 0 factors"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    world: World, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Onboarding(world.ecc, world.X, **change)  # type: ignore[arg-type]


def test_one_known_model_is_too_few() -> None:
    ecc = EvidenceCalibratedClustering(2).fit(np.random.default_rng(0).random((20, 3)))
    with pytest.raises(ValueError, match="at least two known models"):
        Onboarding(ecc, np.zeros((3, 3)), name="new")


def test_the_median_opponent_is_in_the_middle() -> None:
    assert median_opponent(np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 9.0]])).tolist() == [2, 1]
