import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import estimator_checks_generator

from triskele.evaluate.embedding.tfidf import TfidfEmbedder

FRUIT = ["a red apple", "the green apple tree", "ripe apple and pear", "red pear juice"]
NUMBERS = ["a prime number", "the largest prime", "number theory of primes", "an odd number"]
TEXTS = [*FRUIT, *NUMBERS]


def test_texts_of_one_kind_are_nearest_to_each_other() -> None:
    rows = TfidfEmbedder(n_components=4).fit_transform(TEXTS)
    similarity = rows @ rows.T - 2 * np.eye(8)
    nearest = similarity.argmax(axis=1)
    assert ((nearest < 4) == (np.arange(8) < 4)).all()


def test_rows_have_length_1_and_a_text_without_known_words_is_zeros() -> None:
    embedder = TfidfEmbedder(n_components=3).fit(TEXTS)
    rows = embedder.encode(["red apple", "", "xylophone", "prime"])
    assert rows.dtype == np.float32
    assert rows.shape == (4, 3)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 0, 1], atol=1e-6)


def test_directions_are_orthonormal_and_seeded() -> None:
    one = TfidfEmbedder(n_components=5, random_state=3).fit(TEXTS)
    np.testing.assert_allclose(one.components_ @ one.components_.T, np.eye(5), atol=1e-5)
    two = TfidfEmbedder(n_components=5, random_state=3).fit(TEXTS)
    np.testing.assert_array_equal(one.components_, two.components_)


@pytest.mark.parametrize(
    ("texts", "n_features"),
    [
        (["one text"], 1),
        (TEXTS, 8),
        (["", ""], 1),
        ([""], 1),
        (["same words"] * 5, 3),
        (["a b"], 1),
    ],
)
def test_there_are_no_more_features_than_texts_or_words(texts: list[str], n_features: int) -> None:
    embedder = TfidfEmbedder(n_components=50)
    rows = embedder.fit_transform(texts)
    assert rows.shape == (len(texts), n_features)
    assert embedder.n_features_out_ == n_features
    assert np.isfinite(rows).all()


def test_no_texts_can_be_embedded_but_not_learned_from() -> None:
    assert TfidfEmbedder(n_components=2).fit(TEXTS).transform([]).shape == (0, 2)
    with pytest.raises(ValueError, match="at least one text, got none"):
        TfidfEmbedder().fit([])


def test_the_most_frequent_terms_are_kept() -> None:
    embedder = TfidfEmbedder(max_terms=2).fit(TEXTS)
    assert embedder.vectorizer_ is not None
    assert len(embedder.vectorizer_.vocabulary_) == 2


@pytest.mark.parametrize(
    ("texts", "message"),
    [("red apple", "several texts, got one: 'red apple'"), (["a", 3], "texts, got int: 3")],
)
def test_what_is_no_list_of_texts_is_named(texts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TfidfEmbedder().fit(texts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        TfidfEmbedder().fit(TEXTS).transform(texts)  # type: ignore[arg-type]


def test_it_is_a_transformer_as_scikit_learn_knows_them() -> None:
    embedder = TfidfEmbedder(n_components=3, max_terms=100, random_state=1)
    assert clone(embedder).get_params() == embedder.get_params()
    with pytest.raises(NotFittedError):
        embedder.encode(TEXTS)
    with pytest.raises(ValueError, match="n_components of at least 1, got 0"):
        embedder.set_params(n_components=0).fit(TEXTS)
    rows = make_pipeline(TfidfEmbedder(n_components=3), Normalizer()).fit_transform(TEXTS)
    assert rows.shape == (8, 3)


@pytest.mark.filterwarnings("ignore:Can't test estimator:sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_s_checks_pass() -> None:
    for estimator, check in estimator_checks_generator(TfidfEmbedder()):
        check(estimator)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=12), st.integers(1, 20))
def test_any_texts_have_finite_rows(texts: list[str], n_components: int) -> None:
    rows = TfidfEmbedder(n_components=n_components).fit_transform(texts)
    lengths = np.linalg.norm(rows, axis=1)
    assert ((lengths < 1e-6) | (abs(lengths - 1) < 1e-4)).all()
