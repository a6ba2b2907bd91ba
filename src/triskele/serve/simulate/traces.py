"""Recorded traffic of production services: Mooncake's and Azure's published traces.

Mooncake (FAST '25) gives JSON lines of ``timestamp`` in milliseconds, ``input_length``,
``output_length`` and ``hash_ids``, one number per begun block of 512 tokens; equal numbers mean
equal prefixes. Azure (Splitwise, ISCA '24) gives a CSV of ``TIMESTAMP``, ``ContextTokens`` and
``GeneratedTokens``, and nothing of what the prompts have in common: no page is shared.

Neither tells which answers became part of later prompts; the pages that an answer fills are unique.
Requests are sorted by time, those of one time in the order of the file, and the first that is kept
arrives at 0. An answer of no tokens is served as one token, and so is Azure's empty prompt.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from triskele.serve.cache import hash_key
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.bounds import require_at_least, require_positive
from triskele.serve.simulate.files import entries_of, lines_of
from triskele.serve.simulate.pages import page_numbers
from triskele.serve.simulate.prompts import Prompts, jobs
from triskele.serve.simulate.workload import Job

BLOCK = 512
"""Tokens per block of Mooncake's hash ids."""
ANSWERS = np.uint64(1 << 63)
"""Numbers of answers' pages begin here; those of the trace end before."""
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
AZURE_ROW = np.dtype([("at", "f8"), ("n_prompt", "i8"), ("n_output", "i8")])
MOST_DIGITS = 18
"""Digits that a count of 64 bits always has room for."""


class _MooncakeRow(msgspec.Struct, gc=False):
    timestamp: Annotated[float, msgspec.Meta(ge=0)]
    input_length: Annotated[int, msgspec.Meta(ge=1)]
    output_length: Annotated[int, msgspec.Meta(ge=0)]
    hash_ids: list[Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]]


@dataclass(frozen=True, slots=True)
class _Request:
    at: float
    n_prompt: int
    n_output: int
    blocks: bytes


@dataclass(frozen=True, slots=True)
class MooncakeTrace:
    """A trace in Mooncake's format, read when it is made.

    A prompt's last block is begun but as a rule not full. Only whole pages can be shared, so its
    number is left out of the key, unless ``partial_last`` counts it as the published hit tables
    do: prompts then are as long as their blocks.
    """

    path: Path
    """Trace in Mooncake's JSON lines, plain, .gz or .xz."""
    _: KW_ONLY
    speed: float = 1.0
    """How many times faster than recorded the requests come."""
    start: int = 0
    """Requests to leave out at the beginning."""
    limit: int | None = None
    """Requests to keep; all if not given."""
    shrink: int = 1
    """Divide all lengths, and the 512 tokens of a page, by this divisor of 512."""
    partial_last: bool = False
    """Count the last block of a prompt as if it were full."""
    _requests: tuple[_Request, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_part(self.speed, self.start, self.limit, self.shrink)
        if BLOCK % self.shrink:
            raise ValueError(f"expected shrink to divide {BLOCK}, got {self.shrink}")
        by_time = sorted(_read_mooncake(self.path), key=lambda request: request.at)
        _check_start(self.start, len(by_time), self.path)
        object.__setattr__(self, "_requests", tuple(by_time[self.start :][: self.limit]))

    @property
    def page_size(self) -> int:
        """Tokens per page: those of a block, shrunk."""
        return BLOCK // self.shrink

    @property
    def n_jobs(self) -> int:
        """How many requests are kept."""
        return len(self._requests)

    def arrivals(self) -> Iterator[Job]:
        """Yield the requests in order of time; a job's id is its place in that order."""
        first = self._requests[0].at
        for number, request in enumerate(self._requests):
            n_blocks = len(request.blocks) // HASH_BYTES
            n_prompt = max(1, request.n_prompt // self.shrink)
            if self.partial_last:
                n_prompt = n_blocks * self.page_size
            n_output = max(1, request.n_output // self.shrink)
            n_pages, n_after = (n // self.page_size for n in (n_prompt, n_prompt + n_output))
            key = request.blocks[: n_pages * HASH_BYTES]
            answer = ANSWERS | page_numbers(number, np.arange(n_pages, n_after))
            yield Job(
                id=number,
                at=(request.at - first) / self.speed,
                key=key,
                key_after=key + hash_key(answer),
                n_prompt=n_prompt,
                n_output=n_output,
            )

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return ``None``: requests come when they came."""
        return None


@dataclass(frozen=True, slots=True)
class AzureTrace:
    """A trace in Azure's format, read when it is made."""

    path: Path
    """Trace in Azure's CSV, plain, .gz or .xz."""
    _: KW_ONLY
    speed: float = 1.0
    """How many times faster than recorded the requests come."""
    start: int = 0
    """Requests to leave out at the beginning."""
    limit: int | None = None
    """Requests to keep; all if not given."""
    shrink: int = 1
    """Divide all lengths by this."""
    page_size: int = 16
    """Tokens per page."""
    _rows: NDArray[np.void] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_part(self.speed, self.start, self.limit, self.shrink)
        require_at_least(1, page_size=self.page_size)
        rows = np.fromiter(_read_azure(self.path), AZURE_ROW)
        _check_start(self.start, len(rows), self.path)
        by_time = rows[np.argsort(rows["at"], kind="stable")]
        object.__setattr__(self, "_rows", by_time[self.start :][: self.limit])

    @property
    def n_jobs(self) -> int:
        """How many requests are kept."""
        return len(self._rows)

    def arrivals(self) -> Iterator[Job]:
        """Yield the requests in order of time; a job's id is its place in that order."""
        at, ids = self._rows["at"], np.arange(self.n_jobs)
        prompts = Prompts(
            ids=ids,
            at=(at - at[0]) / self.speed,
            shared=ids,
            n_shared=np.zeros_like(ids),
            own=ids,
            n_prompt=(self._rows["n_prompt"] // self.shrink).clip(min=1),
            n_output=(self._rows["n_output"] // self.shrink).clip(min=1),
        )
        return jobs(prompts, page_size=self.page_size)

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return ``None``: requests come when they came."""
        return None


def _check_part(speed: float, start: int, limit: int | None, shrink: int) -> None:
    require_positive(speed=speed)
    require_at_least(0, start=start)
    require_at_least(1, shrink=shrink, limit=1 if limit is None else limit)


def _check_start(start: int, n_requests: int, path: Path) -> None:
    if start >= n_requests:
        raise ValueError(f"expected more than {start} requests in {path}, got {n_requests}")


def _read_mooncake(path: Path) -> Iterator[_Request]:
    for place, row in entries_of(path, _MooncakeRow):
        n_blocks = -(-row.input_length // BLOCK)
        if len(row.hash_ids) != n_blocks:
            raise ValueError(
                f"{place}: expected {n_blocks} hash_ids for {row.input_length} tokens in blocks "
                f"of {BLOCK}, got {len(row.hash_ids)}"
            )
        blocks = hash_key(row.hash_ids)
        yield _Request(row.timestamp / 1000, row.input_length, row.output_length, blocks)


def _read_azure(path: Path) -> Iterator[tuple[float, int, int]]:
    lines = lines_of(path)
    place, header = next(lines)
    columns = header.decode("utf-8-sig", "replace").strip().split(",")
    if not set(AZURE_COLUMNS) <= set(columns):
        raise ValueError(f"{place}: expected the columns {','.join(AZURE_COLUMNS)}, got {columns}")
    chosen = [columns.index(name) for name in AZURE_COLUMNS]
    for place, line in lines:
        fields = line.decode("utf-8", "replace").strip().split(",")
        if len(fields) != len(columns):
            raise ValueError(f"{place}: expected {len(columns)} fields, got {len(fields)}")
        yield _azure_row(place, *(fields[index] for index in chosen))


def _azure_row(place: str, time: str, context: str, generated: str) -> tuple[float, int, int]:
    try:
        at = datetime.fromisoformat(time)
    except ValueError:
        raise ValueError(f"{place}: expected a date and time, got {time!r}") from None
    for count in (context, generated):
        if not (count.isascii() and count.isdigit() and len(count) <= MOST_DIGITS):
            raise ValueError(f"{place}: expected a count of tokens, got {count!r}")
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at.timestamp(), int(context), int(generated)
