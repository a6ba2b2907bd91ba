import numpy as np
import pytest

from triskele.evaluate.comparisons import Comparisons
from triskele.evaluate.dataset import Dataset

SCORES = np.array([[1.0, 0.0], [np.nan, 0.5], [0.0, 1.0]])
VOTES = Comparisons.from_arrays([0, 2, 2], [0, 1, 0], [1, 0, 1], [1, 0.5, 0], models=["x", "y"])


def dataset(**parts: object) -> Dataset:
    given = {"ids": ("a", "b", "c"), "texts": ("A", "B", "C"), "models": ("x", "y"), **parts}
    return Dataset(**given)  # type: ignore[arg-type]


def test_arrays_are_views_that_cannot_be_written_to() -> None:
    scores = SCORES.copy()
    made = dataset(scores=scores)
    assert made.scores is not None
    assert np.shares_memory(made.scores, scores)
    with pytest.raises(ValueError, match="read-only"):
        made.scores[0, 0] = 5
    scores[0, 0] = 0.25  # what was given is still its owner's


def test_other_numbers_become_the_record_s() -> None:
    made = dataset(scores=SCORES.astype(np.float32), embeddings=np.eye(3, dtype=np.float16))
    assert made.scores is not None
    assert made.embeddings is not None
    assert (made.scores.dtype, made.embeddings.dtype) == (np.float64, np.float32)
    assert (made.n_queries, made.n_models) == (3, 2)


def test_questions_need_no_models() -> None:
    assert Dataset(ids=("a",), texts=("",)).n_models == 0


def test_some_queries_take_all_that_is_known_of_them() -> None:
    whole = dataset(
        scores=SCORES,
        categories=("u", "v", "w"),
        tasks=("s", "s", "t"),
        embeddings=np.arange(6).reshape(3, 2),
        comparisons=VOTES,
        prices=np.array([1.0, 2.0]),
    )
    part = whole.of_queries([2, 0])
    assert (part.ids, part.texts) == (("c", "a"), ("C", "A"))
    assert (part.categories, part.tasks) == (("w", "u"), ("t", "s"))
    np.testing.assert_array_equal(part.scores, SCORES[[2, 0]])
    np.testing.assert_array_equal(part.embeddings, [[4, 5], [0, 1]])
    assert part.comparisons is not None
    assert part.comparisons.query.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(part.prices, [1, 2])
    assert dataset().of_queries(np.array([True, False, True])).ids == ("a", "c")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"texts": ("A",)}, "expected 3 texts, one per query, got 1"),
        ({"categories": ("A",) * 4}, "expected 3 categories, one per query, got 4"),
        ({"tasks": ()}, "expected 3 tasks, one per query, got 0"),
        ({"ids": ("a", "b", "a")}, "each query once, got 'a' more than once"),
        ({"models": ("x", "x")}, "each model once"),
        ({"scores": SCORES.T}, r"scores of shape \(3, 2\), got \(2, 3\)"),
        ({"scores": np.where(SCORES == 1, np.inf, SCORES)}, "query 'a' and model 'x'"),
        ({"prices": [1.0]}, r"prices of shape \(2\), got \(1,\)"),
        ({"embeddings": np.eye(2)}, r"embeddings of shape \(3, any\), got \(2, 2\)"),
        ({"comparisons": VOTES.with_models(["y", "x"])}, "votes on the models 'x', 'y', got"),
        ({"comparisons": VOTES, "ids": "abcd", "texts": "ABCD"}, "votes on 4 queries, got 3"),
    ],
)
def test_what_does_not_fit_is_named(parts: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataset(**parts)
