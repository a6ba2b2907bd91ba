"""Sends cases over raw sockets and reads what comes back, as strictly as it can be read."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import httptools

from benchmarks.hostile.case import Case

# How long an answer may take; how long to see whether one comes that need not.
ANSWER_SECONDS, QUIET_SECONDS = 10.0, 0.15
N_AT_ONCE = 16


@dataclass(slots=True)
class Result:
    """What came back for one case."""

    case: Case
    statuses: list[int] = field(default_factory=list)
    is_closed: bool = False
    # What was no HTTP, or missing.
    fault: str | None = None
    seconds: float = 0.0


class Answers(asyncio.Protocol):
    """Reads the answers of one connection."""

    def __init__(self, case: Case) -> None:
        self.result = Result(case)
        self.news = asyncio.Event()
        self.n_begun = 0
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse it."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.result.fault = "switched protocols"
        except httptools.HttpParserError as error:
            self.result.fault = f"not HTTP: {error}: {data[:80]!r}"
        self.news.set()

    def eof_received(self) -> bool:
        """Close as well."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Note it."""
        self.result.is_closed = True
        self.news.set()

    def on_message_begin(self) -> None:
        """Count."""
        self.n_begun += 1

    def on_message_complete(self) -> None:
        """Note the status."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.result.statuses.append(status)
        else:
            self.n_begun -= 1


async def send(port: int, case: Case) -> Result:
    """Send a case and return what came back."""
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    transport, answers = await loop.create_connection(lambda: Answers(case), "127.0.0.1", port)
    for number, piece in enumerate(case.pieces):
        if transport.is_closing():
            break
        if number and case.pause:
            await asyncio.sleep(case.pause)
        elif number % 16 == 15:
            await asyncio.sleep(0)
        transport.write(piece)
    if case.half_close and not transport.is_closing():
        transport.write_eof()
    result = answers.result
    until = time.monotonic() + ANSWER_SECONDS
    while not result.is_closed and result.fault is None:
        is_owed = len(result.statuses) < max(case.n_answers, answers.n_begun)
        left = until - time.monotonic() if is_owed else QUIET_SECONDS
        answers.news.clear()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await answers.news.wait()
        except TimeoutError:
            break
    result.seconds = time.monotonic() - began
    # The answer to HEAD has no body, which this parser cannot know.
    may_be_head = any(b"HEAD " in piece for piece in case.pieces)
    if result.fault is None and len(result.statuses) < case.n_answers:
        result.fault = f"{len(result.statuses)} of {case.n_answers} answers"
    elif result.fault is None and len(result.statuses) < answers.n_begun and not may_be_head:
        result.fault = "half an answer"
    transport.abort()
    return result


async def send_all(port: int, cases: Iterable[Case]) -> list[Result]:
    """Send many, some at once."""
    results: list[Result] = []
    left = iter(cases)

    async def some() -> None:
        for case in left:
            results.append(await send(port, case))

    await asyncio.gather(*(some() for _ in range(N_AT_ONCE)))
    return results


def tally(results: Iterable[Result]) -> "Counter[str]":
    """Return how often each class of status came."""
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(f"{status // 100}xx" for status in result.statuses)
        if not result.statuses:
            counts["closed" if result.is_closed else "no answer"] += 1
    return counts
