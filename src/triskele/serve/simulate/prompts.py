"""Prompts that begin with something shared: columns of numbers in, jobs out.

A page is shared only if all of its tokens are: where the shared part does not end on the border of
a page, the page in which it meets the rest belongs to the prompt alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triskele.serve.cache import hash_key
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.pages import page_hashes
from triskele.serve.simulate.workload import Job

PAGES_AT_ONCE = 1 << 17
"""Keys are made for so many pages together: enough to be fast, few enough to stay in a cache."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prompts:
    """Requests in order of arrival, as columns of equal length.

    Attributes
    ----------
    ids
        Numbers of the jobs.
    at
        Arrivals in seconds.
    shared, n_shared
        Owner of the beginning, and its length in tokens.
    own
        Owner of all that follows the beginning, the answer included.
    n_prompt, n_output
        Tokens of prompt, the beginning included, and answer.
    """

    ids: NDArray[np.int64]
    at: NDArray[np.float64]
    shared: NDArray[np.int64]
    n_shared: NDArray[np.int64]
    own: NDArray[np.int64]
    n_prompt: NDArray[np.int64]
    n_output: NDArray[np.int64]


def jobs(prompts: Prompts, *, page_size: int) -> Iterator[Job]:
    """Yield one job per prompt, making the keys as they are needed."""
    n_after = (prompts.n_prompt + prompts.n_output) // page_size
    n_before = np.concatenate(([0], np.cumsum(n_after)))
    first = 0
    while first < len(prompts.ids):
        full = np.searchsorted(n_before, n_before[first] + PAGES_AT_ONCE, side="right")
        last = max(first + 1, int(full) - 1)
        yield from _some_jobs(prompts, slice(first, last), page_size)
        first = last


def _some_jobs(prompts: Prompts, part: slice, page_size: int) -> Iterator[Job]:
    n_prompt, n_output = prompts.n_prompt[part], prompts.n_output[part]
    n_after = (n_prompt + n_output) // page_size
    ends = np.cumsum(n_after)
    places = np.arange(int(ends[-1])) - np.repeat(ends - n_after, n_after)
    is_shared = places < np.repeat(prompts.n_shared[part] // page_size, n_after)
    shared, own = (np.repeat(owner[part], n_after) for owner in (prompts.shared, prompts.own))
    keys = hash_key(page_hashes(np.where(is_shared, shared, own), places))
    begin = 0
    for number, at, tokens, answer, end in zip(
        prompts.ids[part].tolist(),
        prompts.at[part].tolist(),
        n_prompt.tolist(),
        n_output.tolist(),
        (ends * HASH_BYTES).tolist(),
        strict=True,
    ):
        middle = begin + tokens // page_size * HASH_BYTES
        yield Job(number, at, keys[begin:middle], keys[begin:end], tokens, answer)
        begin = end
