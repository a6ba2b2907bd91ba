import numpy as np
import pytest
from tests.loop.worlds import World, evidence_of, true_table

from triskele.loop.evidence import Gathering
from triskele.loop.forecast import log_odds
from triskele.loop.trust import (
    Suspicion,
    contradiction_of,
    contradictors_of,
    doubts_of,
    suspicion_of,
)


def doubted(world: World, n: int) -> set[str]:
    evidence, x = evidence_of(world, n)
    odds = log_odds(true_table(), x, evidence.comparisons)
    return {doubt.source for doubt in doubts_of(evidence, odds)}


def test_who_says_the_opposite_of_the_others_is_not_believed() -> None:
    assert doubted(World(np.random.default_rng(0), liars=("dia",)), 500) == {"dia"}


def test_honest_sources_are_believed() -> None:
    found = [doubted(World(np.random.default_rng(seed)), 300) for seed in range(100)]
    assert sum(map(bool, found)) <= 3


def test_where_nothing_can_be_foreseen_nobody_is_accused() -> None:
    even = {"code": (0.5, 0.5, 0.5), "past": (0.5, 0.5, 0.5)}
    n_accused = 0
    for seed in range(30):
        world = World(np.random.default_rng(seed), quality=even, liars=("dia",))
        evidence, _ = evidence_of(world, 300)
        n_accused += len(doubts_of(evidence, np.zeros(300)))
    assert n_accused <= 1


def test_all_sources_look_alike_when_a_model_has_changed() -> None:
    quality = {"code": (0.2, 0.3, 0.55), "past": (0.1, 0.9, 0.55)}
    found = [
        doubted(World(np.random.default_rng(seed), quality=quality), 300) for seed in range(30)
    ]
    assert sum(map(bool, found)) <= 2


def test_of_a_source_that_said_little_or_is_alone_nothing_is_said() -> None:
    little = World(np.random.default_rng(1), keys=("ann", *["bob"] * 60), liars=("ann",))
    assert doubted(little, 300) == set()
    alone = World(np.random.default_rng(1), keys=("ann",), liars=("ann",))
    assert doubted(alone, 300) == set()


def test_the_reason_says_how_much_is_turned_round() -> None:
    evidence, x = evidence_of(World(np.random.default_rng(2), liars=("bob",)), 600)
    (doubt,) = doubts_of(evidence, log_odds(true_table(), x, evidence.comparisons))
    assert "standard errors" in doubt.reason
    assert "turned round" in doubt.reason


def suspicion(world: World, n: int = 500) -> Suspicion:
    evidence, x = evidence_of(world, n)
    return suspicion_of(evidence, log_odds(true_table(), x, evidence.comparisons))


def test_flips_are_noticed_and_measured() -> None:
    found = [suspicion(World(np.random.default_rng(seed), flips=0.2), 800) for seed in range(30)]
    assert sum(each.is_founded for each in found) >= 27
    assert np.mean([each.flips for each in found]) == pytest.approx(0.2, abs=0.05)


def test_an_honest_batch_is_believed() -> None:
    found = [suspicion(World(np.random.default_rng(seed))) for seed in range(150)]
    assert sum(each.is_founded for each in found) <= 2


@pytest.mark.parametrize(
    "quality",
    [
        {"code": (0.45, 0.3, 0.55), "past": (0.05, 0.9, 0.55)},
        {"code": (0.3, 0.3, 0.55), "past": (0.3, 0.9, 0.55)},
        {"code": (0.97, 0.3, 0.55), "past": (0.8, 0.9, 0.55)},
    ],
)
def test_a_change_of_one_model_is_no_flip(quality: dict[str, tuple[float, ...]]) -> None:
    found = [suspicion(World(np.random.default_rng(seed), quality=quality)) for seed in range(30)]
    assert not any(each.is_founded for each in found)


def test_of_a_small_batch_nothing_is_said() -> None:
    assert suspicion(World(np.random.default_rng(0), flips=0.5), 50) == Suspicion(
        flips=0.0, z=0.0, z_without=0.0, is_founded=False
    )


def twice(rng: np.random.Generator, n: int, wrong: float, wrong_later: float) -> str | None:
    gathering = Gathering()
    for number in range(2 * n):
        truth = float(rng.random() < 0.6)
        for source in ("ann", "bob"):
            is_wrong = rng.random() < (wrong if number < n else wrong_later)
            gathering.score(
                f"q{number}", "m", 1 - truth if is_wrong else truth,
                answered=number, arrived=number, source=source,
            )  # fmt: skip
    evidence = gathering.evidence()
    return contradiction_of(evidence, evidence.arrived >= n)


def test_two_sources_that_contradict_each_other_more_than_before_are_noticed() -> None:
    rng = np.random.default_rng(0)
    found = [twice(rng, 100, 0.05, 0.25) for _ in range(20)]
    told = [each for each in found if each is not None]
    assert len(told) >= 19
    assert "both spoke of" in told[0]
    assert sum(twice(rng, 100, 0.05, 0.05) is not None for _ in range(200)) <= 2


def test_who_contradicts_the_others_is_not_believed() -> None:
    for liars in ((), ("dia",), ("cem", "dia")):
        rng = np.random.default_rng(1)
        gathering = Gathering()
        for number in range(400):
            truth = float(rng.random() < 0.6)
            for source in rng.choice(["ann", "bob", "cem", "dia", "eve", "fay"], 2, replace=False):
                is_wrong = source in liars or rng.random() < 0.05
                gathering.score(
                    f"q{number}", "m", 1 - truth if is_wrong else truth,
                    answered=number, arrived=number, source=str(source),
                )  # fmt: skip
        found = contradictors_of(gathering.evidence())
        assert {doubt.source for doubt in found} == set(liars)
        assert all("both spoke of" in doubt.reason for doubt in found)


def test_of_few_answers_that_two_spoke_of_nothing_is_said() -> None:
    assert twice(np.random.default_rng(0), 5, 0.0, 1.0) is None
