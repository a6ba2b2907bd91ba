import asyncio
import random

import pytest
from tests.serve.gateway.upstreams import run

from triskele.serve.gateway.admission import Admission, Overloaded


def admission(n_most: int = 1, *, n_queued: int = 10, queue_seconds: float = 5.0) -> Admission:
    made = Admission(n_queued=n_queued, queue_seconds=queue_seconds)
    made.resize(n_most)
    return made


async def waiting(made: Admission, n: int) -> list["asyncio.Task[None]"]:
    tasks = [asyncio.create_task(made.wait()) for _ in range(n)]
    await asyncio.sleep(0)
    return tasks


def test_so_many_are_let_in_and_no_more() -> None:
    made = admission(2)
    assert [made.enter(), made.enter(), made.enter()] == [True, True, False]
    made.leave()
    assert made.enter()
    assert made.n_running == 2


def test_nobody_is_let_in_before_there_is_a_worker() -> None:
    made = Admission(n_queued=1, queue_seconds=1.0)
    assert not made.enter()
    assert made.n_running == 0


def test_who_waits_is_let_in_in_order_and_before_who_comes_later() -> None:
    async def main() -> None:
        made, order = admission(1), []

        async def wait(name: int) -> None:
            await made.wait()
            order.append(name)

        assert made.enter()
        tasks = [asyncio.create_task(wait(name)) for name in range(3)]
        await asyncio.sleep(0)
        assert made.n_waiting == 3
        for n_let_in in range(1, 4):
            made.leave()
            assert not made.enter()
            await asyncio.sleep(0.001)
            assert order == list(range(n_let_in))
        await asyncio.gather(*tasks)
        made.leave()
        assert made.n_running == made.n_waiting == 0

    run(main())


def test_beyond_the_queue_is_turned_away_at_once_with_a_time_to_try_again() -> None:
    async def main() -> None:
        made = admission(1, n_queued=2)
        assert made.enter()
        tasks = await waiting(made, 2)
        with pytest.raises(Overloaded, match="2 requests are waiting already") as caught:
            await made.wait()
        assert caught.value.seconds > 0
        for _ in range(3):
            made.leave()
        await asyncio.gather(*tasks)
        assert made.n_running == 0

    run(main())


def test_who_waits_too_long_is_turned_away_and_leaves_nothing_behind() -> None:
    async def main() -> None:
        made = admission(1, queue_seconds=0.01)
        assert made.enter()
        with pytest.raises(Overloaded, match=r"within 0\.01 seconds") as caught:
            await made.wait()
        assert caught.value.seconds == 0.01
        assert (made.n_running, made.n_waiting) == (1, 0)

    run(main())


def test_who_leaves_the_queue_frees_the_place() -> None:
    async def main() -> None:
        made = admission(1, n_queued=1)
        assert made.enter()
        (task,) = await waiting(made, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert made.n_waiting == 0
        (task,) = await waiting(made, 1)
        made.leave()
        await task
        made.leave()
        assert made.n_running == 0

    run(main())


def test_who_leaves_at_the_very_moment_of_being_let_in_lets_the_next_in() -> None:
    async def main() -> None:
        made = admission(1)
        assert made.enter()
        first, second = await waiting(made, 2)
        made.leave()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await second
        assert (made.n_running, made.n_waiting) == (1, 0)

    run(main())


def test_room_that_is_added_is_filled_and_room_that_is_taken_is_not() -> None:
    async def main() -> None:
        made = admission(1)
        assert made.enter()
        tasks = await waiting(made, 3)
        made.resize(3)
        await asyncio.sleep(0.001)
        assert [task.done() for task in tasks] == [True, True, False]
        made.resize(1)
        made.leave()
        made.leave()
        await asyncio.sleep(0.001)
        assert not tasks[2].done()
        made.leave()
        await tasks[2]
        assert made.n_running == 1

    run(main())


@pytest.mark.parametrize("seed", range(5))
def test_in_any_order_of_events_nobody_is_lost_and_nobody_counted_twice(seed: int) -> None:
    rng = random.Random(seed)
    n_inside = n_most_inside = n_refused = 0

    async def visit(made: Admission) -> None:
        nonlocal n_inside, n_most_inside, n_refused
        if not made.enter():
            try:
                await made.wait()
            except Overloaded:
                n_refused += 1
                return
        n_inside += 1
        n_most_inside = max(n_most_inside, n_inside)
        try:
            assert made.n_running >= n_inside
            await asyncio.sleep(rng.random() * 0.004)
        finally:
            n_inside -= 1
            made.leave()

    async def main() -> None:
        made = admission(3, n_queued=8, queue_seconds=0.02)
        tasks = []
        for _ in range(400):
            tasks.append(asyncio.create_task(visit(made)))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
            if rng.random() < 0.1:
                made.resize(rng.randrange(4))
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.003)
            assert made.n_waiting <= 8
        made.resize(3)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [r for r in results if r is not None and not is_cancelled(r)]
        assert n_most_inside <= 3
        assert (made.n_running, made.n_waiting) == (0, 0)

    run(main())
    assert n_refused > 0


def is_cancelled(result: object) -> bool:
    return isinstance(result, asyncio.CancelledError)
