"""A worker that takes one iteration after the other, with plain lists and no counters.

The rules of continuous batching: every running answer gets one token per iteration; prompts fill
the rest of the token budget, first come first served, in chunks where need be; a request is let in
if its pages fit beside those of the running; if the answers cannot grow, the newest is sent back to
the head of the queue and computed again, prompt and answer so far. Pages of the running are listed
one by one, and so are those of the prefix cache, which evicts the least recently used.
"""

from dataclasses import dataclass, field

from tests.oracles.prefix_cache import Prefix, prefixes

from triskele.serve.simulate.cost import CostModel
from triskele.serve.simulate.workload import Job


def pages_of(key: bytes) -> Prefix:
    """Return the page numbers of a key."""
    return tuple(int.from_bytes(key[at : at + 8], "little") for at in range(0, len(key), 8))


@dataclass(eq=False)
class Entry:
    """A request: ``context`` counts its tokens with keys and values, ``to_do`` those to compute."""

    job: Job
    context: int = 0
    to_do: int = 0
    n_answered: int = 0
    own_pages: list[None] = field(default_factory=list)
    shared: Prefix = ()
    used: bool = False
    n_cached: int | None = None
    n_preempted: int = 0
    n_recomputed: int = 0
    admitted: float | None = None
    first_token: float | None = None
    finished: float | None = None


class SlowReplica:
    """Serves jobs that come in order of time."""

    def __init__(
        self, cost: CostModel, *, n_pages: int, page_size: int, n_tokens: int, n_running: int
    ) -> None:
        self.cost, self.n_pages, self.page_size = cost, n_pages, page_size
        self.n_tokens, self.n_running = n_tokens, n_running
        self.last_used: dict[Prefix, tuple[int, int]] = {}
        self.n_uses = 0
        self.waiting: list[Entry] = []
        self.prompts: list[Entry] = []
        self.answers: list[Entry] = []

    def serve(self, jobs: list[Job]) -> list[Entry]:
        """Serve all jobs; one that arrives within an iteration waits for its end."""
        coming = [Entry(job) for job in jobs]
        entries, now = list(coming), 0.0
        while coming or self.waiting or self.prompts or self.answers:
            if not (self.waiting or self.prompts or self.answers):
                now = max(now, coming[0].job.at)
            while coming and coming[0].job.at <= now:
                self.waiting.append(coming.pop(0))
            now = self.iterate(now)
        return entries

    def iterate(self, now: float) -> float:
        """Take one iteration and return when it ends."""
        while len(self.growing()) > self.n_available():
            self.preempt(self.answers.pop())
        for entry in self.growing():
            self.take_pages(entry, 1)
        answering = list(self.answers)
        n_kv = sum(entry.context for entry in answering)
        chunks = self.fill(self.n_tokens - len(answering), now)
        attended = 0.0
        for entry, n_new in chunks:
            attended += sum(entry.context + i + 0.5 for i in range(n_new))
        n_computed = len(answering) + sum(n_new for _, n_new in chunks)
        now += self.cost.seconds(n_computed, attended, n_kv)
        for entry in answering:
            entry.context += 1
            entry.n_answered += 1
            if entry.n_answered == entry.job.n_output:
                self.answers.remove(entry)
                self.finish(entry, now)
        for entry, n_new in chunks:
            entry.context += n_new
            entry.to_do -= n_new
            if entry.to_do == 0:
                self.prompts.remove(entry)
                self.answer(entry, now)
        return now

    def fill(self, n_left: int, now: float) -> list[tuple[Entry, int]]:
        """Return which prompts are computed, and how much of each."""
        chunks: list[tuple[Entry, int]] = []
        for entry in self.prompts:
            if n_left:
                chunks.append((entry, min(n_left, entry.to_do)))
                n_left -= chunks[-1][1]
        while n_left and self.waiting and self.admit(self.waiting[0], now):
            entry = self.waiting.pop(0)
            self.prompts.append(entry)
            chunks.append((entry, min(n_left, entry.to_do)))
            n_left -= chunks[-1][1]
        return chunks

    def admit(self, entry: Entry, now: float) -> bool:
        """Let a request in if there is room, with one page in a hundred to spare."""
        running = self.prompts + self.answers
        if len(running) == self.n_running:
            return False
        key = pages_of(entry.job.key)
        n_found = sum(prefix in self.last_used for prefix in prefixes(key))
        if not entry.used:
            self.use(key[:n_found])
            entry.used = True
        entry.shared = key[:n_found]
        self.prompts.append(entry)
        n_room = self.n_available() - (self.n_pages // 100 if running else 0)
        self.prompts.remove(entry)
        n_tokens = entry.job.n_prompt + entry.n_answered
        n_needed = -(-n_tokens // self.page_size) - n_found
        if n_needed > n_room:
            entry.shared = ()
            return False
        self.prompts.append(entry)
        self.take_pages(entry, n_needed)
        self.prompts.remove(entry)
        entry.context = min(n_found * self.page_size, n_tokens - 1)
        entry.to_do = n_tokens - entry.context
        if entry.n_preempted:
            entry.n_recomputed += entry.to_do - 1
        else:
            entry.admitted, entry.n_cached = now, entry.context
        return True

    def answer(self, entry: Entry, now: float) -> None:
        """Give a computed prompt its next token, and its whole pages to the cache."""
        self.give_pages(entry, pages_of(entry.job.key))
        entry.n_answered += 1
        if entry.first_token is None:
            entry.first_token = now
        if entry.n_answered == entry.job.n_output:
            self.finish(entry, now)
        else:
            self.answers.append(entry)

    def finish(self, entry: Entry, now: float) -> None:
        """Give the cache all whole pages."""
        self.give_pages(entry, pages_of(entry.job.key_after)[: entry.context // self.page_size])
        entry.own_pages, entry.shared, entry.finished = [], (), now

    def preempt(self, entry: Entry) -> None:
        """Send an answer back to the head of the queue."""
        entry.n_preempted += 1
        entry.own_pages, entry.shared = [], ()
        self.waiting.insert(0, entry)

    def growing(self) -> list[Entry]:
        """Return the answers whose next token begins a page."""
        return [entry for entry in self.answers if entry.context % self.page_size == 0]

    def held(self) -> set[Prefix]:
        """Return the cached pages that somebody running needs."""
        return {
            prefix for entry in self.prompts + self.answers for prefix in prefixes(entry.shared)
        }

    def n_own(self) -> int:
        """Return how many pages the running have for themselves."""
        return sum(len(entry.own_pages) for entry in self.prompts + self.answers)

    def n_available(self) -> int:
        """Return how many pages are free or hold what may be evicted."""
        return self.n_pages - self.n_own() - len(self.held())

    def take_pages(self, entry: Entry, n: int) -> None:
        """Give a running request pages of its own, evicting one after the other if need be."""
        for _ in range(n):
            while self.n_own() + len(self.last_used) >= self.n_pages:
                held = self.held()
                free = [prefix for prefix in self.last_used if prefix not in held]
                del self.last_used[min(free, key=self.last_used.__getitem__)]
            entry.own_pages.append(None)

    def give_pages(self, entry: Entry, key: Prefix) -> None:
        """Turn own pages into cached ones; who finds its page there already drops its own."""
        if len(key) > len(entry.shared):
            for _ in range(len(key) - len(entry.shared)):
                entry.own_pages.pop()
            self.use(key)
            entry.shared = key

    def use(self, key: Prefix) -> None:
        """Note that these pages are in the cache and were used now, all at once."""
        self.n_uses += 1
        for depth, prefix in enumerate(prefixes(key)):
            self.last_used[prefix] = (self.n_uses, -depth)
