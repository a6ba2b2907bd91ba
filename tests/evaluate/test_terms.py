import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.evaluate.terms import example_queries, top_terms

COOKING = ["Bake the apple pie slowly", "How long to bake an apple pie?", "An apple pie recipe"]
LAW = ["The court ruled on the appeal", "Which court hears an appeal?", "Appeal to the high court"]


def test_terms_set_a_cluster_apart() -> None:
    terms = top_terms(COOKING * 10 + LAW * 10, [0] * 30 + [1] * 30, n_terms=3)
    assert "apple pie" in terms[0] or {"apple", "pie"} <= set(terms[0])
    assert {"court", "appeal"} <= set(terms[1])
    assert all(len(several) <= 3 for several in terms)


def test_what_all_clusters_say_is_no_term() -> None:
    texts = [f"please answer {word}" for word in ["physics"] * 30 + ["biology"] * 30]
    assert top_terms(texts, [0] * 30 + [1] * 30) == [("physics",), ("biology",)]


def test_what_one_text_repeats_is_no_term() -> None:
    texts = ["energy of waves"] * 30 + ["cells and genes"] * 29 + ["whale " * 300]
    _, biology = top_terms(texts, [0] * 30 + [1] * 30)
    assert biology[0] in ("cells", "genes")
    assert "whale" not in biology


def test_stop_words_and_numbers_are_no_terms_and_pairs_stand_side_by_side() -> None:
    texts = ["the state of art 12 (A) is of note"] * 40 + ["bright stars"] * 40
    (art, _) = top_terms(texts, [0] * 40 + [1] * 40, n_terms=20)
    assert set(art) == {"state", "art", "note"}


def test_a_term_of_words_that_were_named_is_passed_over() -> None:
    texts = ["quantum field theory"] * 40 + ["french revolution"] * 40
    terms, _ = top_terms(texts, [0] * 40 + [1] * 40, n_terms=20)
    words = " ".join(terms).split()
    assert sorted(set(words)) == ["field", "quantum", "theory"]
    assert len(terms) <= 3


def test_clusters_without_anything_of_their_own_have_no_terms() -> None:
    texts = ["red apple"] * 20 + ["", ""]
    assert top_terms(texts, [0] * 10 + [1] * 10 + [2, -1], n_clusters=4) == [(), (), (), ()]
    assert top_terms([], []) == []
    assert top_terms(["", "12"], [0, 1]) == [(), ()]
    assert top_terms(["red apple"] * 9, [0] * 9, n_terms=0) == [()]
    assert top_terms(["red apple"] * 9, [0] * 9) == [()]


def test_texts_of_no_cluster_are_left_out() -> None:
    texts = ["red apple"] * 20 + ["blue sky"] * 20 + ["red apple"] * 200
    terms = top_terms(texts, [0] * 20 + [1] * 20 + [-1] * 200)
    assert set(terms[0]) == {"red", "apple"} or "red apple" in terms[0]


@pytest.mark.parametrize(
    ("labels", "n_clusters", "message"),
    [
        ([0], None, r"expected 2 labels, one per query, got shape \(1,\)"),
        ([0.0, 1.5], None, "labels to be whole numbers, got float64"),
        ([0, 3], 3, "labels below 3, got 3"),
    ],
)
def test_labels_that_do_not_fit_are_named(
    labels: list[float], n_clusters: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        top_terms(["a", "b"], labels, n_clusters=n_clusters)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.text(max_size=30), st.integers(-1, 3)), max_size=20))
def test_any_texts_have_some_answer(rows: list[tuple[str, int]]) -> None:
    terms = top_terms([text for text, _ in rows], np.array([k for _, k in rows], int), n_clusters=4)
    assert len(terms) == 4
    assert all(len(set(several)) == len(several) for several in terms)


def test_examples_are_the_nearest_by_cosine() -> None:
    X = np.array([[9, 9], [1, 0.1], [0, 1], [2, 0], [0, 0], [1, -1]], np.float32)
    labels, centroids = np.array([0, 0, 1, 0, 0, -1]), np.array([[7.0, 0.0], [0.0, 1.0], [1, 1]])
    first, second, third = example_queries(X, labels, centroids, 3)
    assert first.tolist() == [3, 1, 0]
    assert second.tolist() == [2]
    assert third.tolist() == []
    assert [len(rows) for rows in example_queries(X, labels, centroids, 0)] == [0, 0, 0]


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"centroids of \(2,\) features, got \(3,\)"):
        example_queries(np.ones((2, 2)), [0, 0], np.ones((1, 3)), 1)
    with pytest.raises(ValueError, match="labels below 1, got 1"):
        example_queries(np.ones((2, 2)), [0, 1], np.ones((1, 2)), 1)
