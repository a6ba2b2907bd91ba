import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from tests.serve.engine.models import assert_nothing_is_held, greedy, tiny_engine
from torch import Tensor

from triskele.serve.engine import Engine, Piece, SamplingParams, TooLong
from triskele.serve.engine.batching import Chunk, Work
from triskele.serve.engine.changes import Removed, Stored
from triskele.serve.engine.driver import Driver
from triskele.serve.engine.layout import Integers

GREEDY = SamplingParams(temperature=0, max_tokens=8)
Came = asyncio.Queue[Piece | None]


def drive(
    use: Callable[[Driver], Coroutine[Any, Any, None]], engine: Engine, **options: Any
) -> None:
    """Run a coroutine against a driver, and stop it."""

    async def main() -> None:
        driver = Driver(engine, **options)
        driver.start()
        try:
            async with asyncio.timeout(30):
                await use(driver)
        finally:
            await asyncio.to_thread(driver.stop)

    asyncio.run(main())


async def tokens(came: Came) -> list[int]:
    found = []
    while True:
        piece = await came.get()
        assert piece is not None
        found.append(piece.token)
        if piece.finish is not None:
            return found


def test_many_requests_are_served_at_once() -> None:
    engine = tiny_engine(n_pages=16)

    async def use(driver: Driver) -> None:
        queues = [Came() for _ in range(7)]
        for n, came in enumerate(queues):
            driver.submit([n + 1] * 5, GREEDY, came.put_nowait)
        assert driver.n_open == 7
        for n, came in enumerate(queues):
            assert await tokens(came) == greedy([n + 1] * 5, 8)
        assert driver.n_open == 0

    drive(use, engine)
    assert_nothing_is_held(engine)


def test_what_is_cancelled_is_not_told_of_again_and_holds_nothing() -> None:
    engine = tiny_engine()
    late: list[Piece | None] = []

    async def use(driver: Driver) -> None:
        first = asyncio.Event()

        def sink(piece: Piece | None) -> None:
            late.append(piece)
            first.set()

        id = driver.submit([1] * 5, SamplingParams(max_tokens=50), sink)
        await first.wait()
        n_before = len(late)
        driver.cancel(id)
        driver.cancel(id)
        came = Came()
        driver.submit([2], GREEDY, came.put_nowait)
        await tokens(came)
        assert len(late) == n_before

    drive(use, engine)
    assert engine.tally.n_cancelled == 1
    assert_nothing_is_held(engine)


def test_what_cannot_be_served_is_refused_at_once() -> None:
    async def use(driver: Driver) -> None:
        with pytest.raises(TooLong):
            driver.submit([1] * 64, GREEDY, lambda piece: None)
        assert driver.n_open == 0

    drive(use, tiny_engine())


def test_a_failed_step_is_told_to_all_and_the_next_request_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = tiny_engine()
    inner = engine._forward

    class Failing:
        is_broken = True

        def run(self, chunks: Sequence[Chunk], tables: Integers) -> Tensor:
            if self.is_broken:
                raise RuntimeError("out of memory")
            return inner.run(chunks, tables)

    engine._forward = failing = Failing()

    async def use(driver: Driver) -> None:
        queues = [Came() for _ in range(2)]
        for came in queues:
            driver.submit([1] * 9, GREEDY, came.put_nowait)
        assert [await came.get() for came in queues] == [None, None]
        failing.is_broken = False
        driver.submit([1] * 9, GREEDY, queues[0].put_nowait)
        assert await tokens(queues[0]) == greedy([1] * 9, 8)

    with caplog.at_level(logging.CRITICAL):
        drive(use, engine)
    assert_nothing_is_held(engine)


def test_changes_of_the_cache_are_told() -> None:
    told: list[Stored | Removed] = []

    async def use(driver: Driver) -> None:
        came = Came()
        driver.submit([1] * 9, GREEDY, came.put_nowait)
        await tokens(came)

    drive(use, tiny_engine(tells=True), on_changes=told.extend)
    assert [len(change.pages) for change in told] == [2, 4]


def test_stopping_a_driver_that_never_started_is_nothing() -> None:
    Driver(tiny_engine()).stop()


def test_every_step_is_told_with_what_it_computed() -> None:
    told: list[tuple[Work, float]] = []

    async def use(driver: Driver) -> None:
        came = Came()
        driver.submit([1] * 9, GREEDY, came.put_nowait)
        await tokens(came)

    drive(use, tiny_engine(), on_step=lambda work, seconds: told.append((work, seconds)))
    first, *others = [work for work, _ in told]
    assert first == Work(n_tokens=9, n_attended=40.5, n_kv=0)
    assert others == [Work(n_tokens=1, n_attended=0.0, n_kv=n) for n in range(9, 16)]
    assert min(seconds for _, seconds in told) > 0


def test_a_thread_with_a_share_rests_before_it_tells() -> None:
    engine = tiny_engine()
    inner, spent = engine._forward, []

    class Measured:
        def run(self, chunks: Sequence[Chunk], tables: Integers) -> Tensor:
            began = time.thread_time()
            logits = inner.run(chunks, tables)
            spent.append(time.thread_time() - began)
            return logits

    engine._forward = Measured()
    taken: list[float] = []

    async def use(driver: Driver) -> None:
        came = Came()
        driver.submit([1] * 9, GREEDY, came.put_nowait)
        await tokens(came)

    drive(use, engine, on_step=lambda work, seconds: taken.append(seconds), cpu_share=0.1)
    assert all(a >= 9 * b for a, b in zip(taken, spent, strict=True))


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_of_nothing_or_of_more_than_there_is_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of a processor"):
        Driver(tiny_engine(), cpu_share=share)
