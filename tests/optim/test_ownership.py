"""Ownership is pure arithmetic: every matrix has one owner, and the loads are even."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from triskele.optim.ownership import HOLDER_SLACK, Slab, deal, interval

SIZES = st.tuples(st.integers(0, 9), st.integers(1, 9))
STACKS = st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 5))
SHAPES = st.lists(st.one_of(SIZES, STACKS), min_size=1, max_size=12)


@given(SHAPES, st.integers(1, 6), st.booleans(), st.sampled_from([None, 0, 1]))
def test_slabs_cover_every_tensor_once_and_have_owners(
    shapes: list[tuple[int, ...]], n_owners: int, stacked: bool, along: int | None
) -> None:
    slabs = deal(shapes, n_owners=n_owners, stacked=stacked, held_along=[along] * len(shapes))
    for i, shape in enumerate(shapes):
        own = [slab for slab in slabs if slab.tensor == i]
        assert own[0].start == 0
        assert own[-1].stop == shape[0]
        assert all(a.stop == b.start for a, b in pairwise(own))
        assert len(own) == 1 or (stacked and len(shape) == 3)
    assert all(0 <= slab.owner < n_owners for slab in slabs)
    assert slabs == sorted(slabs, key=lambda slab: (slab.tensor, slab.start))


@given(st.integers(0, 40), st.integers(1, 9))
def test_intervals_are_those_of_torch_chunk(size: int, n_parts: int) -> None:
    chunks = torch.arange(size).chunk(n_parts) if size else ()
    for part in range(n_parts):
        low, high = interval(size, n_parts, part)
        expected = chunks[part].tolist() if part < len(chunks) else []
        assert list(range(low, high)) == expected


def owners(slabs: list[Slab], n_owners: int) -> list[int]:
    return [sum(slab.owner == rank for slab in slabs) for rank in range(n_owners)]


def test_equal_matrices_are_dealt_out_evenly() -> None:
    slabs = deal([(4, 8)] * 10, n_owners=4, stacked=True, held_along=[0] * 10)
    assert sorted(owners(slabs, 4)) == [2, 2, 3, 3]


def test_cost_counts_the_smaller_side_of_a_matrix_twice() -> None:
    # One 64×64 costs as much as sixteen 4×1024 of the same number of elements each.
    slabs = deal([(64, 64)] + [(4, 1024)] * 16, n_owners=2, stacked=True, held_along=[None] * 17)
    assert sorted(owners(slabs, 2)) == [1, 16]


def test_a_flattened_kernel_costs_what_its_one_matrix_does() -> None:
    # (16, 16, 3, 3) is one 16×144; as a stack it would be 256 matrices of 3×3.
    slabs = deal(
        [(16, 16, 3, 3)] + [(16, 144)] * 3, n_owners=2, stacked=False, held_along=[None] * 4
    )
    assert owners(slabs, 2) == [2, 2]
    assert len(slabs) == 4


def test_fewer_matrices_than_ranks_leave_ranks_idle() -> None:
    slabs = deal([(3, 5), (5, 3)], n_owners=4, stacked=True, held_along=[None, None])
    assert sorted(owners(slabs, 4)) == [0, 0, 1, 1]


def test_stacks_are_shared_out_among_all_ranks() -> None:
    slabs = deal([(8, 4, 4)], n_owners=4, stacked=True, held_along=[None])
    assert [(slab.start, slab.stop, slab.owner) for slab in slabs] == [
        (0, 2, 0),
        (2, 4, 1),
        (4, 6, 2),
        (6, 8, 3),
    ]


def test_stacks_sharded_along_their_first_dimension_stay_at_home() -> None:
    slabs = deal([(8, 4, 4)] * 3, n_owners=4, stacked=True, held_along=[0] * 3)
    assert all(slab.at_home and slab.owner == slab.start // 2 for slab in slabs)


@pytest.mark.parametrize("along", [None, 1])
def test_stacks_that_nobody_holds_whole_are_not_at_home(along: int | None) -> None:
    slabs = deal([(8, 4, 4)], n_owners=4, stacked=True, held_along=[along])
    assert not any(slab.at_home for slab in slabs)


def test_stacks_leave_home_when_few_ranks_hold_them_all() -> None:
    # Two experts on four ranks: their holders would do everything, for all eight layers.
    slabs = deal([(2, 4, 4)] * 8, n_owners=4, stacked=True, held_along=[0] * 8)
    assert owners(slabs, 4) == [4, 4, 4, 4]
    assert not any(slab.at_home for slab in slabs)


def test_a_small_imbalance_is_cheaper_than_a_message() -> None:
    # Chunks of 3, 3, 3 and 1 experts: 3 against the 2.5 of a perfect share.
    slabs = deal([(10, 4, 4)], n_owners=4, stacked=True, held_along=[0])
    assert all(slab.at_home for slab in slabs)
    assert 1.0 < HOLDER_SLACK < 2.0


def test_tensors_without_elements_have_owners_too() -> None:
    slabs = deal([(0, 4), (0, 4, 4)], n_owners=2, stacked=True, held_along=[0, 0])
    assert [(slab.start, slab.stop) for slab in slabs] == [(0, 0), (0, 0)]
