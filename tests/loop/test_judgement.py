from dataclasses import replace

import numpy as np
import pytest
from tests.loop.worlds import EMBEDDER, JUDGE, World, evidence_of, true_table

from triskele.loop.judgement import Judgement, JudgementConfig, judged
from triskele.loop.verdict import History
from triskele.serve.routing.capability_table import CapabilityTable, table_of


def judge(
    world: World,
    n: int,
    *,
    current: CapabilityTable | None = None,
    history: History | None = None,
    config: JudgementConfig = JUDGE,
) -> Judgement:
    evidence, x = evidence_of(world, n)
    return judged(
        evidence,
        x,
        current=current,
        history=history or History(),
        prices={},
        embedder=EMBEDDER,
        half_life=1e6,
        now=world.now,
        rng=np.random.default_rng(0),
        config=config,
    )


def false_publications(n_seeds: int) -> int:
    """Count tables published where the one that is served is the truth."""
    return sum(
        judge(World(np.random.default_rng(seed)), 300, current=true_table()).verdict.published
        for seed in range(n_seeds)
    )


def test_noise_is_not_published() -> None:
    assert false_publications(25) <= 1


@pytest.mark.slow
def test_noise_is_hardly_ever_published() -> None:
    assert false_publications(400) <= 0.05 * 400


def test_a_first_table_of_models_that_are_alike_is_not_published() -> None:
    alike = {"code": (0.6, 0.6, 0.6), "past": (0.6, 0.6, 0.6)}
    found = [
        judge(World(np.random.default_rng(seed), quality=alike), 300).verdict.published
        for seed in range(12)
    ]
    assert sum(found) <= 1


def test_too_little_that_is_new_is_waited_for_and_nothing_is_passed_over() -> None:
    world = World(np.random.default_rng(0))
    found = judge(world, 30, history=History(until=7.0))
    assert found.candidate is None
    assert found.verdict.reasons == ("waits: 30 of 50 pieces of new evidence",)
    assert found.verdict.until == found.verdict.since == 7.0


def test_what_claims_to_be_of_a_later_time_does_not_hide_what_comes_before_it() -> None:
    world = World(np.random.default_rng(0))
    evidence, x = evidence_of(world, 100)
    arrived = evidence.arrived.copy()
    arrived[0] = 1e12
    found = judged(
        replace(evidence, arrived=arrived), x, current=None, history=History(), prices={},
        embedder=EMBEDDER, half_life=1e6, now=world.now, rng=np.random.default_rng(0), config=JUDGE,
    )  # fmt: skip
    assert found.verdict.n == 99
    assert found.verdict.until == world.now


def test_what_was_refused_before_is_not_looked_at() -> None:
    history = History(until=1000.0, refused=((1000.0, 1200.0),))
    found = judge(World(np.random.default_rng(1)), 400, history=history)
    assert found.verdict.n == found.verdict.n_new == 200


def test_what_the_table_has_seen_publishes_no_other() -> None:
    wrong = table_of(["coder", "historian", "plain"], prices=[1, 1, 1], bias=[0, 0, 0])
    history = History(until=1200.0, current_since=1395.0)
    found = judge(World(np.random.default_rng(2)), 400, current=wrong, history=history)
    assert not found.verdict.published
    fresh = replace(history, current_since=1200.0)
    assert judge(World(np.random.default_rng(2)), 400, current=wrong, history=fresh).candidate


def test_a_decay_of_calibration_raises_an_alarm() -> None:
    world = World(
        np.random.default_rng(3), quality={"code": (0.5, 0.5, 0.5), "past": (0.5, 0.5, 0.5)}
    )
    verdict = judge(world, 400, current=true_table()).verdict
    assert verdict.drift is not None
    assert verdict.drift > 3
    assert any("current table is off" in alarm for alarm in verdict.alarms)
    calm = judge(World(np.random.default_rng(3)), 400, current=true_table()).verdict
    assert calm.alarms == ()


def test_only_the_newest_evidence_is_looked_at_if_there_is_too_much() -> None:
    config = replace(JUDGE, most=100, fewest_new=1)
    found = judge(World(np.random.default_rng(4)), 400, config=config)
    assert found.verdict.until == 1400.0
    assert found.candidate is None or len(found.candidate.points) <= 100


def test_a_table_of_other_embeddings_is_no_forecast_but_can_be_replaced() -> None:
    other = table_of(
        ["coder", "historian", "plain"],
        prices=[1, 1, 1],
        bias=[0, 0, 0],
        points=np.zeros((1, 7)),
        weights=np.zeros((1, 3)),
        embedder="hashed-words:7",
    )
    found = judge(World(np.random.default_rng(5)), 400, current=other)
    assert found.verdict.drift is None
    assert found.verdict.published


def test_settings_that_let_everything_through_are_refused() -> None:
    for changes in ({"z": -1.0}, {"gate_folds": 1}, {"fewest_new": 0}, {"most": 0}):
        with pytest.raises(ValueError, match="expected z"):
            JudgementConfig(**changes)  # type: ignore[arg-type]
