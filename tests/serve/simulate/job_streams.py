"""Jobs for tests: of any shape, on a small tree of pages, so that they share prefixes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from hypothesis import strategies as st

from triskele.serve.cache import hash_key
from triskele.serve.simulate.workload import Job

ALONE = 1 << 40


def path_key(path: Sequence[int]) -> bytes:
    """Return the key of a path of pages: one number per prefix."""
    hashes, above = [], 0
    for page in path:
        above = hash((above, page)) % (1 << 62)
        hashes.append(above)
    return hash_key(hashes)


def job(
    id: int,
    at: float,
    n_prompt: int,
    n_output: int = 1,
    *,
    page_size: int,
    path: Sequence[int] = (),
    session: str | None = None,
) -> Job:
    """Return a job whose prompt begins with ``path`` and goes on with pages of its own."""
    n_pages = (n_prompt + n_output) // page_size
    whole = [*path, *(ALONE + id * 4096 + n for n in range(len(path), n_pages))][:n_pages]
    return Job(
        id,
        at,
        path_key(whole[: n_prompt // page_size]),
        path_key(whole),
        n_prompt,
        n_output,
        session,
    )


@dataclass
class Listed:
    """A workload of the jobs given, and of what follows each if anything does."""

    jobs: list[Job]
    page_size: int
    follow: Callable[[Job, float], Job | None] = lambda job, now: None

    @property
    def n_jobs(self) -> int:
        return len(self.jobs)

    def arrivals(self) -> Iterator[Job]:
        return iter(self.jobs)

    def follow_up(self, job: Job, now: float) -> Job | None:
        return self.follow(job, now)


def pages_needed(jobs: Sequence[Job], page_size: int) -> int:
    """Return how many pages the largest job fills."""
    return max(ceil((job.n_prompt + job.n_output) / page_size) for job in jobs)


@st.composite
def job_streams(
    draw: st.DrawFn, page_size: int, *, most_jobs: int = 12, most_pages: int = 5, gap: int = 40
) -> list[Job]:
    """Draw jobs that share prefixes, in order of time.

    They arrive at whole milliseconds and a fraction of their own: where iterations take whole
    milliseconds, none arrives at the very end of one.
    """
    shapes = draw(
        st.lists(
            st.tuples(
                st.integers(0, gap),
                st.lists(st.integers(0, 1), max_size=most_pages),
                st.integers(0, page_size - 1),
                st.one_of(st.integers(1, 4), st.integers(1, 4 * page_size + 40)),
            ),
            min_size=1,
            max_size=most_jobs,
        )
    )
    jobs, milliseconds = [], 0
    for id, (wait, path, n_more, n_output) in enumerate(shapes):
        milliseconds += wait
        n_prompt = max(1, len(path) * page_size + n_more)
        whole = [*path, *[0] * 1000][: (n_prompt + n_output) // page_size]
        jobs.append(
            Job(
                id,
                1e-3 * (milliseconds + (id + 1) / 64),
                path_key(path[: n_prompt // page_size]),
                path_key(whole),
                n_prompt,
                n_output,
            )
        )
    return jobs
