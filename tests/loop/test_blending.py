import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from tests.loop.worlds import World, evidence_of, true_table

from triskele.loop.blending import EXPECTED, Blend, Parts, blended, learned_blend, parts_of
from triskele.loop.evidence import Gathering
from triskele.loop.forecast import log_odds
from triskele.serve.routing.capability_table import table_of

weights = st.floats(0, 2)


def mixed(n: int) -> "tuple[object, object]":
    gathering, rng = Gathering(), np.random.default_rng(0)
    names = ["coder", "historian", "plain", "unknown"]
    for number in range(n):
        a, b = rng.choice(names, 2, replace=False)
        gathering.preference(f"{number}", a, b, outcome=1, answered=0, arrived=0, source="s")
        gathering.score(f"{number}", a, 0.5, answered=0, arrived=0, source="s")
    return gathering.evidence().comparisons, rng.normal(size=(n, 2))


def test_the_parts_add_up_to_what_the_table_says() -> None:
    comparisons, x = mixed(50)
    whole = parts_of(true_table(), x, comparisons).log_odds(Blend())
    assert whole == pytest.approx(log_odds(true_table(), x, comparisons), abs=1e-5)


@given(st.floats(-1, 1), weights, weights, weights)
def test_a_table_with_other_weights_says_what_its_parts_say(
    level: float, models: float, hardness: float, talents: float
) -> None:
    blend = Blend(level, models, hardness, talents)
    evidence, x = evidence_of(World(np.random.default_rng(1)), 30)
    said = parts_of(true_table(), x, evidence.comparisons).log_odds(blend)
    table = blended(true_table(), blend)
    assert log_odds(table, x, evidence.comparisons) == pytest.approx(said, abs=1e-4)


def test_parts_that_are_noise_lose_their_weight() -> None:
    rng = np.random.default_rng(2)
    others = np.column_stack([np.ones(4000), *rng.normal(size=(3, 4000))])
    # Only what differs between queries is true, and half as much as is said.
    outcome = (rng.random(4000) < expit(0.3 + 0.5 * others[:, 2])).astype(float)
    found = learned_blend(Parts(level=np.zeros(4000), others=others), outcome, np.ones(4000))
    assert found.level == pytest.approx(0.3, abs=0.1)
    assert found.models < 0.15
    assert found.hardness == pytest.approx(0.5, abs=0.1)
    assert found.talents < 0.15


def test_without_evidence_it_is_what_was_expected() -> None:
    none = Parts(level=np.zeros(0), others=np.zeros((0, 4)))
    assert learned_blend(none, np.zeros(0), np.zeros(0)) == Blend(*EXPECTED)


def test_no_part_counts_backwards() -> None:
    others = np.zeros((1000, 4))
    others[:, 3] = 1.0
    found = learned_blend(Parts(level=np.zeros(1000), others=others), np.zeros(1000), np.ones(1000))
    assert found.talents == 0.0


def test_one_ranking_has_no_hardness_and_no_talents() -> None:
    table = table_of(["a", "b"], prices=[1, 2], bias=[1.0, -1.0])
    found = blended(table, Blend(0.5, 0.5, 3.0, 3.0))
    assert found.bias.tolist() == [1.0, 0.0]
    assert found.prices.tolist() == [1.0, 2.0]
