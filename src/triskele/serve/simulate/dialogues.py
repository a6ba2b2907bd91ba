"""Conversations between people and assistants from local files: ShareGPT and UltraChat.

ShareGPT is a JSON list, or JSON lines, of ``{"conversations": [{"from": ..., "value": ...}]}``;
UltraChat is JSON lines of ``{"data": [user, assistant, user, ...]}``. A turn ends with an answer of
the assistant; what was said before it, system message included, is its prompt. Text after the last
answer is left out, and so are entries without an answer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import msgspec

from triskele.serve.cache import hash_key
from triskele.serve.simulate.arrivals import arrival_times
from triskele.serve.simulate.bounds import require_at_least, require_positive
from triskele.serve.simulate.conversations import (
    Conversation,
    first_turns,
    next_turn,
    number_of,
)
from triskele.serve.simulate.files import entries_of
from triskele.serve.simulate.streams import Purpose, stream
from triskele.serve.simulate.text import TextPages
from triskele.serve.simulate.workload import Job

Layout = Literal["sharegpt", "ultrachat"]
Message = tuple[bool, str]
"""Whether it is an answer, and its text."""

ASKS = frozenset({"human", "user", "system", "tool"})
ANSWERS = frozenset({"gpt", "assistant", "chatgpt", "bing", "bard"})


class _Said(msgspec.Struct, rename={"speaker": "from"}):
    speaker: str
    value: str


class _ShareGpt(msgspec.Struct):
    conversations: list[_Said]


class _UltraChat(msgspec.Struct):
    data: list[str]


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Real conversations, read when this is made, at the pace of generated ones."""

    path: Path
    """Conversations in JSON, plain, .gz or .xz."""
    _: KW_ONLY
    layout: Layout = "sharegpt"
    """Format of the file."""
    limit: int | None = None
    """Conversations to keep; all if not given."""
    max_output: int | None = None
    """Tokens to which answers are cut; whole answers if not given."""
    think: float = 10.0
    """Mean seconds between an answer and the next message; exponential."""
    rate: float = 12.0
    """Requests per second, all turns counted: conversations start at this over the mean turns."""
    burstiness: float = 1.0
    """Coefficient of variation of the gaps between starts; 1 is Poisson."""
    page_size: int = 16
    """Tokens per page."""
    characters_per_token: int = 4
    """Characters that are taken for a token."""
    seed: int = 0
    """Seed of starts and think times."""
    _conversations: tuple[Conversation, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_at_least(
            1,
            limit=1 if self.limit is None else self.limit,
            max_output=1 if self.max_output is None else self.max_output,
            page_size=self.page_size,
            characters_per_token=self.characters_per_token,
        )
        require_at_least(0, think=self.think, seed=self.seed)
        require_positive(rate=self.rate, burstiness=self.burstiness)
        if self.layout not in get_args(Layout):
            raise ValueError(f"expected one of {get_args(Layout)}, got {self.layout!r}")
        pages = TextPages(self.page_size, self.characters_per_token)
        read = (_conversation(said, pages, self.max_output) for said in self._messages())
        conversations = tuple(islice((one for one in read if one.turns), self.limit))
        if not conversations:
            raise ValueError(f"expected at least one answer, there is none in {self.path}")
        object.__setattr__(self, "_conversations", conversations)

    @property
    def n_jobs(self) -> int:
        """How many turns there are in all."""
        return sum(len(conversation.turns) for conversation in self._conversations)

    def arrivals(self) -> Iterator[Job]:
        """Yield the first turn of each conversation, in the order of the file."""
        n_conversations = len(self._conversations)
        starts = arrival_times(
            n_conversations,
            stream(self.seed, Purpose.TIMES),
            rate=self.rate * n_conversations / self.n_jobs,
            burstiness=self.burstiness,
        )
        return first_turns(self._conversations, starts.tolist(), page_size=self.page_size)

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return the next turn, which arrives when its user has thought, or ``None`` at the end."""
        return next_turn(
            self._conversations[number_of(job)],
            job,
            now=now,
            think=self.think,
            seed=self.seed,
            page_size=self.page_size,
        )

    def _messages(self) -> Iterator[list[Message]]:
        if self.layout == "sharegpt":
            return _read_sharegpt(self.path)
        return _read_ultrachat(self.path)


def _read_sharegpt(path: Path) -> Iterator[list[Message]]:
    for place, entry in entries_of(path, _ShareGpt):
        for said in entry.conversations:
            if said.speaker not in ASKS | ANSWERS:
                expected = ", ".join(sorted(ASKS | ANSWERS))
                raise ValueError(f"{place}: expected one of {expected}, got {said.speaker!r}")
        yield [(said.speaker in ANSWERS, said.value) for said in entry.conversations]


def _read_ultrachat(path: Path) -> Iterator[list[Message]]:
    for _, entry in entries_of(path, _UltraChat):
        yield [(number % 2 == 1, text) for number, text in enumerate(entry.data)]


def _conversation(
    messages: Iterable[Message], pages: TextPages, max_output: int | None
) -> Conversation:
    """Lay the messages end to end; an answer to nothing new is part of the next prompt."""
    said: list[str] = []
    turns: list[tuple[int, int]] = []
    n_said, is_asked = 0, False
    for is_answer, text in messages:
        said.append(pages.whole_tokens(text, limit=max_output if is_answer else None))
        n_before, n_said = n_said, n_said + pages.n_tokens(said[-1])
        if is_answer and is_asked:
            turns.append((n_before, n_said))
        is_asked = not is_answer
    n_kept = turns[-1][1] * pages.characters_per_token if turns else 0
    return Conversation(hash_key(pages.hashes("".join(said)[:n_kept])), tuple(turns))
