"""Generated conversations of 2, 4, 6 and 8 turns, after the multi-turn benchmark of KVRouting.

That benchmark keeps 128 requests in flight; here conversations start by a Poisson process and go
on at the pace of their users, so that a slow answer delays the next turn of its own conversation
and no other. All user messages are equally long, and so are all answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from triskele.serve.cache import hash_key
from triskele.serve.simulate.arrivals import arrival_times
from triskele.serve.simulate.bounds import require_at_least, require_positive
from triskele.serve.simulate.conversations import (
    Conversation,
    first_turns,
    next_turn,
    number_of,
)
from triskele.serve.simulate.pages import page_hashes
from triskele.serve.simulate.streams import Purpose, stream
from triskele.serve.simulate.workload import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiTurn:
    """Conversations whose prompts grow turn by turn."""

    conversations: int = 128
    """Number of conversations."""
    turns: tuple[int, ...] = (2, 4, 6, 8)
    """Turns per conversation, by conversation in turn."""
    message: int = 1024
    """Tokens of every new user message."""
    answer: int = 4
    """Tokens of every answer."""
    think: float = 10.0
    """Mean seconds between an answer and the next message; exponential."""
    rate: float = 12.0
    """Requests per second, all turns counted: conversations start at this over the mean turns."""
    burstiness: float = 1.0
    """Coefficient of variation of the gaps between starts; 1 is Poisson."""
    page_size: int = 16
    """Tokens per page."""
    seed: int = 0
    """Seed of starts and think times."""

    def __post_init__(self) -> None:
        require_at_least(
            1,
            conversations=self.conversations,
            turns=min(self.turns, default=0),
            message=self.message,
            answer=self.answer,
            page_size=self.page_size,
        )
        require_at_least(0, think=self.think, seed=self.seed)
        require_positive(rate=self.rate, burstiness=self.burstiness)

    @property
    def n_jobs(self) -> int:
        """How many turns there are in all."""
        return int(np.resize(np.array(self.turns), self.conversations).sum())

    def arrivals(self) -> Iterator[Job]:
        """Yield the first turn of each conversation, in order of time."""
        starts = arrival_times(
            self.conversations,
            stream(self.seed, Purpose.TIMES),
            rate=self.rate * self.conversations / self.n_jobs,
            burstiness=self.burstiness,
        )
        conversations = map(self._conversation, range(self.conversations))
        return first_turns(conversations, starts.tolist(), page_size=self.page_size)

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return the next turn, which arrives when its user has thought, or ``None`` at the end."""
        return next_turn(
            self._conversation(number_of(job)),
            job,
            now=now,
            think=self.think,
            seed=self.seed,
            page_size=self.page_size,
        )

    def _conversation(self, number: int) -> Conversation:
        n_turns = self.turns[number % len(self.turns)]
        said = self.message + self.answer
        pages = np.arange(n_turns * said // self.page_size)
        turns = tuple((turn * said + self.message, (turn + 1) * said) for turn in range(n_turns))
        return Conversation(hash_key(page_hashes(number, pages)), turns)
