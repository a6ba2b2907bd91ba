import numpy as np
import pytest
from scipy.special import expit
from tests.loop.worlds import true_table

from triskele.evaluate import Comparisons
from triskele.loop.evidence import PAR
from triskele.loop.forecast import (
    BLOCK,
    aligned_odds,
    excess,
    is_known,
    kernel,
    log_odds,
    odds_of,
)
from triskele.serve.routing.capability_table import table_of


def test_the_odds_are_those_that_the_router_reads() -> None:
    table = true_table()
    x = np.random.default_rng(0).normal(size=(20, 2))
    for row in range(20):
        assert expit(odds_of(table, x)[row]) == pytest.approx(table.quality(x[row]), abs=1e-5)


def test_blocks_of_queries_change_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(BLOCK + 10, 2))
    assert odds_of(true_table(), x)[-10:] == pytest.approx(odds_of(true_table(), x[-10:]))


def test_a_table_without_landmarks_says_the_same_of_every_query() -> None:
    table = table_of(["a", "b"], prices=[1, 1], bias=[0.5, -1])
    assert odds_of(table, np.ones((3, 7))).tolist() == [[0.5, -1.0]] * 3


def test_par_has_odds_of_zero_and_an_unknown_model_those_in_the_middle() -> None:
    table = table_of(["a", "b", "c"], prices=[1, 1, 1], bias=[3, 1, 2])
    odds = aligned_odds(table, np.zeros((1, 1)), ["c", "new", PAR])
    assert odds.tolist() == [[2.0, 2.0, 0.0]]
    two = Comparisons.from_arrays(
        [0, 0, 0], [0, 2, 2], [2, 1, 0], [0, 0, 0], models=["c", "new", PAR]
    )
    assert log_odds(table, np.zeros((1, 1)), two).tolist() == [-2.0, 2.0, 2.0]
    assert is_known(table, two).tolist() == [True, False, True]


def test_the_kernel_is_one_at_a_landmark_and_falls() -> None:
    z = np.array([[0.0, 0.0], [1.0, 0.0]])
    assert kernel(z, z, 2.0) == pytest.approx(np.array([[1, np.exp(-2)], [np.exp(-2), 1]]))


def test_the_excess_of_what_is_true_is_zero_on_average() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(size=100_000)
    outcome = (rng.random(100_000) < expit(odds)).astype(float)
    assert abs(excess(odds, outcome).mean()) < 0.01
    assert excess(odds, 1 - outcome).mean() > 0.1
    assert excess(odds, expit(odds)) == pytest.approx(np.zeros(100_000))
