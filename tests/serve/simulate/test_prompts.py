from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.cache import hash_key
from triskele.serve.simulate import prompts as module
from triskele.serve.simulate.pages import page_hashes
from triskele.serve.simulate.prompts import Prompts, jobs
from triskele.serve.simulate.workload import Job

# Owner of the beginning, tokens of it, tokens of the rest, tokens of the answer.
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(1, 40), st.integers(1, 40)),
    min_size=1,
    max_size=12,
)


def columns(rows: list[tuple[int, int, int, int]]) -> Prompts:
    shared, n_shared, n_rest, n_output = np.array(rows).T
    ids = np.arange(len(rows))
    return Prompts(
        ids=ids,
        at=ids / 10,
        shared=shared,
        n_shared=n_shared,
        own=4 + ids,
        n_prompt=n_shared + n_rest,
        n_output=n_output,
    )


def one_job(number: int, row: tuple[int, int, int, int], page_size: int) -> Job:
    """Go through the pages one by one: shared if all of its tokens are."""
    shared, n_shared, n_rest, n_output = row
    n_prompt = n_shared + n_rest
    pages = []
    for place in range((n_prompt + n_output) // page_size):
        owner = shared if (place + 1) * page_size <= n_shared else 4 + number
        pages += page_hashes(owner, np.array([place])).tolist()
    n_whole = n_prompt // page_size
    key, key_after = hash_key(pages[:n_whole]), hash_key(pages)
    return Job(number, number / 10, key, key_after, n_prompt, n_output)


@given(ROWS, st.integers(1, 9), st.sampled_from([1, 10, 1000]))
def test_jobs_are_those_of_a_walk_page_by_page(
    rows: list[tuple[int, int, int, int]], page_size: int, pages_at_once: int
) -> None:
    with mock.patch.object(module, "PAGES_AT_ONCE", pages_at_once):
        made = list(jobs(columns(rows), page_size=page_size))
    assert made == [one_job(number, row, page_size) for number, row in enumerate(rows)]
