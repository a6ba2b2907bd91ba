"""Which tokens the model sees at which step: a pure function of seed and step.

The token sequence is cut into windows of T + 1 tokens that overlap by one, so that every token
but the first is predicted once. Each epoch visits all windows in an order of its own: a keyed
permutation (a Feistel network with cycle walking, so that any place of the order is computed
directly, in constant memory and the same under every version of numpy). Batch ``s`` takes the next
B places. Nothing is replayed on resume, and the batch does not depend on how many processes share
it: each takes its rows.
"""

import numpy as np
from numpy.typing import NDArray

from triskele.train.shards import TokenShards

ROUNDS = 6
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
GOLDEN = 0x9E3779B97F4A7C15
MASK_64 = 2**64 - 1


class Batches:
    """The batches of a run, addressable by step.

    Parameters
    ----------
    shards
        The training tokens.
    context
        T, tokens per sequence.
    size
        B, sequences per step.
    seed
        Seed of the order.
    vocab_size
        If given, a token outside [0, vocab_size) raises instead of reaching the model.

    Raises
    ------
    ValueError
        If there are too few tokens for one window.
    """

    def __init__(
        self,
        shards: TokenShards,
        *,
        context: int,
        size: int,
        seed: int = 0,
        vocab_size: int | None = None,
    ) -> None:
        if len(shards) <= context:
            raise ValueError(
                f"a sequence of {context} needs {context + 1} tokens, there are {len(shards)}"
            )
        self.n_windows = (len(shards) - 1) // context
        self._shards, self._context, self._size = shards, context, size
        self._seed, self._vocab_size = seed, vocab_size

    def windows_at(self, step: int) -> NDArray[np.int64]:
        """Return the numbers of the windows that step ``step`` (from 0) trains on, shape (B,)."""
        places = np.arange(step * self._size, (step + 1) * self._size, dtype=np.int64)
        epochs, slots = np.divmod(places, self.n_windows)
        windows = np.empty_like(slots)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            windows[chosen] = permute(slots[chosen], self.n_windows, key=(self._seed, int(epoch)))
        return windows

    def at(self, step: int, *, rows: slice = slice(None)) -> NDArray[np.int64]:
        """Return the sequences of step ``step``, shape (B, T + 1): inputs and, shifted, targets.

        Parameters
        ----------
        step
            Number of the step, from 0.
        rows
            The part of the batch to read.
        """
        windows = self.windows_at(step)[rows]
        return np.stack([self.window(int(w)) for w in windows])

    def window(self, number: int) -> NDArray[np.int64]:
        """Return one window, shape (T + 1,).

        Raises
        ------
        ValueError
            If it holds a token outside the vocabulary.
        """
        tokens = self._shards.read(number * self._context, self._context + 1)
        if self._vocab_size is not None and int(tokens.max()) >= self._vocab_size:
            raise ValueError(
                f"the data holds token {int(tokens.max())}, "
                f"the vocabulary ends at {self._vocab_size - 1}"
            )
        return tokens


def permute(slots: NDArray[np.int64], n: int, *, key: tuple[int, int]) -> NDArray[np.int64]:
    """Return where a keyed permutation of ``range(n)`` puts each of ``slots``.

    Parameters
    ----------
    slots
        Places in [0, n), any shape.
    n
        Size of the permuted range.
    key
        Two integers; every pair gives another permutation.
    """
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    round_keys = _round_keys(key)
    values = slots.astype(np.uint64)
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        values[outside] = _feistel(values[outside], half_bits, round_keys)
        outside = values >= np.uint64(n)
    return values.astype(np.int64)


def _feistel(
    values: NDArray[np.uint64], half_bits: int, round_keys: list[np.uint64]
) -> NDArray[np.uint64]:
    """Permute the integers of 2·half_bits bits: swap halves, mixing one into the other."""
    shift, mask = np.uint64(half_bits), np.uint64(2**half_bits - 1)
    left, right = values >> shift, values & mask
    for round_key in round_keys:
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    return (left << shift) | right


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply the finalizer of splitmix64: every bit of the input moves every bit of the output."""
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def _round_keys(key: tuple[int, int]) -> list[np.uint64]:
    state = np.zeros(1, dtype=np.uint64)
    for part in key:
        state = _mix(state ^ np.uint64((part + 1) * GOLDEN & MASK_64))
    return [_mix(state ^ np.uint64((number + 1) * GOLDEN & MASK_64))[0] for number in range(ROUNDS)]
