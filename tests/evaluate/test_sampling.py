from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from tests.evaluate.tournaments import tournament

from triskele.evaluate.sampling import sample_comparisons, split_probes, split_queries

SCORES = st_numpy.arrays(
    np.float64,
    st.tuples(st.integers(0, 6), st.integers(0, 5)),
    elements=st.sampled_from([0.0, 0.5, 1.0, np.nan]),
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(SCORES, st.sampled_from([1, 2, 7, None]), st.sampled_from(["drop", "half"]))
def test_a_query_gets_as_many_pairs_as_qualify_and_each_once(
    scores: np.ndarray[Any, Any], per_query: int | None, ties: Any
) -> None:
    comparisons = sample_comparisons(scores, per_query=per_query, ties=ties, rng=rng())
    assert comparisons.n_queries == len(scores)
    assert comparisons.n_models == scores.shape[1]
    assert (np.diff(comparisons.query) >= 0).all()
    for query, row in enumerate(scores):
        qualify = {
            (i, j)
            for i, j in combinations(range(len(row)), 2)
            if abs(row[i] - row[j]) > 0 or (ties == "half" and row[i] == row[j])
        }
        drawn = comparisons.take(comparisons.query == query)
        pairs = list(zip(drawn.model_a.tolist(), drawn.model_b.tolist(), strict=True))
        assert {(min(pair), max(pair)) for pair in pairs} <= qualify
        assert len({frozenset(pair) for pair in pairs}) == len(pairs)
        assert len(pairs) == min(len(qualify), per_query or len(qualify))
        for (a, b), outcome in zip(pairs, drawn.outcome, strict=True):
            assert outcome == (0.5 if row[a] == row[b] else row[b] > row[a])


def test_all_pairs_are_drawn_equally_often_and_told_either_way_round() -> None:
    scores = np.tile(np.arange(4.0), (6000, 1))
    comparisons = sample_comparisons(scores, per_query=2, rng=rng())
    counts = np.bincount(comparisons.model_a * 4 + comparisons.model_b, minlength=16)
    drawn = counts[counts > 0]
    assert len(drawn) == 12
    assert drawn == pytest.approx(np.full(12, 1000), abs=150)


def test_a_small_difference_is_a_tie() -> None:
    scores = [[0.0, 0.05, 0.2]]
    dropped = sample_comparisons(scores, tolerance=0.1, rng=rng())
    assert len(dropped) == 2
    halved = sample_comparisons(scores, tolerance=0.1, ties="half", rng=rng())
    assert sorted(halved.outcome.tolist())[1] in (0.0, 0.5)
    assert (halved.outcome == 0.5).sum() == 1


def test_many_queries_are_drawn_block_by_block() -> None:
    scores = np.random.default_rng(1).random((3000, 40))
    comparisons = sample_comparisons(scores, per_query=3, rng=rng())
    assert np.bincount(comparisons.query).tolist() == [3] * 3000


def test_the_same_seed_draws_the_same() -> None:
    scores = np.random.default_rng(1).random((30, 5))
    first, second = (sample_comparisons(scores, rng=rng()) for _ in range(2))
    assert (first.model_a == second.model_a).all()


def test_models_are_named() -> None:
    assert sample_comparisons([[0, 1]], models=["x", "y"], rng=rng()).models == ("x", "y")
    with pytest.raises(ValueError, match="expected 2 models for as many columns, got 1"):
        sample_comparisons([[0, 1]], models=["x"], rng=rng())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": [0.0, 1.0]}, r"expected a table of numbers .*, got shape \(2,\)"),
        ({"scores": [["a", "b"]]}, "expected a table of numbers"),
        ({"scores": [[0, 1], [0, np.inf]]}, "row 1: expected finite scores .* in column 1"),
        ({"per_query": 0}, "expected at least one comparison per query, got 0"),
        ({"ties": "keep"}, "expected ties to be"),
        ({"tolerance": -1.0}, "expected a finite tolerance of at least 0, got -1"),
    ],
)
def test_what_cannot_be_sampled_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_comparisons(**({"scores": [[0, 1]], "rng": rng()} | options))


def test_queries_are_split_without_overlap() -> None:
    train, test = split_queries(10, test_size=0.25, rng=rng())
    assert sorted([*train, *test]) == list(range(10))
    assert len(test) == 3
    assert (np.diff(train) > 0).all()
    assert len(split_queries(10, test_size=4, rng=rng())[1]) == 4
    assert len(split_queries(10, test_size=np.int64(4), rng=rng())[1]) == 4


@pytest.mark.parametrize("test_size", [0, 10, 0.0, 1.0, -0.1])
def test_no_side_of_a_split_is_empty(test_size: float) -> None:
    with pytest.raises(ValueError, match="expected a test size that leaves some of 10 queries"):
        split_queries(10, test_size=test_size, rng=rng())


def test_probes_and_scored_make_up_all_comparisons() -> None:
    comparisons = tournament(np.zeros(6), 200, np.random.default_rng(1), per_query=5)
    probes, scored = split_probes(comparisons, n_probes=2, disjoint=False, rng=rng())
    assert np.bincount(probes.query).tolist() == [2] * 40
    assert np.bincount(scored.query).tolist() == [3] * 40
    assert probes.n_queries == scored.n_queries == 40


def test_disjoint_comparisons_share_no_model_with_a_probe_of_their_query() -> None:
    comparisons = tournament(np.zeros(8), 400, np.random.default_rng(1), per_query=5)
    probes, scored = split_probes(comparisons, n_probes=1, disjoint=True, rng=rng())
    shown = {
        (query, model)
        for query, *pair in zip(probes.query, probes.model_a, probes.model_b, strict=True)
        for model in pair
    }
    of_scored = zip(scored.query, scored.model_a, scored.model_b, strict=True)
    assert all((q, a) not in shown and (q, b) not in shown for q, a, b in of_scored)
    assert 0 < len(scored) < 320


def test_any_comparison_may_be_the_probe() -> None:
    comparisons = tournament(np.zeros(3), 3000, np.random.default_rng(1), per_query=3)
    probes, _ = split_probes(comparisons, n_probes=1, disjoint=False, rng=rng())
    key = probes.query * 3 + probes.model_a
    assert len(key) == 1000
    first = comparisons.model_a[::3] * 3 + comparisons.model_b[::3]
    same_as_first = (probes.model_a * 3 + probes.model_b) == first
    assert 300 < same_as_first.sum() < 650


def test_without_probes_all_are_scored() -> None:
    comparisons = tournament(np.zeros(3), 10, np.random.default_rng(1))
    probes, scored = split_probes(comparisons, n_probes=0, disjoint=True, rng=rng())
    assert (len(probes), len(scored)) == (0, 10)
    with pytest.raises(ValueError, match="expected at least 0 probes, got -1"):
        split_probes(comparisons, n_probes=-1, disjoint=True, rng=rng())
