import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.train.batches import Batches, permute
from triskele.train.shards import TokenShards, write_shard


def make_batches(folder, *, n_tokens, context, size, seed=0, vocab_size=None):
    path = folder / "train_000000.bin"
    write_shard(path, np.arange(n_tokens), vocab_size=n_tokens)
    shards = TokenShards([path])
    return Batches(shards, context=context, size=size, seed=seed, vocab_size=vocab_size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@given(
    n=st.integers(1, 3000),
    key=st.tuples(st.integers(0, 2**40), st.integers(0, 100)),
)
@settings(max_examples=60, deadline=None)
def test_a_permutation_visits_every_place_once(n, key):
    assert sorted(permute(np.arange(n), n, key=key)) == list(range(n))


def test_permutations_differ_by_epoch_and_by_seed():
    orders = [tuple(permute(np.arange(500), 500, key=key)) for key in ((0, 0), (0, 1), (1, 0))]
    assert len(set(orders)) == 3


def test_a_permutation_looks_random():
    n = 4096
    order = permute(np.arange(n), n, key=(7, 0))
    identity_correlation = np.corrcoef(np.arange(n), order)[0, 1]
    neighbour_correlation = np.corrcoef(order[:-1], order[1:])[0, 1]
    fixed_points = int((order == np.arange(n)).sum())
    assert abs(identity_correlation) < 0.06
    assert abs(neighbour_correlation) < 0.06
    assert fixed_points < 10


@given(
    n_windows=st.integers(1, 60),
    context=st.integers(1, 9),
    size=st.integers(1, 17),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_every_window_comes_once_per_epoch(folder, n_windows, context, size, seed):
    batches = make_batches(
        folder, n_tokens=n_windows * context + 1, context=context, size=size, seed=seed
    )
    assert batches.n_windows == n_windows
    n_steps = -(-3 * n_windows // size)
    order = np.concatenate([batches.windows_at(step) for step in range(n_steps)])
    for epoch in range(3):
        visited = order[epoch * n_windows : (epoch + 1) * n_windows]
        assert sorted(visited) == list(range(n_windows))


@given(step=st.integers(0, 10**6), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_batch_depends_on_seed_and_step_alone(folder, step, seed):
    batches = make_batches(folder, n_tokens=301, context=4, size=8, seed=seed)
    again = make_batches(folder, n_tokens=301, context=4, size=8, seed=seed)
    for earlier in range(3):
        again.at(earlier)
    np.testing.assert_array_equal(batches.at(step), again.at(step))


def test_a_window_holds_consecutive_tokens_and_overlaps_the_next_by_one(folder):
    batches = make_batches(folder, n_tokens=31, context=5, size=2)
    np.testing.assert_array_equal(batches.window(2), np.arange(10, 16))
    assert batches.window(2)[-1] == batches.window(3)[0]
    assert batches.at(0).shape == (2, 6)


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
def test_the_rows_of_all_processes_make_up_the_batch(folder, n_ranks):
    batches = make_batches(folder, n_tokens=301, context=4, size=8, seed=3)
    share = 8 // n_ranks
    parts = [batches.at(11, rows=slice(r * share, (r + 1) * share)) for r in range(n_ranks)]
    np.testing.assert_array_equal(np.concatenate(parts), batches.at(11))


def test_too_few_tokens_are_refused(folder):
    with pytest.raises(ValueError, match="needs 9 tokens, there are 8"):
        make_batches(folder, n_tokens=8, context=8, size=1)


def test_a_token_outside_the_vocabulary_is_refused(folder):
    batches = make_batches(folder, n_tokens=100, context=9, size=1, vocab_size=50)
    with pytest.raises(ValueError, match="token 63, the vocabulary ends at 49"):
        batches.window(6)


def test_the_order_is_the_recorded_one(folder):
    """A changed order would break the promise that a resumed run sees the same data."""
    batches = make_batches(folder, n_tokens=101, context=10, size=5, seed=42)
    assert batches.windows_at(0).tolist() == GOLDEN[0]
    assert batches.windows_at(1).tolist() == GOLDEN[1]
    assert batches.windows_at(1000).tolist() == GOLDEN[2]


GOLDEN = ([5, 3, 4, 1, 0], [6, 2, 7, 8, 9], [4, 0, 7, 2, 1])
