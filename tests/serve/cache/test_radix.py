import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.cache.radix import RadixTree, hash_key, token_key

KEYS = st.lists(st.integers(0, 2), min_size=0, max_size=8).map(tuple)


def tree_of(keys: list[tuple[int, ...]]) -> RadixTree:
    tree = RadixTree(8)
    for key in keys:
        packed = hash_key(key)
        node, n_whole, n_inside = tree.descend(packed)
        node = tree.cut(node, packed, n_whole, n_inside)
        rest = packed[8 * (n_whole + n_inside) :]
        if rest:
            tree.grow(node, rest, list(key[n_whole + n_inside :]))
    return tree


@given(st.lists(KEYS, max_size=8), KEYS)
def test_descent_finds_the_longest_prefix_of_any_key_that_was_added(
    keys: list[tuple[int, ...]], wanted: tuple[int, ...]
) -> None:
    tree = tree_of(keys)
    tree.check()
    known = {key[:n] for key in keys for n in range(len(key) + 1)}
    expected = max((n for n in range(len(wanted) + 1) if wanted[:n] in known), default=0)
    _, n_whole, n_inside = tree.descend(hash_key(wanted))
    assert n_whole + n_inside == expected
    assert tree.n_pages == len({key[: n + 1] for key in keys for n in range(len(key))})


def test_tokens_make_whole_pages_and_the_rest_is_left_out() -> None:
    assert token_key(range(10), 4) == np.arange(8, dtype="<u4").tobytes()
    assert token_key([1, 2], 4) == b""
    assert token_key([7], 1) != token_key([8], 1)


def test_a_split_keeps_the_children_below_and_the_payloads_in_order() -> None:
    tree = tree_of([(1, 2, 3, 4), (1, 2, 3, 4, 5)])
    node = tree.root.children[hash_key([1])]
    upper = tree.split(node, 1)
    assert upper.payloads == [1]
    assert node.payloads == [2, 3, 4]
    assert node.parent is upper
    assert len(node.children) == 1
    tree.check()


def test_trimming_drops_the_tail_and_the_leaf_with_its_last_page() -> None:
    tree = tree_of([(1, 2, 3)])
    leaf = tree.root.children[hash_key([1])]
    assert tree.trim(leaf, 1) == [3]
    assert tree.n_pages == 2
    assert tree.trim(leaf, 2) == [1, 2]
    assert tree.n_pages == 0
    assert not tree.root.children


def test_a_key_of_partial_pages_is_refused() -> None:
    with pytest.raises(ValueError, match="whole pages of 8 bytes, got 5"):
        RadixTree(8).descend(b"12345")
    with pytest.raises(ValueError, match="at least one byte"):
        RadixTree(0)
