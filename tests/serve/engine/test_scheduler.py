import numpy as np
import pytest

from triskele.serve.cache import PrefixCache, least_recently_used, token_key
from triskele.serve.engine.batching import Batching, Chunk
from triskele.serve.engine.changes import Removed, Stored
from triskele.serve.engine.sampling import SamplingParams
from triskele.serve.engine.scheduler import Scheduler
from triskele.serve.engine.sequence import Sequence


def make(n_pages: int = 16, *, n_tokens: int = 8, n_running: int = 4) -> Scheduler:
    return Scheduler(
        PrefixCache.for_tokens(n_pages, least_recently_used(), page_size=2),
        page_size=2,
        max_seq_len=1000,
        batching=Batching(n_tokens, n_running),
        tells=True,
    )


def sequence(id: str, prompt: list[int]) -> Sequence:
    return Sequence(id, prompt, SamplingParams(), seed=0)


def step(scheduler: Scheduler, token: int = 9) -> list[tuple[str, int, int]]:
    """Plan and compute; returns which tokens of which sequences."""
    chunks = scheduler.plan()
    for chunk in chunks:
        scheduler.computed(chunk, token if chunk.is_sampled else None)
    scheduler.check()
    return [(chunk.sequence.id, chunk.start, chunk.n_tokens) for chunk in chunks]


def test_prompts_are_computed_in_chunks_first_come_first_served_beside_answers() -> None:
    scheduler = make()
    scheduler.submit(sequence("a", [1] * 5))
    scheduler.submit(sequence("b", [2] * 9))
    scheduler.submit(sequence("c", [3] * 2))
    assert step(scheduler) == [("a", 0, 5), ("b", 0, 3)]
    assert (scheduler.n_running, scheduler.n_waiting) == (2, 1)
    assert step(scheduler) == [("a", 5, 1), ("b", 3, 6), ("c", 0, 1)]
    assert step(scheduler) == [("a", 6, 1), ("b", 9, 1), ("c", 1, 1)]
    assert scheduler.tally.n_computed == 8 + 8 + 3
    assert scheduler.tally.n_generated == 3 + 2 + 1


def test_no_more_run_than_may() -> None:
    scheduler = make(n_running=1)
    first, second = sequence("a", [1]), sequence("b", [2])
    scheduler.submit(first)
    scheduler.submit(second)
    assert step(scheduler) == [("a", 0, 1)]
    assert step(scheduler) == [("a", 1, 1)]
    scheduler.finish(first)
    assert step(scheduler) == [("b", 0, 1)]


def test_a_prompt_waits_until_its_pages_are_free() -> None:
    scheduler = make(4)
    first, second = sequence("a", [1] * 5), sequence("b", [2] * 3)
    scheduler.submit(first)
    scheduler.submit(second)
    assert step(scheduler) == [("a", 0, 5)]
    assert step(scheduler) == [("a", 5, 1)]
    scheduler.cancel(first)
    assert step(scheduler) == [("b", 0, 3)]


def test_the_newest_loses_its_pages_and_is_computed_again() -> None:
    scheduler = make(4)
    first, second = sequence("a", [1] * 3), sequence("b", [2] * 3)
    scheduler.submit(first)
    scheduler.submit(second)
    step(scheduler)
    step(scheduler)
    assert [len(s.pages) for s in (first, second)] == [2, 2]
    assert step(scheduler) == [("a", 4, 1)]
    assert (second.n_preempted, second.row, second.n_computed) == (1, None, 0)
    assert second.tokens == [2, 2, 2, 9, 9]
    scheduler.finish(first)
    # The page it had given to the tree survived, and is found again.
    assert step(scheduler) == [("b", 2, 3)]
    assert second.n_cached == 0


def test_whole_pages_of_a_prompt_are_shared_as_soon_as_they_are_planned() -> None:
    scheduler = make()
    for id in "ab":
        scheduler.submit(sequence(id, [5, 6, 7, 8, 1]))
    chunks = scheduler.plan()
    assert [(chunk.start, chunk.n_tokens, chunk.n_held) for chunk in chunks] == [
        (0, 5, 0),
        (4, 1, 4),
    ]
    one, other = (chunk.sequence.pages for chunk in chunks)
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_the_last_token_of_a_cached_prompt_is_computed_but_not_written_again() -> None:
    scheduler = make()
    for _ in range(2):
        scheduler.submit(sequence("a", [5, 6, 7, 8]))
        (chunk,) = scheduler.plan()
        scheduler.computed(chunk, 9)
        scheduler.finish(chunk.sequence)
    assert (chunk.start, chunk.n_tokens, chunk.n_held) == (3, 1, 4)


def test_pages_that_another_gave_meanwhile_take_the_place_of_ones_own() -> None:
    scheduler = make(n_tokens=4)
    other = sequence("b", [7, 7, 7])
    scheduler.submit(other)
    step(scheduler, token=7)
    late = sequence("a", [7] * 8)
    scheduler.submit(late)
    assert step(scheduler, token=7) == [("b", 3, 1), ("a", 2, 3)]
    assert step(scheduler, token=7) == [("b", 4, 1), ("a", 5, 3)]
    scheduler.finish(other)
    scheduler.check()
    again = sequence("c", [7] * 9)
    scheduler.submit(again)
    step(scheduler)
    assert again.pages[:3] == late.pages[:3]


def test_changes_of_pages_are_told_in_order() -> None:
    scheduler = make(3)
    first = sequence("a", [5, 6, 7, 8])
    scheduler.submit(first)
    step(scheduler)
    scheduler.finish(first)
    second = sequence("b", [1, 2, 3, 4])
    scheduler.submit(second)
    step(scheduler)
    stored, removed, again = scheduler.changes()
    assert stored == Stored(token_key([5, 6, 7, 8], 2), [0, 1], 0)
    assert isinstance(removed, Removed)
    assert len(removed.pages) == 1
    assert isinstance(again, Stored)
    assert again.key == token_key([1, 2, 3, 4], 2)
    assert scheduler.changes() == []


def test_cleared_it_holds_nothing() -> None:
    scheduler = make(3)
    first = sequence("a", [5, 6, 7, 8])
    scheduler.submit(first)
    step(scheduler)
    scheduler.cancel(first)
    scheduler.clear()
    scheduler.check()
    assert scheduler.cache.n_free == 3


def test_tables_say_where_tokens_are() -> None:
    scheduler = make()
    first = sequence("a", [1] * 5)
    scheduler.submit(first)
    step(scheduler)
    assert scheduler.tables.dtype == np.int64
    assert scheduler.tables[first.row, :3].tolist() == first.pages


@pytest.mark.parametrize(("n_pages", "expected"), [(16, 32), (200, 396), (5000, 1000)])
def test_a_sequence_is_bounded_by_pages_and_by_the_model(n_pages: int, expected: int) -> None:
    assert make(n_pages).max_tokens == expected


def test_an_empty_scheduler_plans_nothing() -> None:
    plan: list[Chunk] = make().plan()
    assert plan == []
