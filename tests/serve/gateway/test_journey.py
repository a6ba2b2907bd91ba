import asyncio

import pytest
from tests.serve.gateway.upstreams import run
from tests.serve.http.wire import Transport

from triskele.serve.gateway.journey import Journey, Stop
from triskele.serve.http import HttpRequest, Reply


def begin() -> Journey:
    request = HttpRequest("POST", "/", "", [])
    reply = Reply(Transport(), request, keeps_alive=True, is_old=False)
    return Journey("1", "/", reply, accepted=0.0, wall=0.0, deadline=1.0)


class Traveller:
    """Waits on a journey of its own and says how that ended."""

    def __init__(self) -> None:
        self.journey: Journey | None = None
        self.ends: list[Stop | None] = []

    async def travel(self, n_waits: int = 1) -> None:
        self.journey = begin()
        for _ in range(n_waits):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.ends.append(self.journey.stopped())

    async def set_out(self, n_waits: int = 1) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.travel(n_waits))
        await asyncio.sleep(0)
        return task


@pytest.mark.parametrize(
    ("stop", "reason"), [(Journey.expire, Stop.EXPIRED), (Journey.abandon, Stop.ABANDONED)]
)
def test_who_is_stopped_learns_why_once(stop: object, reason: Stop) -> None:
    async def main() -> None:
        traveller = Traveller()
        task = await traveller.set_out()
        stop(traveller.journey)  # type: ignore[operator]
        await task
        assert traveller.ends == [reason]
        assert traveller.journey is not None
        assert traveller.journey.stopped() is None
        assert task.cancelling() == 0

    run(main())


def test_a_client_that_goes_away_is_no_reason() -> None:
    async def main() -> None:
        traveller = Traveller()
        task = await traveller.set_out()
        task.cancel()
        await task
        assert traveller.ends == [None]

    run(main())


@pytest.mark.parametrize("is_client_first", [True, False])
def test_a_client_that_goes_away_at_the_same_moment_goes_before_everything(
    is_client_first: bool,
) -> None:
    async def main() -> None:
        traveller = Traveller()
        task = await traveller.set_out()
        assert traveller.journey is not None
        if is_client_first:
            task.cancel()
            traveller.journey.abandon()
        else:
            traveller.journey.abandon()
            task.cancel()
        await task
        assert traveller.ends == [None]

    run(main())


def test_one_stop_at_a_time() -> None:
    async def main() -> None:
        traveller = Traveller()
        task = await traveller.set_out(2)
        assert traveller.journey is not None
        traveller.journey.abandon()
        traveller.journey.expire()
        await asyncio.sleep(0.001)
        assert traveller.ends == [Stop.ABANDONED]
        traveller.journey.expire()
        await task
        assert traveller.ends == [Stop.ABANDONED, Stop.EXPIRED]

    run(main())


def test_a_worker_is_not_given_up_once_the_client_has_some_of_its_answer() -> None:
    async def main() -> None:
        traveller = Traveller()
        task = await traveller.set_out()
        journey = traveller.journey
        assert journey is not None
        journey.reply.start(200, [], length=None)
        journey.abandon()
        await asyncio.sleep(0.001)
        assert not task.done()
        journey.expire()
        await task
        assert traveller.ends == [Stop.EXPIRED]

    run(main())


def test_what_has_ended_cannot_be_stopped() -> None:
    async def main() -> None:
        traveller = Traveller()
        await (await traveller.set_out(0))
        assert traveller.journey is not None
        traveller.journey.expire()
        assert traveller.journey.stop is None

    run(main())
