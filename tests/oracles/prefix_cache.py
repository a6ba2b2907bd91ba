"""A prefix cache as a dictionary of prefixes, and block-level LRU on it. Slow and plain.

A prefix is a tuple of pages; it stands for its last page.
"""

Prefix = tuple[int, ...]


def prefixes(key: Prefix) -> list[Prefix]:
    """Return the prefixes of a key, shortest first."""
    return [key[: n + 1] for n in range(len(key))]


class LruPrefixes:
    """Evicts the page used longest ago; of pages used together, the deepest."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.last_used: dict[Prefix, tuple[int, int]] = {}
        self.now = 0

    def n_cached(self, key: Prefix) -> int:
        """Return how many leading pages of ``key`` are cached."""
        n = 0
        while n < len(key) and key[: n + 1] in self.last_used:
            n += 1
        return n

    def insert(self, key: Prefix) -> int:
        """Use what is cached of ``key``, add the rest as far as there is room; return the hits."""
        self.now += 1
        n_found = self.n_cached(key)
        own = prefixes(key)
        for depth, prefix in enumerate(own[:n_found]):
            self.last_used[prefix] = (self.now, -depth)
        n_missing = len(key) - n_found - (self.capacity - len(self.last_used))
        evictable = sorted(set(self.last_used) - set(own), key=self.last_used.__getitem__)
        for prefix in evictable[: max(0, n_missing)]:
            del self.last_used[prefix]
        room = self.capacity - len(self.last_used)
        for depth, prefix in list(enumerate(own))[n_found : n_found + room]:
            self.last_used[prefix] = (self.now, -depth)
        return n_found
