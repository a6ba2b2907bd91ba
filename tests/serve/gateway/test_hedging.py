"""A second worker for who waits: one answer, whole, and nobody left at work for nothing."""

import asyncio
import gc
import json
import random
from contextlib import suppress

import pytest
from tests.serve.gateway.upstreams import (
    DONE,
    EVENT,
    Act,
    Front,
    Upstream,
    answer,
    break_off,
    fronted,
    in_turn,
    quick,
    reset,
    run,
    stall,
    start_stream,
    stream,
    until,
    whole,
)

from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.gateway.health import State
from triskele.serve.gateway.journey import Journey
from triskele.serve.gateway.settings import Settings
from triskele.serve.http import BrokenOff, HttpRequest, Reply

HEDGE_SECONDS = 0.05


def settings(
    *, hedge_seconds: float | None = HEDGE_SECONDS, n_attempts: int = 3, seconds: float = 30.0
) -> Settings:
    """Return settings of a round robin, that begins with who was listed first."""
    forwarding = Forwarding(
        n_attempts=n_attempts,
        request_seconds=seconds,
        worker_seconds=0.2,
        hedge_seconds=hedge_seconds,
    )
    made = quick(policy="round-robin")
    return Settings(
        policy=made.policy,
        forwarding=forwarding,
        queueing=made.queueing,
        patience=made.patience,
    )


def saying(text: str, *, after: float = 0.0) -> Act:
    async def act(request: HttpRequest, reply: Reply) -> None:
        await asyncio.sleep(after)
        reply.send(200, json.dumps({"said": text}).encode())

    return act


async def silent_stream(request: HttpRequest, reply: Reply) -> None:
    """Begin an answer, as engines do, and send no event of it."""
    start_stream(reply)
    await asyncio.Event().wait()


def test_nobody_is_asked_twice_unless_that_is_asked_for() -> None:
    async def main() -> None:
        slow, other = Upstream(saying("slow", after=0.3)), Upstream(saying("other"))
        async with fronted(slow, other, settings=settings(hedge_seconds=None)) as front:
            assert (await front.ask()).body == b'{"said": "slow"}'
            await front.settled()
            assert (len(slow.requests), len(other.requests)) == (1, 0)

    assert Forwarding().hedge_seconds is None
    run(main())


@pytest.mark.parametrize("slow_act", [stall, silent_stream], ids=["no head", "a head alone"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_who_has_something_first_answers_and_the_other_is_hung_up_on(
    slow_act: Act, is_stream: bool
) -> None:
    async def main() -> None:
        slow, other = Upstream(slow_act), Upstream(stream() if is_stream else saying("other"))
        async with fronted(slow, other, settings=settings()) as front:
            response = await front.ask(stream=is_stream)
            assert response.status == 200
            if is_stream:
                assert response.body.startswith(3 * EVENT)
                assert response.body.endswith(DONE)
            else:
                assert response.body == b'{"said": "other"}'
            await until(lambda: slow.n_gone == 1)
            await front.settled()
            (record,) = front.records
            assert (record.worker, record.outcome, record.n_retries) == (other.name, "finished", 1)
            assert front.member(slow).tally.n_failures == 0

    run(main())


def test_the_first_may_still_be_the_first_to_answer() -> None:
    async def main() -> None:
        slow, other = Upstream(saying("slow", after=0.3)), Upstream(stall)
        async with fronted(slow, other, settings=settings()) as front:
            assert (await front.ask()).body == b'{"said": "slow"}'
            await until(lambda: other.n_gone == 1)
            await front.settled()
            assert [record.worker for record in front.records] == [slow.name]

    run(main())


def test_who_answers_in_time_is_alone_however_long_the_answer_takes() -> None:
    async def main() -> None:
        first, other = Upstream(stream(8, gap=HEDGE_SECONDS)), Upstream(stream())
        async with fronted(first, other, settings=settings()) as front:
            response = await front.ask(stream=True)
            assert response.body.startswith(8 * EVENT)
            await front.settled()
            assert (len(first.requests), len(other.requests)) == (1, 0)

    run(main())


def test_answers_of_the_same_moment_are_never_mixed() -> None:
    async def main() -> None:
        together = asyncio.Event()

        def worded(letter: bytes) -> Act:
            async def act(request: HttpRequest, reply: Reply) -> None:
                await together.wait()
                start_stream(reply)
                for _ in range(20):
                    reply.write(b"data: %b\n\n" % (letter * 10))
                    await asyncio.sleep(0)
                reply.write(DONE)
                reply.end()

            return act

        one, two = Upstream(worded(b"a")), Upstream(worded(b"b"))
        async with fronted(one, two, settings=settings()) as front:
            for _ in range(30):
                together.clear()
                n_before = one.n_running + two.n_running
                assert n_before == 0
                asked = asyncio.create_task(front.ask(stream=True))
                await until(lambda: one.n_running == two.n_running == 1)
                together.set()
                body = (await asked).body
                assert body in {b"data: %b\n\n" % (c * 10) * 20 + DONE for c in (b"a", b"b")}
                await front.settled()
                await until(lambda: one.n_running == two.n_running == 0)

    run(main())


@pytest.mark.parametrize("act", [reset, answer(500), answer(429)], ids=["reset", "500", "429"])
def test_a_second_that_fails_leaves_the_first_its_time(act: Act) -> None:
    async def main() -> None:
        slow, other = Upstream(saying("slow", after=0.3)), Upstream(act)
        async with fronted(slow, other, settings=settings(n_attempts=2)) as front:
            response = await front.ask()
            assert (response.status, response.body) == (200, b'{"said": "slow"}')
            await front.settled()
            assert other.requests

    run(main())


def test_after_two_that_failed_a_third_is_asked() -> None:
    async def main() -> None:
        async def late_reset(request: HttpRequest, reply: Reply) -> None:
            await asyncio.sleep(0.2)
            reply.abort()

        acts = late_reset, answer(503), saying("third")
        workers = [Upstream(act) for act in acts]
        async with fronted(*workers, settings=settings()) as front:
            assert (await front.ask()).body == b'{"said": "third"}'
            await front.settled()
            assert all(worker.requests for worker in workers)

    run(main())


def test_where_all_fail_the_last_error_is_passed_on() -> None:
    async def main() -> None:
        async def late(request: HttpRequest, reply: Reply) -> None:
            await asyncio.sleep(0.15)
            reply.send(500, b'{"error": {"message": "mine"}}')

        workers = [Upstream(late), Upstream(late)]
        async with fronted(*workers, settings=settings()) as front:
            response = await front.ask()
            assert (response.status, response.body) == (500, b'{"error": {"message": "mine"}}')
            await front.settled()
            assert [len(worker.requests) for worker in workers] == [1, 1]
            assert [record.outcome for record in front.records] == ["failed"]

    run(main())


def test_an_answer_that_breaks_off_after_its_first_event_is_broken_off() -> None:
    async def main() -> None:
        slow, other = Upstream(stall), Upstream(break_off)
        async with fronted(slow, other, settings=settings()) as front:
            with pytest.raises(BrokenOff):
                await front.ask(stream=True)
            await until(lambda: slow.n_gone == 1)
            await front.settled()
            assert [record.outcome for record in front.records] == ["failed"]

    run(main())


def test_the_only_worker_is_asked_once() -> None:
    async def main() -> None:
        alone = Upstream(saying("alone", after=0.3))
        async with fronted(alone, settings=settings()) as front:
            assert (await front.ask()).body == b'{"said": "alone"}'
            assert len(alone.requests) == 1

    run(main())


def test_a_client_that_leaves_leaves_both() -> None:
    async def main() -> None:
        workers = [Upstream(stall), Upstream(stall)]
        async with fronted(*workers, settings=settings()) as front:
            asked = asyncio.create_task(front.ask())
            await until(lambda: all(worker.n_running for worker in workers))
            asked.cancel()
            await until(lambda: all(worker.n_gone == 1 for worker in workers))
            await front.settled()
            assert [record.outcome for record in front.records] == ["cancelled"]
            assert all(front.member(worker).tally.n_failures == 0 for worker in workers)

    run(main())


def test_a_request_whose_time_is_over_ends_at_both() -> None:
    async def main() -> None:
        workers = [Upstream(stall), Upstream(stall)]
        async with fronted(*workers, settings=settings(seconds=0.4)) as front:
            assert (await front.ask()).status == 504
            await until(lambda: all(worker.n_gone == 1 for worker in workers))
            await front.settled()
            assert [record.status for record in front.records] == [504]

    run(main())


def test_nobody_is_asked_beside_another_while_others_wait() -> None:
    async def main() -> None:
        workers = [Upstream(saying(f"{n}", after=0.2)) for n in range(2)]
        made = settings()
        crowded = Settings(
            policy=made.policy,
            forwarding=made.forwarding,
            queueing=quick(n_per_worker=1).queueing,
            patience=made.patience,
        )
        async with fronted(*workers, settings=crowded) as front:
            answers = await asyncio.gather(*(front.ask() for _ in range(6)))
            assert {each.status for each in answers} == {200}
            await front.settled()
            # The last two have nobody behind them.
            assert sum(len(worker.requests) for worker in workers) <= 8

    run(main())


def moody(name: str, rng: random.Random) -> Act:
    """Return what answers, soon or late, or fails in one of many ways."""

    async def act(request: HttpRequest, reply: Reply) -> None:
        await asyncio.sleep(rng.choice([0.0, 0.0, HEDGE_SECONDS, 3 * HEDGE_SECONDS]))
        kind = rng.choice(["well", "well", "well", "well", "reset", "error", "stall"])
        if kind == "reset":
            reply.abort()
        elif kind == "error":
            reply.send(rng.choice([429, 500, 503]), b'{"error": {"message": "no"}}')
        elif kind == "stall":
            await asyncio.sleep(0.3)
            reply.abort()
        elif json.loads(request.body).get("stream"):
            start_stream(reply)
            for _ in range(3):
                reply.write(f"data: {name}\n\n".encode())
                await asyncio.sleep(rng.choice([0.0, 0.01]))
            reply.write(DONE)
            reply.end()
        else:
            reply.send(200, name.encode())

    return act


@pytest.mark.parametrize("seed", range(6))
def test_in_a_storm_everybody_gets_one_whole_answer_or_one_clear_error(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"w{number}" for number in range(4)]
    good = {name.encode() for name in names}
    good |= {f"data: {name}\n\n".encode() * 3 + DONE for name in names}

    async def client(front: Front, number: int) -> None:
        for turn in range(15):
            asked = front.ask(f"{number} {turn}", stream=bool(turn % 2))
            if rng.random() < 0.15:
                with suppress(TimeoutError):
                    await asyncio.wait_for(asked, rng.uniform(0, 3 * HEDGE_SECONDS))
                continue
            response = await asked
            assert response.body in good or response.status in (429, 500, 503)

    async def main() -> None:
        workers = [Upstream(moody(name, rng)) for name in names]
        async with fronted(*workers, settings=settings(seconds=5.0)) as front:
            await asyncio.gather(*(client(front, number) for number in range(8)))
            await front.settled()
            await until(lambda: not any(worker.n_running for worker in workers))
            assert len({record.id for record in front.records}) == len(front.records)

    run(main())


def learning() -> Settings:
    made = settings()
    return Settings(
        policy=quick().policy,
        forwarding=made.forwarding,
        queueing=made.queueing,
        patience=made.patience,
    )


def test_a_router_learns_of_both_and_keeps_neither() -> None:
    async def main() -> None:
        slow = Upstream(in_turn(stall, whole))
        other = Upstream(in_turn(whole, stall))
        async with fronted(slow, other, settings=learning()) as front:
            for _ in range(4):
                assert (await front.ask()).status == 200
            await front.settled()

    run(main())


def test_who_hangs_is_not_taken_for_idle() -> None:
    async def main() -> None:
        hung, well = Upstream(stall), Upstream(whole)
        async with fronted(hung, well, settings=learning()) as front:
            for number in range(20):
                assert (await front.ask(f"{number} " * 50)).status == 200
            await front.settled()
            assert len(hung.requests) <= 3
            assert front.member(hung).tally.n_failures == 0, "its checks are for its health"

    run(main())


def test_one_that_has_returned_is_not_asked_beside_its_trial() -> None:
    async def main() -> None:
        slow = Upstream(saying("slow", after=0.4))
        back = Upstream(in_turn(reset, stall))
        async with fronted(back, slow, settings=settings()) as front:
            await back.stop()
            assert (await front.ask()).body == b'{"said": "slow"}'
            await until(lambda: front.state(back) is State.DOWN)
            await back.start()
            await until(lambda: front.state(back) is State.READY)
            assert front.member(back).health.is_on_trial
            back.act = stall
            trial = asyncio.create_task(front.ask("trial"))
            await until(lambda: back.n_running == 1)
            assert (await front.ask("other")).body == b'{"said": "slow"}'
            assert back.n_running <= 1
            await trial
            await front.settled()

    run(main())


def test_the_journal_knows_the_worker_of_a_request_that_was_left_at_once() -> None:
    async def main() -> None:
        alone = Upstream(stall)
        async with fronted(alone, settings=settings()) as front:
            asked = asyncio.create_task(front.ask())
            await until(lambda: alone.n_running)
            asked.cancel()
            await front.settled()
            (record,) = front.records
            assert (record.worker, record.outcome) == (alone.name, "cancelled")

    run(main())


def journeys() -> list[Journey]:
    # Not isinstance: other modules have objects that warn when they are asked for their class.
    return [each for each in gc.get_objects() if type(each) is Journey]


def test_requests_leave_no_cycles() -> None:
    async def main() -> None:
        slow, other = Upstream(silent_stream), Upstream(stream())
        async with fronted(slow, other, settings=settings()) as front:
            await front.ask(stream=True)
            await front.settled()
            await until(lambda: slow.n_gone == 1)
            gc.collect()
            gc.disable()
            # Of other tests, which something may still hold.
            before = journeys()
            try:
                for _ in range(4):
                    await front.ask(stream=True)
                await front.settled()
                await until(lambda: not slow.n_running)
                await asyncio.sleep(0.05)
                assert not [each for each in journeys() if all(each is not old for old in before)]
            finally:
                gc.enable()

    run(main())


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_seconds_that_are_none_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds above 0"):
        Forwarding(hedge_seconds=seconds)
