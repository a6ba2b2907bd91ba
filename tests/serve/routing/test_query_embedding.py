import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.routing.query_embedding import HashedWords

EMBEDDER = HashedWords(n_features=256)


@given(st.text(max_size=300))
def test_a_vector_is_of_length_one_or_zero_and_always_the_same(text: str) -> None:
    vector = EMBEDDER.embed(text)
    assert vector.shape == (256,)
    length = float(np.linalg.norm(vector))
    assert length == pytest.approx(1, abs=1e-5) or length == 0
    assert np.array_equal(vector, EMBEDDER.embed(text))


def test_texts_with_words_in_common_are_nearer() -> None:
    prime, also, recipe = map(
        EMBEDDER.embed,
        ["Is 91 a prime number?", "Which number is prime, 91 or 97?", "How do I bake sourdough?"],
    )
    assert prime @ also > 0.2
    assert prime @ also > prime @ recipe + 0.2


def test_the_middle_of_a_long_text_is_not_read() -> None:
    short = HashedWords(n_features=64, n_characters=10)
    assert np.array_equal(
        short.embed("beginning " + "x " * 1000 + " the end.."),
        short.embed("beginning " + "y " * 9000 + " the end.."),
    )


def test_a_text_without_words_and_half_a_character_are_no_errors() -> None:
    assert not EMBEDDER.embed("  \n").any()
    assert EMBEDDER.embed("\ud800 abc").any()


def test_vectors_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one feature"):
        HashedWords(n_features=0)
