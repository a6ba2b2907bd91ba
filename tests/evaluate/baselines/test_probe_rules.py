from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy.special import expit, logit

from triskele.evaluate.baselines.probe_rules import (
    CERTAIN,
    deduced_capabilities,
    deduced_chances,
    probes_of,
    utility_capabilities,
    utility_chances,
)
from triskele.evaluate.columns import Floats
from triskele.evaluate.comparisons import Comparisons

STRENGTHS = st_numpy.arrays(np.float64, (4,), elements=st.floats(-3, 3))
PAIRS = [(i, j) for i in range(4) for j in range(4) if i != j]


def all_pairs() -> Comparisons:
    a, b = zip(*PAIRS, strict=True)
    return Comparisons.from_arrays([0] * 12, a, b, [0.5] * 12, models="abcd")


def told(*outcomes: tuple[int, int, float]) -> Comparisons:
    a, b, y = zip(*outcomes, strict=True)
    return Comparisons.from_arrays([0] * len(a), a, b, y, models="abcd")


def by_utility(θ: Floats, known: Comparisons) -> Floats:
    before = np.array([expit(θ[j] - θ[i]) for i, j in PAIRS])
    return utility_chances(θ[None], before, probes_of(known, n_models=4), all_pairs())


def enumerated(θ: Floats, known: Comparisons) -> Floats:
    """Sum the Plackett–Luce probabilities of all orders that agree with what is known."""
    total, agreeing = np.zeros(len(PAIRS)), 0.0
    for order in permutations(range(4)):
        p = 1.0
        for place in range(4):
            left = np.exp(θ[list(order[place:])])
            p *= left[0] / left.sum()
        rank = np.argsort(order)
        winner = np.where(known.outcome > 0.5, known.model_b, known.model_a)
        loser = np.where(known.outcome > 0.5, known.model_a, known.model_b)
        if (rank[winner] < rank[loser]).all():
            agreeing += p
            total += p * np.array([rank[j] < rank[i] for i, j in PAIRS])
    return total / agreeing


@given(STRENGTHS, st.sampled_from(PAIRS), st.sampled_from([0.0, 1.0]))
def test_one_probe_is_told_as_all_orders_of_the_models_say(
    θ: Floats, pair: tuple[int, int], outcome: float
) -> None:
    known = told((*pair, outcome))
    expected = enumerated(θ, known).clip(1 - CERTAIN, CERTAIN)
    chances = by_utility(θ, known)
    others = [set(pair) != set(asked) for asked in PAIRS]
    assert chances[others] == pytest.approx(enumerated(θ, known)[others], abs=1e-9)
    assert chances == pytest.approx(expected, abs=1e-3)


def test_the_formulas_are_those_of_the_module() -> None:
    θ = np.array([0.3, -0.4, 1.1, 0.2])
    A, B, C, _ = np.exp(θ)
    chances = dict(zip(PAIRS, by_utility(θ, told((0, 1, 0.0))), strict=True))
    assert chances[2, 0] == pytest.approx((A + B) / (A + B + C))
    assert chances[2, 1] == pytest.approx(B * (A + B) / ((A + B + C) * (B + C)))
    assert chances[2, 3] == pytest.approx(expit(θ[3] - θ[2]))
    assert chances[1, 0] == CERTAIN


def test_two_probes_of_different_models_are_nearly_exact() -> None:
    θ = np.array([0.5, -0.5, 0.2, -0.1])
    known = told((0, 1, 1.0), (2, 3, 0.0))
    expected = enumerated(θ, known).clip(1 - CERTAIN, CERTAIN)
    assert by_utility(θ, known) == pytest.approx(expected, abs=0.05)


def test_a_chain_of_probes_goes_the_right_way() -> None:
    θ = np.zeros(4)
    chances = dict(zip(PAIRS, by_utility(θ, told((0, 1, 0.0), (1, 2, 0.0))), strict=True))
    assert chances[2, 0] > 0.75
    assert chances[3, 0] > 0.6
    assert chances[3, 2] < 0.35
    assert chances[2, 1] == chances[1, 0] == CERTAIN


def test_a_pair_seen_twice_is_as_it_was_last() -> None:
    chances = dict(zip(PAIRS, by_utility(np.zeros(4), told((0, 1, 0.0), (1, 0, 0.0))), strict=True))
    assert chances[0, 1] == CERTAIN
    assert chances[1, 0] == pytest.approx(1 - CERTAIN)


@given(STRENGTHS, st.sampled_from(PAIRS))
def test_strengths_are_exact_for_the_winner_and_in_order(θ: Floats, pair: tuple[int, int]) -> None:
    winner, loser = pair
    after = utility_capabilities(θ[None], probes_of(told((*pair, 0.0)), n_models=4))[0]
    chances = dict(zip(PAIRS, by_utility(θ, told((*pair, 0.0))), strict=True))
    assert after[winner] > after[loser]
    for other in set(range(4)) - set(pair):
        assert after[other] == θ[other]
        assert expit(after[winner] - θ[other]) == pytest.approx(chances[other, winner])
    assert after[winner] >= θ[winner]
    assert after[loser] <= θ[loser]


def test_a_loser_is_exact_against_a_model_of_mean_strength() -> None:
    θ = np.array([0.3, -0.4, 1.1, 1.1])
    after = utility_capabilities(θ[None], probes_of(told((0, 1, 0.0)), n_models=4))[0]
    chances = dict(zip(PAIRS, by_utility(θ, told((0, 1, 0.0))), strict=True))
    assert expit(after[1] - 1.1) == pytest.approx(chances[2, 1])


def test_of_two_models_the_winner_is_ahead() -> None:
    known = Comparisons.from_arrays([0], [0], [1], [1.0])
    after = utility_capabilities(np.array([[2.0, 0.0]]), probes_of(known, n_models=2))
    assert after[0, 1] > after[0, 0]


def test_deduction_decides_what_right_and_wrong_decide() -> None:
    θ, known = np.array([[0.3, -0.4, 1.1, 0.2]]), probes_of(told((0, 1, 0.0)), n_models=4)
    before = np.array([expit(θ[0, j] - θ[0, i]) for i, j in PAIRS])
    chances = dict(zip(PAIRS, deduced_chances(before, known, all_pairs()), strict=True))
    for other in (2, 3):
        assert chances[other, 0] == chances[1, other] == chances[1, 0] == CERTAIN
        assert chances[0, other] == chances[other, 1] == pytest.approx(1 - CERTAIN)
    assert chances[2, 3] == pytest.approx(expit(0.2 - 1.1))
    after = deduced_capabilities(θ, known)[0]
    assert np.argsort(-after).tolist() == [0, 2, 3, 1]
    assert after[0] - after[2] == pytest.approx(logit(CERTAIN))
    assert after[3] - after[1] == pytest.approx(logit(CERTAIN) + 0.2 + 0.4)


def test_two_that_were_right_are_alike() -> None:
    known = probes_of(told((0, 1, 0.0), (2, 3, 0.0)), n_models=4)
    chances = dict(zip(PAIRS, deduced_chances(np.full(12, 0.9), known, all_pairs()), strict=True))
    assert chances[0, 2] == chances[1, 3] == 0.5
    assert chances[3, 0] == chances[1, 2] == CERTAIN


def test_who_was_both_is_not_known() -> None:
    known = probes_of(told((0, 1, 0.0), (1, 2, 0.0)), n_models=4)
    chances = dict(zip(PAIRS, deduced_chances(np.full(12, 0.6), known, all_pairs()), strict=True))
    assert chances[1, 3] == 0.6
    assert chances[1, 0] == chances[2, 1] == CERTAIN


def test_ties_and_comparisons_without_weight_say_nothing_and_shares_are_rounded() -> None:
    known = Comparisons.from_arrays(
        [0, 1, 2, 3], [0] * 4, [1] * 4, [0.5, 0.8, 0.2, 1.0], weight=[1, 1, 1, 0]
    )
    probes = probes_of(known, n_models=2)
    assert probes.query.tolist() == [1, 2]
    assert (probes.winner.tolist(), probes.loser.tolist()) == ([1, 0], [0, 1])


def test_probes_come_one_per_query_in_their_order() -> None:
    known = Comparisons.from_arrays([2, 0, 2, 2, 0], [0] * 5, [1, 2, 3, 1, 3], [1.0] * 5)
    turns = [
        (probe.query.tolist(), probe.winner.tolist())
        for probe in probes_of(known, n_models=4).one_by_one()
    ]
    assert turns == [([0, 2], [2, 1]), ([0, 2], [3, 3]), ([2], [1])]
