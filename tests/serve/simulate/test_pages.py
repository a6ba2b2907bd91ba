import numpy as np
import pytest

from triskele.serve.simulate.pages import PLACE_BITS, page_hashes, page_numbers


def test_hashes_are_one_to_one_with_owner_and_place() -> None:
    owners, places = np.repeat(np.arange(100), 200), np.tile(np.arange(200), 100)
    hashes = page_hashes(owners, places)
    assert hashes.dtype == np.uint64
    assert len(np.unique(hashes)) == len(hashes)
    np.testing.assert_array_equal(page_hashes(7, np.arange(200)), hashes[1400:1600])


def test_hashes_fall_evenly_on_any_number_of_workers() -> None:
    first_pages = page_hashes(np.arange(4000), np.zeros(4000, dtype=np.int64))
    for n_workers in (2, 4, 5):
        shares = np.bincount((first_pages % np.uint64(n_workers)).astype(int)) / 4000
        assert shares == pytest.approx(np.full(n_workers, 1 / n_workers), abs=0.03)


def test_the_largest_owner_and_place_have_a_number_below_two_to_63() -> None:
    largest = page_numbers((1 << 39) - 1, np.array([(1 << PLACE_BITS) - 1]))
    assert largest.tolist() == [2**63 - 1]


def test_a_place_beyond_the_last_is_no_page() -> None:
    with pytest.raises(AssertionError):
        page_numbers(0, np.array([1 << PLACE_BITS]))
