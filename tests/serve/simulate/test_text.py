from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.simulate.text import TextPages

TEXT = st.text(max_size=60)


@given(TEXT, st.integers(1, 5), st.none() | st.integers(1, 9))
def test_text_is_filled_to_whole_tokens(text: str, characters: int, limit: int | None) -> None:
    pages = TextPages(4, characters)
    whole = pages.whole_tokens(text, limit=limit)
    n_tokens = max(1, -(-len(text) // characters))
    assert pages.n_tokens(whole) == min(n_tokens, limit or n_tokens)
    assert len(whole) == pages.n_tokens(whole) * characters
    assert whole.startswith(text if limit is None else text[: limit * characters])


@given(TEXT, TEXT, st.integers(1, 4), st.integers(1, 4))
def test_hashes_are_equal_exactly_as_far_as_the_text_is(
    one: str, two: str, page_size: int, characters: int
) -> None:
    pages = TextPages(page_size, characters)
    step = page_size * characters
    first, second = pages.hashes(one), pages.hashes(two)
    assert len(first) == len(one) // step
    for place, (a, b) in enumerate(zip(first, second, strict=False), start=1):
        assert 0 <= a < 2**64
        assert (a == b) == (one[: place * step] == two[: place * step])


@given(TEXT, st.integers(0, 5))
def test_hashes_go_on_above_what_was_hashed_before(text: str, n_before: int) -> None:
    pages = TextPages(2, 3)
    whole = pages.hashes(text)
    n_before = min(n_before, len(whole))
    above = whole[n_before - 1] if n_before else 0
    assert whole[:n_before] + pages.hashes(text[n_before * 6 :], above=above) == whole


def test_equal_pages_after_different_ones_are_different() -> None:
    assert TextPages(1, 1).hashes("aab")[0] != TextPages(1, 1).hashes("aab")[1]


def test_half_a_surrogate_is_a_character_too() -> None:
    assert len(TextPages(1, 1).hashes("\ud800x")) == 2
