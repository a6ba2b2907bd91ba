from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.cache import PrefixCache, Sieve, hash_key


class SievePages:
    """SIEVE on single pages as its paper has it: a list, a hand, a mark each."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.queue, self.marks, self.hand = capacity, [], {}, 0

    def use(self, page: int) -> None:
        if page in self.marks:
            self.marks[page] = True
            return
        if len(self.queue) == self.capacity:
            while self.marks[self.queue[self.hand]]:
                self.marks[self.queue[self.hand]] = False
                self.hand = (self.hand + 1) % len(self.queue)
            del self.marks[self.queue.pop(self.hand)]
            # Past the newest the hand starts over at the oldest.
            self.hand %= len(self.queue)
        self.queue.append(page)
        self.marks[page] = False


@given(st.lists(st.integers(0, 7), max_size=60))
def test_on_single_pages_it_spares_what_sieve_spares(uses: list[int]) -> None:
    oracle, cache = SievePages(4), PrefixCache(4, Sieve())
    for page in uses:
        oracle.use(page)
        cache.insert(hash_key([page]))
        cached = {p for p in range(8) if cache.match(hash_key([p])).n_pages}
        assert cached == set(oracle.marks)


def test_a_used_prefix_outlives_the_suffixes_that_came_and_went() -> None:
    cache = PrefixCache(4, Sieve())
    cache.insert(hash_key([1, 2]))
    for suffix in range(10, 60):
        cache.insert(hash_key([1, 2, suffix]))
    assert cache.match(hash_key([1, 2])).n_pages == 2
