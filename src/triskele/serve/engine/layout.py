"""How the tokens of a step lie in one flat row, and which of them attend together.

Sequences are ragged: one brings a chunk of its prompt, another a single token. They stand one
after another in a row of T tokens. Attention takes them in buckets of pieces with equally many
queries and alike many pages, each bucket one rectangle; long chunks are cut into several pieces,
so that no mask is ever large. Rows are sorted so that a bucket is a slice of them.

Arithmetic on integers only; tensors are made of it where it is used.

Shape suffixes: T tokens of the step, B pieces of a bucket, P pages of a piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triskele.serve.engine.batching import Chunk

Integers = NDArray[np.int64]
MAX_QUERIES = 512


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens of one sequence that attend together.

    Attributes
    ----------
    chunk
        What they are part of.
    start, n_queries
        The position of the first, and how many.
    n_pages
        Pages up to the last.
    """

    chunk: Chunk
    start: int
    n_queries: int
    n_pages: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Pieces that attend in one operation.

    Attributes
    ----------
    first
        Where in the flat row they begin.
    n_queries
        Tokens of every piece.
    starts_B
        Position of the first token of each.
    pages_BP
        Pages of each; filled up with the spare page.
    """

    first: int
    n_queries: int
    starts_B: Integers
    pages_BP: Integers


@dataclass(frozen=True, slots=True)
class Layout:
    """One forward pass.

    Attributes
    ----------
    tokens_T, positions_T
        What to compute, and where in its sequence each token is.
    slots_T
        Where keys and values go: page × page size + place in it. Tokens whose page others share
        write to the spare page.
    buckets
        A partition of the row.
    sampled
        Rows whose next token is drawn, in the order of the chunks that are sampled.
    """

    tokens_T: Integers
    positions_T: Integers
    slots_T: Integers
    buckets: tuple[Bucket, ...]
    sampled: Integers


def lay_out(
    chunks: Sequence[Chunk], tables: Integers, *, page_size: int, spare: int, slack: int | None
) -> Layout:
    """Return the layout of a step.

    Parameters
    ----------
    chunks
        At least one.
    tables
        (row, page) → index of the page.
    page_size
        Tokens per page.
    spare
        Index of the page that nobody reads.
    slack
        How many pages of padding are worth an operation saved; ``None``: any number.
    """
    pieces = _pieces(chunks, page_size)
    pieces.sort(key=lambda piece: (piece.n_queries, piece.n_pages))
    rows = np.array([piece.chunk.sequence.row for piece in pieces])
    starts = np.array([piece.start for piece in pieces])
    n_queries = np.array([piece.n_queries for piece in pieces])
    n_held = np.array([piece.chunk.n_held for piece in pieces])
    firsts = np.cumsum(n_queries) - n_queries
    if n_queries[-1] == 1:
        tokens = np.array([p.chunk.sequence.tokens[p.start] for p in pieces])
        positions, of_T = starts, np.arange(len(pieces))
    else:
        runs = [p.chunk.sequence.tokens[p.start : p.start + p.n_queries] for p in pieces]
        tokens = np.array([token for run in runs for token in run])
        of_T = np.repeat(np.arange(len(pieces)), n_queries)
        positions = np.arange(len(tokens)) - (firsts - starts)[of_T]
    pages_T = tables[rows[of_T], positions // page_size]
    pages_T = np.where(positions < n_held[of_T], spare, pages_T)
    return Layout(
        tokens_T=tokens,
        positions_T=positions,
        slots_T=pages_T * page_size + positions % page_size,
        buckets=_buckets(pieces, firsts, starts, rows, tables, spare=spare, slack=slack),
        sampled=_sampled(chunks, pieces, firsts),
    )


def _pieces(chunks: Sequence[Chunk], page_size: int) -> list[Piece]:
    pieces = []
    for chunk in chunks:
        end = chunk.start + chunk.n_tokens
        for start in range(chunk.start, end, MAX_QUERIES):
            n_queries = min(MAX_QUERIES, end - start)
            n_pages = (start + n_queries + page_size - 1) // page_size
            pieces.append(Piece(chunk, start, n_queries, n_pages))
    return pieces


def _buckets(
    pieces: list[Piece],
    firsts: Integers,
    starts: Integers,
    rows: Integers,
    tables: Integers,
    *,
    spare: int,
    slack: int | None,
) -> tuple[Bucket, ...]:
    """Group sorted pieces: the widest is last, and the others are filled up to it."""
    n_pages = np.array([piece.n_pages for piece in pieces])
    n_queries = np.array([piece.n_queries for piece in pieces])
    buckets, end = [], len(pieces)
    while end > 0:
        begin = _begin(n_queries, n_pages, end, slack)
        widest = int(n_pages[end - 1])
        pages_BP = tables[rows[begin:end], :widest]
        beyond = np.arange(widest) >= n_pages[begin:end, None]
        buckets.append(
            Bucket(
                first=int(firsts[begin]),
                n_queries=int(n_queries[end - 1]),
                starts_B=starts[begin:end],
                pages_BP=np.where(beyond, spare, pages_BP),
            )
        )
        end = begin
    return tuple(reversed(buckets))


def _begin(n_queries: Integers, n_pages: Integers, end: int, slack: int | None) -> int:
    """Return where the bucket that ends at ``end`` begins."""
    begin = int(np.searchsorted(n_queries, n_queries[end - 1]))
    if slack is None:
        return begin
    padding = np.cumsum(n_pages[end - 1] - n_pages[begin:end][::-1])
    # A quarter more than what is needed costs less than another operation.
    fits = padding <= slack + np.cumsum(n_pages[begin:end][::-1]) // 4
    n_fitting = len(fits) if fits.all() else int(fits.argmin())
    return end - n_fitting


def _sampled(chunks: Sequence[Chunk], pieces: list[Piece], firsts: Integers) -> Integers:
    last = {}
    for piece, first in zip(pieces, firsts.tolist(), strict=True):
        chunk = piece.chunk
        if piece.start + piece.n_queries == chunk.start + chunk.n_tokens:
            last[id(chunk)] = first + piece.n_queries - 1
    return np.array([last[id(chunk)] for chunk in chunks if chunk.is_sampled], dtype=np.int64)
