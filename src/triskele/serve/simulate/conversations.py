"""Conversations: each turn's prompt is all that was said so far, and waits for the last answer.

The pages of all prompts and answers of one conversation are beginnings of one key. Where a
conversation stands is written in the id of its jobs: its number times 2²⁰, plus the turn.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate.streams import Purpose, stream
from triskele.serve.simulate.workload import Job

TURN_BITS = 20
"""A conversation has at most 2²⁰ turns."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that will be said.

    Attributes
    ----------
    key
        One hash per whole page of it.
    turns
        For each turn how many tokens will have been said before its answer, and after.
    """

    key: bytes
    turns: tuple[tuple[int, int], ...]


def first_turns(
    conversations: Iterable[Conversation], starts: Iterable[float], *, page_size: int
) -> Iterator[Job]:
    """Yield the job that opens each conversation, one per start."""
    for number, (conversation, at) in enumerate(zip(conversations, starts, strict=True)):
        yield _turn(conversation, number << TURN_BITS, at, page_size)


def number_of(job: Job) -> int:
    """Return the number of the conversation that a job is a turn of."""
    return job.id >> TURN_BITS


def next_turn(
    conversation: Conversation, job: Job, *, now: float, think: float, seed: int, page_size: int
) -> Job | None:
    """Return the turn after ``job``, or ``None`` if that was the last.

    It arrives an exponential time of mean ``think`` seconds after ``now``. How long that is, is a
    function of seed, conversation and turn, whatever was asked before.
    """
    if job.id % (1 << TURN_BITS) + 1 == len(conversation.turns):
        return None
    at = now + stream(seed, Purpose.THINK, job.id).exponential(think)
    return _turn(conversation, job.id + 1, at, page_size)


def _turn(conversation: Conversation, job_id: int, at: float, page_size: int) -> Job:
    number, turn = divmod(job_id, 1 << TURN_BITS)
    n_prompt, n_said = conversation.turns[turn]
    return Job(
        id=job_id,
        at=at,
        key=conversation.key[: n_prompt // page_size * HASH_BYTES],
        key_after=conversation.key[: n_said // page_size * HASH_BYTES],
        n_prompt=n_prompt,
        n_output=n_said - n_prompt,
        session=str(number),
    )
