import pytest

from triskele.serve.cache import hash_key
from triskele.serve.simulate.conversations import (
    Conversation,
    first_turns,
    next_turn,
    number_of,
)
from triskele.serve.simulate.workload import Job

TALK = Conversation(hash_key(range(100, 110)), ((30, 35), (60, 100)))


def opened() -> list[Job]:
    return list(first_turns([TALK, TALK], [1.0, 2.0], page_size=10))


def after(job: Job, *, now: float = 5.0, think: float = 3.0, seed: int = 0) -> Job | None:
    return next_turn(TALK, job, now=now, think=think, seed=seed, page_size=10)


def test_a_turn_holds_what_was_said_before_its_answer_and_after() -> None:
    first, other = opened()
    assert (first.n_prompt, first.n_output, first.at) == (30, 5, 1.0)
    assert first.key == first.key_after == hash_key([100, 101, 102])
    second = after(first)
    assert second is not None
    assert (second.n_prompt, second.n_output) == (60, 40)
    assert second.key == hash_key(range(100, 106))
    assert second.key_after == hash_key(range(100, 110))
    assert after(second) is None
    assert [number_of(job) for job in (first, second, other)] == [0, 0, 1]
    assert first.session == second.session != other.session


def test_thinking_depends_on_seed_conversation_and_turn_alone() -> None:
    first, other = opened()
    waits = [job.at for job in (after(first), after(other), after(first, seed=1)) if job]
    assert len(set(waits)) == 3
    later, again = after(first, now=15.0), after(first)
    assert later is not None
    assert again is not None
    assert (again.at, later.at) == (waits[0], pytest.approx(waits[0] + 10))


def test_who_does_not_think_goes_on_at_once() -> None:
    following = after(opened()[0], think=0.0)
    assert following is not None
    assert following.at == 5.0
