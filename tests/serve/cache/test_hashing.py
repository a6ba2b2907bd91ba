"""Hashes of pages stand for their prefixes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.cache import chained_hashes, chained_key, hash_key

tokens = st.lists(st.integers(0, 2), max_size=24)


@given(tokens, tokens, st.integers(1, 5))
def test_hashes_are_equal_exactly_as_far_as_the_prefixes_are(
    one: list[int], other: list[int], page_size: int
) -> None:
    mine = np.frombuffer(chained_key(one, page_size), "<u8")
    yours = np.frombuffer(chained_key(other, page_size), "<u8")
    assert len(mine) == len(one) // page_size
    for n in range(1, min(len(mine), len(yours)) + 1):
        is_same = one[: n * page_size] == other[: n * page_size]
        assert (mine[n - 1] == yours[n - 1]) == is_same


@given(st.binary(max_size=60), st.integers(1, 7), st.integers(0, 8))
def test_hashing_goes_on_from_the_page_above(content: bytes, stride: int, n_first: int) -> None:
    whole = chained_hashes(content, stride)
    first = chained_hashes(content[: n_first * stride], stride)
    above = first[-1] if first else 0
    assert first + chained_hashes(content[len(first) * stride :], stride, above=above) == whole


def test_the_key_of_a_prompt_packs_its_hashes() -> None:
    content = np.arange(64, dtype="<u4")
    assert chained_key(content, 16) == hash_key(chained_hashes(content.tobytes(), 64))


def test_a_stride_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="stride of at least one byte, got 0"):
        chained_hashes(b"abc", 0)
