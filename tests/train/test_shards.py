import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triskele.train.shards import ShardWriter, TokenShards, open_shard, write_shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@given(
    pieces=st.lists(st.lists(st.integers(0, 65_535), max_size=30), min_size=1, max_size=8),
    shard_tokens=st.integers(1, 40),
    wide=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read_back(folder, pieces, shard_tokens, wide):
    tokens = [token for piece in pieces for token in piece]
    vocab_size = 100_000 if wide else 65_536
    with ShardWriter(folder, "part", vocab_size=vocab_size, shard_tokens=shard_tokens) as writer:
        for piece in pieces:
            writer.write(piece)
    shards = TokenShards(writer.paths)
    assert writer.n_tokens == len(shards) == len(tokens)
    assert len(writer.paths) == -(-len(tokens) // shard_tokens)
    assert shards.read(0, len(tokens)).tolist() == tokens


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_range_is_read_across_shard_ends(folder, data):
    tokens = np.arange(50) * 3
    paths = []
    for number, part in enumerate(np.split(tokens, [7, 8, 31])):
        paths.append(folder / f"cut_{number}.bin")
        write_shard(paths[-1], part, vocab_size=150)
    first = data.draw(st.integers(0, 50))
    last = data.draw(st.integers(first, 50))
    shards = TokenShards(paths).slice(first, last)
    start = data.draw(st.integers(0, last - first))
    n_tokens = data.draw(st.integers(0, last - first - start))
    expected = tokens[first:last][start : start + n_tokens]
    np.testing.assert_array_equal(shards.read(start, n_tokens), expected)


def test_a_slice_of_a_slice_counts_from_the_slice(folder):
    path = folder / "slices.bin"
    write_shard(path, np.arange(100), vocab_size=100)
    part = TokenShards([path]).slice(10, 90).slice(5, 20)
    assert len(part) == 15
    assert part.read(0, 3).tolist() == [15, 16, 17]


def test_reading_past_the_end_is_refused(folder):
    path = folder / "short.bin"
    write_shard(path, np.arange(10), vocab_size=10)
    with pytest.raises(ValueError, match="tokens 8 to 11 are outside the 10 there are"):
        TokenShards([path]).read(8, 3)


@pytest.mark.parametrize(
    ("vocab_size", "magic", "version", "width"),
    [(50_257, 20240520, 1, 2), (65_537, 20240801, 7, 4)],
)
def test_the_layout_is_that_of_llm_c(folder, vocab_size, magic, version, width):
    path = folder / "layout.bin"
    write_shard(path, np.array([1, 2, 50_000]), vocab_size=vocab_size)
    raw = path.read_bytes()
    header = np.frombuffer(raw[:1024], dtype="<i4")
    assert header[:4].tolist() == [magic, version, 3, 0]
    assert np.frombuffer(raw[1024:], dtype=f"<u{width}").tolist() == [1, 2, 50_000]


def test_a_wrong_header_is_refused(folder):
    path = folder / "wrong.bin"
    path.write_bytes(np.full(300, 7, dtype="<i4").tobytes())
    with pytest.raises(ValueError, match=r"expected magic 20240520 .* got magic 7 version 7"):
        open_shard(path)


def test_a_file_shorter_than_a_header_is_refused(folder):
    path = folder / "tiny.bin"
    path.write_bytes(b"tokens")
    with pytest.raises(ValueError, match="6 bytes are less than its header"):
        open_shard(path)


def test_a_truncated_shard_is_refused(folder):
    path = folder / "cut.bin"
    write_shard(path, np.arange(1000), vocab_size=1000)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"is truncated: its header promises 1000 .* holds 995"):
        open_shard(path)


def test_a_shard_still_being_written_is_refused(folder):
    writer = ShardWriter(folder, "open", vocab_size=100)
    writer.write([1, 2, 3])
    with pytest.raises(ValueError, match=r"is no token shard|promises 0 tokens"):
        TokenShards(writer.paths)
    writer.close()
    assert TokenShards(writer.paths).read(0, 3).tolist() == [1, 2, 3]
