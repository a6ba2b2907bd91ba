import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.runs import as_released, difficult_scores

from triskele.evaluate.alignment.interleaving import (
    agreement,
    candidate_orders,
    in_order,
    merged_runs,
    ordered,
    relation,
    settled,
    standardized,
)

ONE_TASK = np.zeros(400, np.int64)


def orders(blocks: np.ndarray, n: int = 8) -> list[np.ndarray]:
    return [in_order(blocks, n_ranks) for n_ranks in range(1, n + 1)]


def test_ranks_are_put_back_as_they_were_dealt() -> None:
    # Seven documents for three ranks: 0 3 6, 1 4, 2 5.
    released = np.array([0, 3, 6, 1, 4, 2, 5])
    assert released[in_order(np.zeros(7, int), 3)].tolist() == list(range(7))


def test_each_task_is_dealt_on_its_own_wherever_its_rows_are() -> None:
    blocks = np.array([0, 1, 0, 0, 1, 0])
    # Task 0 has rows 0 2 3 5, task 1 rows 1 4.
    rows = in_order(blocks, 2)
    assert (blocks[rows] == blocks).all()
    assert rows.tolist() == [0, 1, 3, 2, 4, 5]


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 40))
def test_an_order_is_a_permutation_within_tasks(labels: list[int], n_ranks: int) -> None:
    blocks = np.array(labels, np.int64)
    rows = in_order(blocks, n_ranks)
    assert sorted(rows.tolist()) == list(range(len(labels)))
    assert (blocks[rows] == blocks).all()


@given(st.integers(1, 60), st.integers(1, 9))
def test_releasing_and_ordering_is_nothing(n: int, n_ranks: int) -> None:
    blocks = np.zeros(n, np.int64)
    column = np.arange(n, dtype=float)[:, None]
    released = as_released(column, [n_ranks], blocks)
    np.testing.assert_array_equal(released[in_order(blocks, n_ranks)], column)


def test_standardized_columns_are_centred_in_each_task_and_of_length_1() -> None:
    rng = np.random.default_rng(0)
    scores, blocks = rng.random((40, 3)) * 9, np.repeat([0, 1], 20)
    scores[::7, 1], scores[:, 2] = np.nan, 0.1
    columns = standardized(scores, blocks)
    np.testing.assert_allclose(np.linalg.norm(columns, axis=0), [1, 1, 0])
    np.testing.assert_allclose(columns[:20].sum(axis=0), 0, atol=1e-12)
    assert (columns[::7, 1] == 0).all()


def test_agreement_is_standard_normal_by_chance_and_large_by_kinship() -> None:
    rng = np.random.default_rng(1)
    blocks = np.repeat([0, 1], [100, 300])
    references = standardized(rng.random((400, 1)), blocks)
    by_chance = [
        relation(standardized(rng.random((400, 50)), blocks), references.repeat(50, 1), blocks)
        for _ in range(20)
    ]
    assert abs(np.mean(by_chance)) < 0.15
    assert abs(np.std(by_chance) - 1) < 0.1
    assert relation(references, references, blocks)[0] == pytest.approx(np.sqrt(398), rel=0.05)


def test_agreement_is_best_in_the_order_that_is_right() -> None:
    scores = difficult_scores(400, 5, seed=2)
    columns = standardized(as_released(scores, [1, 1, 3, 1, 1], ONE_TASK), ONE_TASK)
    found = agreement(columns, ONE_TASK, orders(ONE_TASK), np.array([0, 0, 2, 0, 0]))
    assert found.shape == (5, 8)
    assert found.argmax(axis=1).tolist() == [0, 0, 2, 0, 0]


@pytest.mark.parametrize("n_ranks", [[1, 2, 1, 4, 8, 8], [3, 1, 5, 7, 1, 2], [1, 1, 1, 1, 1, 1]])
def test_the_simplest_choice_that_agrees_comes_first(n_ranks: list[int]) -> None:
    scores = difficult_scores(400, 6, seed=3)
    columns = standardized(as_released(scores, n_ranks, ONE_TASK), ONE_TASK)
    choices = candidate_orders(
        columns,
        orders(ONE_TASK),
        critical=5.0,
        n_known=np.full(6, 400),
        rng=np.random.default_rng(0),
    )
    assert (choices[0] + 1).tolist() == n_ranks
    chosen = settled(columns, ONE_TASK, orders(ONE_TASK), choices[0], critical=5.0)
    assert (chosen + 1).tolist() == n_ranks


def test_more_models_than_are_searched_together_follow_the_others() -> None:
    n_ranks = [1 + number % 3 for number in range(60)]
    scores = difficult_scores(400, 60, seed=4)
    columns = standardized(as_released(scores, n_ranks, ONE_TASK), ONE_TASK)
    choices = candidate_orders(
        columns,
        orders(ONE_TASK),
        critical=5.0,
        n_known=np.full(60, 400),
        rng=np.random.default_rng(0),
    )
    assert (choices[0] + 1).tolist() == n_ranks


def test_one_model_could_be_in_any_order() -> None:
    columns = standardized(difficult_scores(400, 1, seed=5), ONE_TASK)
    choices = candidate_orders(
        columns,
        orders(ONE_TASK, 4),
        critical=5.0,
        n_known=np.array([400]),
        rng=np.random.default_rng(0),
    )
    assert [choice.tolist() for choice in choices] == [[0], [1], [2], [3]]


def test_columns_are_ordered_one_by_one() -> None:
    columns = np.arange(8.0).reshape(4, 2)
    swapped = np.array([1, 0, 3, 2])
    found = ordered(columns, [np.arange(4), swapped], np.array([1, 0]))
    np.testing.assert_array_equal(found, [[2, 1], [0, 3], [6, 5], [4, 7]])


def test_runs_of_one_task_are_merged_and_others_are_not() -> None:
    tasks = np.repeat([0, 1], [600, 300])
    runs = np.repeat([0, 1, 2, 3, 4], [150, 250, 200, 170, 130])
    n_ranks = [1, 2, 4, 4, 1, 2, 8, 8]
    columns = standardized(as_released(difficult_scores(900, 8, seed=6), n_ranks, tasks), runs)
    np.testing.assert_array_equal(merged_runs(columns, runs, np.array(n_ranks)), tasks)
    # Where all move together nothing tells the runs apart from one task, and nothing is merged.
    np.testing.assert_array_equal(merged_runs(columns, runs, np.full(8, 2)), runs)
