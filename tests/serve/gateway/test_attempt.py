import asyncio
import random
from collections import Counter

import pytest
from tests.serve.gateway.upstreams import (
    SECONDS,
    Act,
    Front,
    Upstream,
    answer,
    break_off,
    chat,
    fronted,
    post,
    quick,
    reset,
    run,
    stall,
    stall_after_first,
    stream,
    until,
    whole,
)

from triskele.serve.gateway.health import Fault, State
from triskele.serve.http import HttpRequest, Reply, UpstreamError
from triskele.serve.routing import Outcome, Phase, Request, Worker
from triskele.serve.routing.named import ROUTERS


class Noted:
    """A router that notes what it is told, and lets another choose."""

    def __init__(self, front: Front) -> None:
        (pool,) = front.gateway.fleet.pools
        self._router = pool.router
        self.asked: list[Request] = []
        self.told: list[Outcome] = []
        pool.router = self

    def choose(self, request: Request, workers: tuple[Worker, ...], now: float) -> Worker:
        self.asked.append(request)
        return self._router.choose(request, workers, now)

    def observe(self, outcome: Outcome, now: float) -> None:
        self.told.append(outcome)
        self._router.observe(outcome, now)

    @property
    def phases(self) -> list[Phase]:
        return [outcome.phase for outcome in self.told]


@pytest.mark.parametrize(
    ("act", "phases", "n_failures"),
    [
        (whole, [Phase.FINISHED], 0),
        (stream(), [Phase.FIRST_TOKEN, Phase.FINISHED], 0),
        (answer(400), [Phase.CANCELLED], 0),
        (answer(429), [Phase.CANCELLED], 0),
        (answer(500), [Phase.FAILED], 1),
        (answer(501), [Phase.FAILED], 1),
        (break_off, [Phase.FIRST_TOKEN, Phase.FAILED], 1),
    ],
    ids=["whole", "stream", "400", "429", "500", "501", "break off"],
)
def test_the_router_hears_of_every_fate_once(
    act: Act, phases: list[Phase], n_failures: int
) -> None:
    async def main() -> None:
        worker = Upstream(act)
        async with fronted(worker, settings=quick(n_attempts=1)) as front:
            noted = Noted(front)
            try:
                await front.ask("x" * 4000)
            except UpstreamError:
                assert act is break_off
            await until(lambda: front.records)
            assert noted.phases == phases
            assert {outcome.worker for outcome in noted.told} == {worker.name}
            member = front.member(worker)
            assert (member.tally.n_requests, member.tally.n_failures) == (1, n_failures)
            assert not member.exchanges

    run(main())


def test_cached_tokens_are_told_in_the_routers_own() -> None:
    async def main() -> None:
        worker = Upstream(whole)
        async with fronted(worker) as front:
            noted = Noted(front)
            await front.ask("x" * 4000)
            await until(lambda: front.records)
            (request,), (outcome,) = noted.asked, noted.told
            # The worker says 25 of 100.
            assert outcome.n_cached == round(request.n_prompt / 4)
            assert outcome.n_output == 7
            member = front.member(worker)
            tally = member.tally
            assert (tally.n_prompt, tally.n_cached, tally.n_output) == (100, 25, 7)

    run(main())


@pytest.mark.parametrize(
    "usage",
    [
        b'{"prompt_tokens": 0, "prompt_tokens_details": {"cached_tokens": 5}}',
        b'{"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 500}}',
        b'{"prompt_tokens": -5, "completion_tokens": -5}',
        b'{"prompt_tokens": 1%s, "completion_tokens": 1%s}' % (b"0" * 400, b"0" * 400),
        b'{"prompt_tokens": 1e999}',
    ],
)
def test_a_worker_that_counts_wrongly_does_no_harm(usage: bytes) -> None:
    async def main() -> None:
        worker = Upstream(answer(200, b'{"usage": %b}' % usage))
        async with fronted(worker) as front:
            for _ in range(3):
                assert (await front.ask()).status == 200
            await front.settled()
            assert {record.outcome for record in front.records} == {"finished"}

    run(main())


def test_who_is_avoided_is_whom_the_request_failed_at() -> None:
    async def main() -> None:
        bad, good = Upstream(answer(500)), Upstream(whole)
        async with fronted(bad, good, settings=quick(policy="round-robin")) as front:
            noted = Noted(front)
            assert (await front.ask()).status == 200
            assert [request.avoid for request in noted.asked] == [(), (bad.name,)]
            assert len({request.id for request in noted.asked}) == 1
            assert noted.phases == [Phase.FAILED, Phase.FINISHED]

    run(main())


def test_a_worker_that_goes_down_gives_up_what_it_has_not_begun_to_answer() -> None:
    async def main() -> None:
        hung, well = Upstream(stall), Upstream(stream())
        settings = quick(policy="round-robin", check_seconds=0.1)
        async with fronted(hung, well, settings=settings) as front:
            first = [asyncio.create_task(front.ask(stream=True)) for _ in range(4)]
            await until(lambda: hung.n_running == 2)
            hung.is_well = False
            responses = await asyncio.gather(*first)
            assert [response.status for response in responses] == [200] * 4
            assert front.state(hung) is State.DOWN
            await until(lambda: hung.n_gone == 2)
            await front.settled()
            assert sorted(record.n_retries for record in front.records) == [0, 0, 1, 1]
            assert {record.worker for record in front.records} == {well.name}

    run(main())


def test_a_worker_that_goes_down_goes_on_with_what_it_has_begun_to_answer() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def slow(request: HttpRequest, reply: Reply) -> None:
            reply.start(200, [(b"content-type", b"text/event-stream")], length=None)
            reply.write(b"data: 1\n\n")
            await go_on.wait()
            reply.write(b"data: [DONE]\n\n")
            reply.end()

        worker = Upstream(slow)
        async with fronted(worker, settings=quick(check_seconds=0.1)) as front:
            task = asyncio.create_task(front.ask(stream=True))
            await until(lambda: worker.n_running)
            worker.is_well = False
            await until(lambda: front.state(worker) is State.DOWN)
            go_on.set()
            assert (await task).body == b"data: 1\n\ndata: [DONE]\n\n"
            await front.settled()
            assert front.records[0].outcome == "finished"

    run(main())


def test_a_connection_that_is_refused_gives_up_the_others_and_not_itself() -> None:
    async def main() -> None:
        worker, other = Upstream(stall), Upstream()
        async with fronted(worker, other, settings=quick(check_seconds=60.0)) as front:
            member = front.member(worker)
            tasks = [asyncio.create_task(front.ask(str(n))) for n in range(10)]
            await until(lambda: worker.n_running + len(front.records) == 10)
            n_waiting = worker.n_running
            assert n_waiting > 0
            front.gateway.fleet.failed(
                member, member.health.sent(), Fault.REFUSED, asyncio.get_running_loop().time(), "no"
            )
            assert [r.status for r in await asyncio.gather(*tasks)] == [200] * 10
            await front.settled()
            assert Counter(r.n_retries for r in front.records) == {0: 10 - n_waiting, 1: n_waiting}
            assert len(other.requests) == 10

    run(main())


def test_a_client_that_leaves_in_the_middle_of_a_trial_leaves_it_to_the_next() -> None:
    async def main() -> None:
        worker = Upstream(stall)
        async with fronted(worker, settings=quick(check_seconds=60.0)) as front:
            health = front.member(worker).health
            await worker.stop()
            early = asyncio.create_task(front.ask())
            await until(lambda: health.state is State.DOWN)
            await worker.start()
            await until(lambda: worker.n_running)
            # No check is to end the trial.
            worker.is_awake.clear()
            assert health.is_on_trial
            assert not health.is_routable
            early.cancel()
            await until(lambda: health.is_routable)
            assert health.is_on_trial
            worker.act = whole
            assert (await front.ask()).status == 200
            assert not health.is_on_trial
            await front.settled()

    run(main())


def test_a_worker_that_breaks_every_stream_off_is_suspected_whatever_it_sent_before() -> None:
    async def main() -> None:
        worker = Upstream(break_off)
        async with fronted(worker, settings=quick(check_seconds=60.0)) as front:
            # No check is to clear it.
            worker.is_awake.clear()
            for _ in range(3):
                assert front.state(worker) is State.READY
                with pytest.raises(UpstreamError):
                    await front.ask(stream=True)
            await until(lambda: front.state(worker) is State.SUSPECT)
            await front.settled()

    run(main())


def test_the_first_event_of_a_trial_does_not_end_it() -> None:
    async def main() -> None:
        worker = Upstream(stall)
        async with fronted(worker, settings=quick(check_seconds=60.0)) as front:
            health = front.member(worker).health
            await worker.stop()
            early = asyncio.create_task(front.ask(stream=True))
            await until(lambda: health.state is State.DOWN)
            worker.act = stall_after_first
            await worker.start()
            await until(lambda: worker.n_running)
            worker.is_awake.clear()
            async with front.connected() as (reader, writer):
                writer.write(post(chat(stream=True)))
                await reader.readuntil(b"data: ")
                assert health.is_on_trial
            early.cancel()
            await front.settled()

    run(main())


def test_a_worker_that_is_removed_finishes_what_it_has() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def wait(request: HttpRequest, reply: Reply) -> None:
            await go_on.wait()
            await whole(request, reply)

        worker, other = Upstream(wait), Upstream()
        async with fronted(worker, other, settings=quick(policy="round-robin")) as front:
            tasks = [asyncio.create_task(front.ask()) for _ in range(4)]
            await until(lambda: worker.n_running == 2)
            member = front.gateway.change(worker.name, "remove")
            assert [(await front.ask()).status for _ in range(4)] == [200] * 4
            assert len(worker.requests) == 2
            go_on.set()
            assert [response.status for response in await asyncio.gather(*tasks)] == [200] * 4
            await front.settled()
            assert not member.exchanges

    run(main())


def test_what_is_under_way_at_a_change_of_policy_is_told_to_the_router_that_sent_it() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def wait(request: HttpRequest, reply: Reply) -> None:
            await go_on.wait()
            await whole(request, reply)

        worker = Upstream(wait)
        async with fronted(worker) as front:
            noted = Noted(front)
            task = asyncio.create_task(front.ask())
            await until(lambda: worker.n_running)
            front.gateway.switch("round-robin")
            go_on.set()
            assert (await task).status == 200
            assert (await front.ask()).status == 200
            assert (len(noted.asked), noted.phases) == (1, [Phase.FINISHED])
            await front.settled()
            assert [record.policy for record in front.records] == ["lbgr", "round-robin"]

    run(main())


class Whim:
    """Does something else every time."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._acts: list[Act] = [
            *[whole, stream(3), stream(5, gap=0.005)] * 3,
            self._late,
            break_off,
            reset,
            stall,
            stall_after_first,
            *(answer(status) for status in (400, 429, 500, 503)),
        ]

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        await self._rng.choice(self._acts)(request, reply)

    async def _late(self, request: HttpRequest, reply: Reply) -> None:
        await asyncio.sleep(self._rng.random() * 0.1)
        await whole(request, reply)


async def storm(front: Front, workers: list[Upstream], rng: random.Random, n: int) -> None:
    """Send requests of which some leave, while workers vanish, return, drain and are removed."""

    async def one(number: int) -> None:
        await asyncio.sleep(rng.random())
        body = chat(f"{number % 7} " * 300, stream=rng.random() < 0.5)
        async with front.connected() as (reader, writer):
            writer.write(post(body, "Connection: close"))
            patience = rng.choice([0.0, 0.01, 0.05, 0.2, SECONDS])
            try:
                async with asyncio.timeout(patience):
                    await reader.read()
            except (TimeoutError, ConnectionError):
                pass

    is_over = asyncio.Event()

    async def trouble() -> None:
        while not is_over.is_set():
            await asyncio.sleep(rng.random() * 0.1)
            worker = rng.choice(workers)
            what = rng.choice(["stop", "ill", "drain", "remove", "policy"])
            if what == "stop":
                await worker.stop()
                await asyncio.sleep(rng.random() * 0.1)
                await worker.start()
            elif what == "ill":
                worker.is_well = False
                await asyncio.sleep(0.15)
                worker.is_well = True
            elif what == "policy":
                front.switch(rng.choice(list(ROUTERS)))
            elif what == "drain":
                front.gateway.change(worker.name, "drain")
                await asyncio.sleep(rng.random() * 0.05)
                front.gateway.change(worker.name, "resume")
            else:
                front.gateway.change(worker.name, "remove")
                await asyncio.sleep(rng.random() * 0.05)
                front.gateway.add(worker.url)

    troubled = asyncio.create_task(trouble())
    await asyncio.gather(*(one(number) for number in range(n)))
    is_over.set()
    await troubled


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("on_uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_whatever_happens_nothing_stays_reserved_and_every_request_has_one_record(
    seed: int, on_uvloop: bool
) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        workers = [Upstream(Whim(rng)) for _ in range(3)]
        settings = quick(
            request_seconds=0.8, worker_seconds=0.3, n_per_worker=3, n_queued=3, queue_seconds=0.2
        )
        n = 250
        async with fronted(*workers, settings=settings) as front:
            await storm(front, workers, rng, n)
            await until(lambda: not front.gateway._forwarder.journeys)
            await front.settled()
            assert len(front.records) <= n
            # Those that left before their request was read were never here.
            assert len(front.records) > 0.5 * n
            assert len({record.id for record in front.records}) == len(front.records)
            assert {record.outcome for record in front.records} == {
                "finished",
                "failed",
                "cancelled",
                "refused",
            }
            # And it still serves.
            for worker in workers:
                worker.act = whole
            await front.gateway.ready(n_workers=3, seconds=SECONDS)
            assert [(await front.ask(str(n))).status for n in range(9)] == [200] * 9
            await front.settled()
            await until(lambda: not any(worker.n_running for worker in workers))

    run(main(), on_uvloop=on_uvloop)
