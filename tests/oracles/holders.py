"""Who holds which pages: a set per worker, looked through page by page."""

from collections.abc import Sequence


class HolderSets:
    def __init__(self, n_slots: int) -> None:
        self.pages: list[set[int]] = [set() for _ in range(n_slots)]

    def depth(self, slot: int, hashes: Sequence[int]) -> int:
        """Return how many leading pages of a prompt a worker holds."""
        n_pages = 0
        while n_pages < len(hashes) and hashes[n_pages] in self.pages[slot]:
            n_pages += 1
        return n_pages
