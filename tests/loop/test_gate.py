from collections.abc import Callable

import numpy as np
import pytest
from tests.loop.worlds import EMBEDDER, SMALL, World, evidence_of, true_table

from triskele.evaluate.losses import losses_of_odds
from triskele.loop.blending import Blend
from triskele.loop.evidence import Evidence, Floats
from triskele.loop.fitting import fit
from triskele.loop.gate import Trial, forecast_without, tried
from triskele.serve.routing.capability_table import CapabilityTable, table_of


def fitter(evidence: Evidence, x: Floats) -> Callable[[Floats], CapabilityTable]:
    rng = np.random.default_rng(0)
    return lambda weight: (
        fit(x, evidence, weight, config=SMALL, embedder=EMBEDDER, prices={}, rng=rng).table
    )


def trial(
    world: World, n: int, current: CapabilityTable | None, fresh: slice = slice(None)
) -> Trial | None:
    evidence, x = evidence_of(world, n)
    is_fresh = np.zeros(n, bool)
    is_fresh[fresh] = True
    return tried(
        x, evidence, np.ones(n), fresh=is_fresh, current=current, fit=fitter(evidence, x),
        n_folds=2, rng=np.random.default_rng(0),
    )  # fmt: skip


def test_a_table_that_knows_nothing_is_beaten_and_the_true_one_is_not() -> None:
    ignorant = table_of(["coder", "historian", "plain"], prices=[1, 1, 1], bias=[0.3, 0.3, 0.3])
    found = trial(World(np.random.default_rng(0)), 400, ignorant)
    assert found is not None
    assert found.is_better(2.0)
    assert found.gain == pytest.approx(found.current_loss - found.candidate_loss)
    found = trial(World(np.random.default_rng(0)), 400, true_table())
    assert found is not None
    assert not found.is_better(0.0)


def test_the_first_table_has_to_know_models_apart() -> None:
    found = trial(World(np.random.default_rng(1)), 400, None)
    assert found is not None
    assert found.is_better(2.0)
    # One kind of queries is harder than the other, but all models are alike.
    alike = World(
        np.random.default_rng(1), quality={"code": (0.8, 0.8, 0.8), "past": (0.2, 0.2, 0.2)}
    )
    found = trial(alike, 400, None)
    assert found is not None
    assert not found.is_better(2.0)
    assert found.candidate_loss < 0.6


def test_only_what_is_fresh_is_asked_about() -> None:
    found = trial(World(np.random.default_rng(2)), 300, true_table(), slice(200, None))
    assert found is not None
    assert (found.n, found.n_queries) == (100, 100)


def test_where_nothing_can_be_held_out_there_is_no_trial() -> None:
    assert trial(World(np.random.default_rng(3)), 300, None, slice(0, 0)) is None
    assert trial(World(np.random.default_rng(3)), 1, None) is None


def test_a_model_that_is_seldom_chosen_has_its_say() -> None:
    # The table served is wrong of one model only, which is seldom chosen because of it.
    world = World(np.random.default_rng(4))
    evidence, x = evidence_of(world, 1500)
    known = evidence.comparisons
    rare = np.flatnonzero(known.model_b == 0)[60:]
    kept = np.setdiff1d(np.arange(1500), rare)
    some = evidence.take(kept)
    wrong = true_table({"code": (0.3, 0.3, 0.55), "past": (0.3, 0.9, 0.55)})
    found = tried(
        x, some, np.ones(len(some)), fresh=np.ones(len(some), bool), current=wrong,
        fit=fitter(some, x), n_folds=2, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert found is not None
    assert found.is_better(2.0)


def test_a_forecast_can_be_made_of_the_evidence_itself_without_each_query() -> None:
    world = World(np.random.default_rng(5))
    evidence, x = evidence_of(world, 400)
    odds = forecast_without(
        x, evidence, np.ones(400), fit=fitter(evidence, x), rng=np.random.default_rng(0)
    )
    assert odds is not None
    losses = losses_of_odds(odds, evidence.comparisons.outcome)
    assert losses.mean() < 0.62
    # By heart it would be much lower: it has not seen the outcomes.
    assert losses.mean() > 0.45
    few = forecast_without(
        x, evidence, np.arange(400) < 5, fit=fitter(evidence, x), rng=np.random.default_rng(0)
    )
    assert few is None


def test_better_means_beyond_noise() -> None:
    def of(gain: float, error: float) -> Trial:
        return Trial(
            n=1, n_queries=1, candidate_loss=1.0, current_loss=1.0 + gain, gain=gain, error=error,
            blend=Blend(),
        )  # fmt: skip

    assert of(0.3, 0.1).is_better(2.0)
    assert not of(0.15, 0.1).is_better(2.0)
    assert not of(-0.3, 0.1).is_better(0.0)
    assert not of(0.0, 0.0).is_better(0.0)
