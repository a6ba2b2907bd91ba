import numpy as np
import pytest
from tests.evaluate.kinds import few_comparisons
from tests.evaluate.tournaments import tournament

from triskele.evaluate.bradley_terry.estimator import BradleyTerry
from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.standings import global_leaderboard, shrunk_leaderboard


def test_lines_are_those_of_the_ranking() -> None:
    votes = tournament([1.0, 0.0, -1.0, 1.0], 800, np.random.default_rng(1), tie_share=0.1)
    board = global_leaderboard(votes)
    fit = BradleyTerry().fit(votes)
    assert [line.model for line in board.lines][2:] == ["m1", "m2"]
    assert [line.rank for line in board.lines] == [1, 2, 3, 4]
    for line in board.lines:
        place = votes.models.index(line.model)
        assert line.strength == pytest.approx(fit.theta_[place])
        assert line.lower < line.strength < line.upper
    assert board.tied == (board.lines[1].model,)
    assert board.lead == pytest.approx(board.lines[0].strength - board.lines[1].strength)


def test_wins_count_ties_half() -> None:
    lines = {line.model: line for line in global_leaderboard(few_comparisons()).lines}
    assert [lines[m].wins for m in "xyz"] == [1.0, 1.5, 0.5]
    assert [lines[m].n_comparisons for m in "xyz"] == [2.0, 2.0, 2.0]


def test_who_was_never_compared_stands_at_the_prior() -> None:
    votes = Comparisons.from_arrays([0], [0], [1], [1.0], models=("x", "y", "z"))
    prior = np.array([0.0, -1.0, 1.0])
    board = shrunk_leaderboard(votes, prior=prior, ridge=5.0)
    z = next(line for line in board.lines if line.model == "z")
    assert z.strength == pytest.approx(1.0, abs=0.05)
    assert z.n_comparisons == 0
    assert z.upper - z.lower > 1, "of which nothing is known"


def test_groups_are_counted() -> None:
    votes = Comparisons.from_arrays([0, 1], [0, 2], [1, 3], [1.0, 1.0])
    assert global_leaderboard(votes).n_groups == 2


def test_one_model_leads_nobody() -> None:
    alone = Comparisons.from_arrays([], [], [], [], models=("x",), n_queries=1)
    board = global_leaderboard(alone)
    assert (board.leader.model, board.lead, board.tied) == ("x", 0.0, ())
