"""Requests and outcomes in a few words."""

from triskele.serve.cache import hash_key
from triskele.serve.routing import Outcome, Phase, Request

PAGE_SIZE = 16


def chained(*pages: int) -> list[int]:
    """Return a hash per page that stands for the page and all before it."""
    hashes, above = [], 0
    for page in pages:
        above = (above * 6364136223846793005 + page * 1442695040888963407 + 1) % 2**64
        hashes.append(above)
    return hashes


def pages_of(number: int, n: int) -> tuple[int, ...]:
    """Return ``n`` pages that no other number has."""
    return tuple(range(number * 10_000, number * 10_000 + n))


def prompt(
    number: int, *pages: int, n_output: int | None = 4, session: str | None = None, kind: str = ""
) -> Request:
    """Return a request whose prompt is these whole pages, or a few tokens."""
    n_prompt = PAGE_SIZE * len(pages) or PAGE_SIZE // 2
    return Request(number, hash_key(chained(*pages)), n_prompt, n_output, session, kind)


def first_token(number: int, worker: str, latency: float = 0.5) -> Outcome:
    return Outcome(number, worker, Phase.FIRST_TOKEN, latency, n_output=1)


def finished(number: int, worker: str, latency: float = 0.6, n_output: int = 4) -> Outcome:
    return Outcome(number, worker, Phase.FINISHED, latency, n_output=n_output)


def failed(number: int, worker: str, latency: float = 0.6) -> Outcome:
    return Outcome(number, worker, Phase.FAILED, latency)
