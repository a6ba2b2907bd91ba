"""What a workload is: requests in order of arrival, and what follows when one has been answered.

A job is a request with the future in it: how long the answer will be, and which pages prompt and
answer will have filled. Page hashes are unique numbers: two jobs share a hash where they share the
page and everything before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """A request as the simulator knows it.

    Attributes
    ----------
    id
        Unique in its workload; not necessarily in order of arrival.
    at
        Arrival, in seconds since the beginning.
    key
        One 64-bit hash per whole page of the prompt, as ``hash_key`` packs them.
    key_after
        The same of prompt and answer together; begins with ``key``.
    n_prompt, n_output
        Tokens; at least one each.
    session
        What ties the turns of one conversation together.
    kind
        The class of the prompt.
    """

    id: int
    at: float
    key: bytes
    key_after: bytes
    n_prompt: int
    n_output: int
    session: str | None = None
    kind: str = ""


class Workload(Protocol):
    """A stream of jobs; the same every time it is begun."""

    @property
    def page_size(self) -> int:
        """Tokens per page of the keys."""

    @property
    def n_jobs(self) -> int:
        """How many jobs there are in all, those that follow included."""

    def arrivals(self) -> Iterator[Job]:
        """Yield the jobs that arrive by themselves, in order of time."""

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return the job that comes, not before ``now``, because ``job`` was answered."""
