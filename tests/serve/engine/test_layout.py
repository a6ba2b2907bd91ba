import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.engine.batching import Chunk
from triskele.serve.engine.layout import MAX_QUERIES, Layout, lay_out
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.sequence import Sequence

PAGE, SPARE = 4, 999


def chunk(row: int, n_before: int, n_tokens: int, n_after: int = 0, n_held: int = 0) -> Chunk:
    n_all = n_before + n_tokens + n_after
    sequence = Sequence(str(row), [1000 * row + n for n in range(n_all)], SamplingParams(), seed=0)
    sequence.row = row
    return Chunk(sequence, n_before, n_tokens, n_held)


def laid_out(chunks: list[Chunk], slack: int | None = 0) -> Layout:
    # Page p of row r has the index 10 r + p.
    tables = np.arange(40)[:, None] * 10 + np.arange(400)
    return lay_out(chunks, tables, page_size=PAGE, spare=SPARE, slack=slack)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(0, 2)), min_size=1),
    st.sampled_from([0, 3, None]),
)
def test_every_token_stands_once_where_it_belongs(
    shapes: list[tuple[int, int, int]], slack: int | None
) -> None:
    chunks = [chunk(row, *shape) for row, shape in enumerate(shapes[:40])]
    layout = laid_out(chunks, slack)
    expected = {
        (1000 * c.sequence.row + at, at, (10 * c.sequence.row + at // PAGE) * PAGE + at % PAGE)
        for c in chunks
        for at in range(c.start, c.start + c.n_tokens)
    }
    rows = zip(layout.tokens_T, layout.positions_T, layout.slots_T, strict=True)
    found = [tuple(map(int, row)) for row in rows]
    assert len(found) == len(expected)
    assert set(found) == expected
    ends = [c.start + c.n_tokens - 1 for c in chunks if c.is_sampled]
    assert layout.positions_T[layout.sampled].tolist() == ends
    first = 0
    for bucket in layout.buckets:
        assert bucket.first == first
        first += len(bucket.starts_B) * bucket.n_queries
        for start, pages in zip(bucket.starts_B, bucket.pages_BP, strict=True):
            n_pages = (start + bucket.n_queries + PAGE - 1) // PAGE
            assert SPARE not in pages[:n_pages]
            assert (pages[n_pages:] == SPARE).all()
    assert first == len(layout.tokens_T)


def test_answers_of_alike_lengths_attend_together() -> None:
    chunks = [chunk(0, 4, 1), chunk(1, 100, 1), chunk(2, 5, 1), chunk(3, 103, 1)]
    layout = laid_out(chunks)
    assert [len(bucket.starts_B) for bucket in layout.buckets] == [2, 2]
    assert layout.tokens_T.tolist() == [4, 2005, 1100, 3103]
    assert layout.sampled.tolist() == [0, 2, 1, 3]
    assert len(laid_out(chunks, slack=100).buckets) == 1


def test_chunks_of_one_length_attend_together_and_others_do_not() -> None:
    layout = laid_out([chunk(0, 0, 6), chunk(1, 0, 3), chunk(2, 1, 6)])
    assert [(b.n_queries, len(b.starts_B)) for b in layout.buckets] == [(3, 1), (6, 2)]


def test_what_others_share_is_not_written() -> None:
    layout = laid_out([chunk(0, 3, 2, n_held=4)])
    assert layout.slots_T.tolist() == [SPARE * PAGE + 3, 1 * PAGE]


def test_long_chunks_are_cut() -> None:
    layout = laid_out([chunk(0, 0, MAX_QUERIES + 7)])
    shapes = [(b.n_queries, b.starts_B.tolist()) for b in layout.buckets]
    assert shapes == [(7, [MAX_QUERIES]), (MAX_QUERIES, [0])]
    assert layout.positions_T[layout.sampled].tolist() == [MAX_QUERIES + 6]
