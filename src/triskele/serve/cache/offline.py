"""What no eviction policy can beat: hits with unlimited room, and with knowledge of the future.

Belady's rule (1966) evicts the page whose next use is furthest away, and does not keep a page that
is itself the furthest. A page's prefix is used whenever the page is, so the furthest page is never
above a nearer one: on a prefix tree the rule evicts leaves by itself and stays optimal.

Requests are sequences of page numbers that are one-to-one with prefixes, as ``number_prefixes``
makes them: equal pages after different prefixes have different numbers.
"""

import heapq
from collections.abc import Iterable, Sequence

NEVER = 1 << 62


def number_prefixes(keys: Iterable[bytes], stride: int) -> list[list[int]]:
    """Return for each key one number per page, equal where the whole prefix is equal."""
    numbers: dict[tuple[int, bytes], int] = {}
    requests = []
    for key in keys:
        request, above = [], -1
        for at in range(0, len(key), stride):
            above = numbers.setdefault((above, key[at : at + stride]), len(numbers))
            request.append(above)
        requests.append(request)
    return requests


def unlimited_hits(requests: Sequence[Sequence[int]]) -> int:
    """Return how many pages an unlimited cache would find: all but the first use of each."""
    return sum(map(len, requests)) - len({page for request in requests for page in request})


def clairvoyant_hits(requests: Sequence[Sequence[int]], capacity: int) -> int:
    """Return how many pages Belady's rule finds with room for ``capacity`` pages.

    One request at a time; a request's pages may all be evicted again before the next.
    """
    if capacity < 0:
        raise ValueError(f"expected a capacity of at least 0 pages, got {capacity}")
    following = _next_uses(requests)
    cached: dict[int, int] = {}
    # Furthest first; of pages next used together, the deepest.
    furthest: list[tuple[int, int, int]] = []
    n_hits = 0
    for now, request in enumerate(requests):
        for depth, page in enumerate(request):
            n_hits += page in cached
            cached[page] = following[now][depth]
            heapq.heappush(furthest, (-following[now][depth], -depth, page))
        while len(cached) > capacity:
            next_use, _, page = heapq.heappop(furthest)
            if cached.get(page) == -next_use:
                del cached[page]
        if len(furthest) > 4 * capacity + 1024:
            furthest = [entry for entry in furthest if cached.get(entry[2]) == -entry[0]]
            heapq.heapify(furthest)
    return n_hits


def _next_uses(requests: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return for each page of each request the number of the next request that uses it."""
    last: dict[int, int] = {}
    following: list[list[int]] = []
    for now in range(len(requests) - 1, -1, -1):
        following.append([last.get(page, NEVER) for page in requests[now]])
        for page in requests[now]:
            last[page] = now
    return following[::-1]
