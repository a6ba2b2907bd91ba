import asyncio
import json
import logging
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import openai
import pytest
from tests.serve.gateway.openai_worker import (
    CHAT,
    MODEL,
    OpenAIWorker,
    Served,
    message_of,
    serving,
    until,
)

from triskele.serve.gateway import Gateway, Settings, parse_keys
from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.journal import Journal, Record
from triskele.serve.routing import LearnedGreedy
from triskele.serve.routing.named import ROUTERS, Policy

KEYS = parse_keys("ann sk-0123456789abcdef 3\nben sk-fedcba9876543210", source="test")
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
Test = Callable[[Served], Coroutine[Any, Any, None]]


def served_by(*workers: OpenAIWorker, settings: Settings | None = None) -> Callable[[Test], None]:
    """Run a test at a gateway before these workers."""

    def run(test: Test) -> None:
        async def whole() -> None:
            async with serving(workers, settings) as served:
                await test(served)
                served.check()

        asyncio.run(whole())

    return run


def asking(served: Served, *, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0)


def test_the_official_client_works() -> None:
    async def test(served: Served) -> None:
        async with asking(served) as client:
            chat = await client.chat.completions.create(model=MODEL, messages=HELLO)
            assert chat.choices[0].message.content == "w"
            assert chat.usage is not None
            assert chat.usage.prompt_tokens_details is not None
            assert chat.usage.prompt_tokens_details.cached_tokens == 4
            text = await client.completions.create(model=MODEL, prompt="Hello")
            assert text.choices[0].text == "w"
            vector = await client.embeddings.create(
                model=MODEL, input="Hello", encoding_format="float"
            )
            assert vector.data[0].embedding == [0.5, 0.25]
            assert [model.id async for model in client.models.list()] == [MODEL, "org/b"]
            assert (await client.models.retrieve("org/b")).id == "org/b"

    served_by(OpenAIWorker(models=[MODEL, "org/b"]))(test)


def test_the_official_client_streams_with_usage() -> None:
    async def test(served: Served) -> None:
        async with asking(served) as client:
            stream = await client.chat.completions.create(
                model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
        words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        assert words == ["w ", "w ", "w ", None]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 3

    served_by(OpenAIWorker())(test)


def test_errors_are_the_official_clients_own_exceptions() -> None:
    async def run() -> None:
        worker = OpenAIWorker()
        async with serving([worker], keys=KEYS) as served:
            async with asking(served, key="sk-wrong") as client:
                with pytest.raises(openai.AuthenticationError, match="expected a valid API key"):
                    await client.models.list()
                with pytest.raises(openai.AuthenticationError):
                    await client.chat.completions.create(model=MODEL, messages=HELLO)
            async with asking(served, key="sk-0123456789abcdef") as client:
                with pytest.raises(openai.NotFoundError, match="'other' does not exist"):
                    await client.chat.completions.create(model="other", messages=HELLO)
                with pytest.raises(openai.NotFoundError):
                    await client.models.retrieve("other")
                wrong: Any = 3
                with pytest.raises(openai.BadRequestError, match="malformed body"):
                    await client.chat.completions.create(model=wrong, messages=HELLO)
                for _ in range(3):
                    await client.chat.completions.create(model=MODEL, messages=HELLO)
                with pytest.raises(openai.RateLimitError, match="used up") as used_up:
                    await client.chat.completions.create(model=MODEL, messages=HELLO)
                assert int(used_up.value.response.headers["retry-after"]) > 0
            async with asking(served, key="sk-fedcba9876543210") as client:
                worker.status = 500
                with pytest.raises(openai.InternalServerError):
                    await client.chat.completions.create(model=MODEL, messages=HELLO)
            assert worker.authorizations == {None}, "keys are the gateway's own"

    asyncio.run(run())


def test_curl_works() -> None:
    async def test(served: Served) -> None:
        body = json.dumps({"model": MODEL, "messages": HELLO, "stream": True})
        command = ["curl", "-sS", "-N", "--fail", served.url + CHAT, "-d", body]
        done = await asyncio.to_thread(
            subprocess.run,
            [*command, "-H", "content-type: application/json"],
            capture_output=True,
            check=True,
            timeout=20,
        )
        assert done.stderr == b""
        assert done.stdout.count(b"data: ") == 5
        assert done.stdout.endswith(b"data: [DONE]\n\n")

    served_by(OpenAIWorker())(test)


@pytest.mark.parametrize("policy", ROUTERS)
def test_every_policy_serves_and_spreads(policy: str) -> None:
    workers = [OpenAIWorker(f"w{n}") for n in range(3)]
    for worker in workers:
        worker.gap = 0.002

    async def test(served: Served) -> None:
        async def client(number: int) -> None:
            for turn in range(10):
                answer = await served.chat(
                    f"{number} " * 100 + f"turn {turn}", stream=turn % 2 == 0
                )
                assert answer.status == 200

        await asyncio.gather(*map(client, range(20)))
        assert sum(len(worker.asked) for worker in workers) == 200
        assert min(len(worker.asked) for worker in workers) >= 10

    served_by(*workers, settings=Settings(policy=Policy(policy, "lru")))(test)


def test_the_policy_is_switched_while_requests_are_under_way() -> None:
    workers = [OpenAIWorker("a"), OpenAIWorker("b")]
    for worker in workers:
        worker.gap = 0.005

    async def test(served: Served) -> None:
        statuses: list[int] = []

        async def client(number: int) -> None:
            for turn in range(12):
                answer = await served.chat(f"{number}, {turn}", stream=turn % 2 == 0)
                statuses.append(answer.status)

        clients = [asyncio.create_task(client(number)) for number in range(8)]
        for policy in (*ROUTERS, "lbgr"):
            n_before = len(statuses)
            answer = await served.ask("PUT", "/admin/policy", {"policy": policy})
            assert json.loads(answer.body) == {"policy": policy}
            status = json.loads((await served.ask("GET", "/admin/status")).body)
            assert status["policy"] == policy
            await until(lambda n=n_before: len(statuses) > n + 3 or len(statuses) == 96)
        await asyncio.gather(*clients)
        assert statuses == [200] * 96
        assert isinstance(served.gateway.fleet.pools[0].router, LearnedGreedy)

    served_by(*workers)(test)


def test_a_switch_to_the_same_policy_forgets_nothing() -> None:
    async def test(served: Served) -> None:
        router = served.gateway.fleet.pools[0].router
        served.gateway.switch("lbgr")
        assert served.gateway.fleet.pools[0].router is router
        served.gateway.switch("lbgr+rlt")
        assert served.gateway.fleet.pools[0].router is not router

    served_by(OpenAIWorker())(test)


@pytest.mark.parametrize("policy", ["lbgr", "cache-aware", "round-robin", "consistent-hash"])
def test_a_worker_that_dies_costs_no_request(policy: str) -> None:
    workers = [OpenAIWorker("a"), OpenAIWorker("b")]
    for worker in workers:
        worker.gap = 0.005

    async def test(served: Served) -> None:
        statuses: list[int] = []

        async def client(number: int) -> None:
            for turn in range(20):
                statuses.append((await served.chat(f"{number}, {turn}")).status)

        clients = [asyncio.create_task(client(number)) for number in range(10)]
        await until(lambda: len(statuses) >= 100)
        await workers[0].kill()
        await asyncio.gather(*clients)
        assert statuses == [200] * 200
        assert served.states() == ["down", "ready"]

    served_by(*workers, settings=Settings(policy=Policy(policy, "lru")))(test)


def test_a_worker_that_returns_is_used_again_soon() -> None:
    workers = [OpenAIWorker("a"), OpenAIWorker("b")]

    async def test(served: Served) -> None:
        loop = asyncio.get_running_loop()
        await workers[0].kill()
        for number in range(6):
            assert (await served.chat(f"{number}")).status == 200
        assert served.states() == ["down", "ready"]
        await asyncio.sleep(0.5)
        n_before = len(workers[0].asked)
        await workers[0].start()
        began = loop.time()
        while len(workers[0].asked) < n_before + 3:
            assert (await served.chat(f"{loop.time()}")).status == 200
            assert loop.time() - began < 10.0
        assert loop.time() - began < 4.0, "within two seconds where the machine is not busy"
        assert served.states() == ["ready", "ready"]

    served_by(*workers)(test)


def test_a_request_goes_only_to_who_has_its_model() -> None:
    workers = [
        OpenAIWorker("a", models=["x"]),
        OpenAIWorker("b", models=["y"]),
        OpenAIWorker("c", models=["x", "y"]),
    ]

    async def test(served: Served) -> None:
        async def load(n: int) -> set[int]:
            asked = [served.chat(f"{n} {number}", model="xy"[number % 2]) for number in range(40)]
            return {answer.status for answer in await asyncio.gather(*asked)}

        assert await load(1) == {200}
        await workers[2].kill()
        assert await load(2) == {200}, "and none is sent where its model is not"
        await workers[0].kill()
        served.gateway.change(workers[2].listed_as, "remove")
        answers = await asyncio.gather(*(served.chat(f"{n}", model="x") for n in range(3)))
        for answer in answers:
            assert answer.status == 503
            assert message_of(answer) == "no worker could answer", "and not where they are"
        assert (await served.chat(model="y")).status == 200
        assert {asked["model"] for asked in workers[1].asked} == {"y"}

    served_by(*workers, settings=Settings(forwarding=Forwarding(worker_seconds=0.2)))(test)


def test_a_request_that_waits_for_a_worker_finds_one_that_is_added() -> None:
    first, second = OpenAIWorker("a"), OpenAIWorker("b")

    async def test(served: Served) -> None:
        await first.kill()
        waiting = asyncio.create_task(served.chat())
        await until(lambda: served.states() == ["down"])
        await second.start()
        try:
            served.gateway.add(second.url)
            assert (await waiting).status == 200
            assert len(second.asked) == 1
        finally:
            await second.kill()

    served_by(first)(test)


def test_predictions_continue_where_they_were_before_a_restart(tmp_path: Path) -> None:
    workers = [OpenAIWorker("a"), OpenAIWorker("b")]
    for worker in workers:
        worker.gap, worker.n_words = 0.04, 1
    prompts = [f"{number} " * 400 for number in range(6)]

    async def life(learned: Path | None) -> float:
        """Return what is predicted of the first request of a life, in seconds."""
        async with serving(workers, learned=learned) as served:
            body = {"model": MODEL, "messages": HELLO, "stream": True}
            first = await served.ask("POST", CHAT, body, [(b"x-triskele-explain", b"1")])
            for prompt in prompts * 2:
                assert (await served.chat(prompt, stream=True)).status == 200
        return float(first.header(b"x-triskele-predicted-ttft") or "nan")

    path = tmp_path / "learned.json"
    cold = asyncio.run(life(path))
    caches = json.loads(path.read_bytes())[0]["state"]["caches"]
    assert sum(map(len, caches.values())) >= len(prompts)
    warm = asyncio.run(life(path))
    assert asyncio.run(life(None)) == pytest.approx(cold)
    assert abs(warm - 0.04) < abs(cold - 0.04) / 2


def test_what_was_learned_survives_lives_without_requests(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    worker = OpenAIWorker()

    async def life(n_requests: int, policy: str = "lbgr", *, is_ready: bool = True) -> None:
        settings = Settings(policy=Policy(policy, "lru"))
        async with serving([worker], settings, learned=path, is_ready=is_ready) as served:
            for number in range(n_requests):
                assert (await served.chat(f"{number} " * 300)).status == 200

    asyncio.run(life(4))
    saved = json.loads(path.read_bytes())
    asyncio.run(life(0))
    asyncio.run(life(0, is_ready=False))
    asyncio.run(life(4, "round-robin"))
    assert json.loads(path.read_bytes()) == saved


def test_a_file_that_is_not_ours_is_reported_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "learned.json"
    path.write_bytes(b"something else")

    async def run() -> None:
        async with serving([OpenAIWorker()], learned=path) as served:
            assert (await served.chat()).status == 200

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert f"{path} is not taken up" in caplog.text
    assert path.with_name("learned.json.unreadable").read_bytes() == b"something else"
    assert json.loads(path.read_bytes())


def test_no_credential_is_ever_shown() -> None:
    async def run() -> None:
        worker = OpenAIWorker()
        async with serving(
            [worker], admin_token="a-token-of-enough-length", credential="upstream-secret"
        ) as served:
            worker.status = 500
            admin = [(b"authorization", b"Bearer a-token-of-enough-length")]
            pages = [
                await served.chat(),
                await served.ask("GET", "/metrics"),
                await served.ask("GET", "/admin/status", None, admin),
                await served.ask("GET", "/openapi.json"),
            ]
            assert worker.authorizations == {b"Bearer upstream-secret"}
            for page in pages:
                shown = page.body + repr(page.headers).encode()
                assert b"upstream-secret" not in shown
                assert b"a-token-of-enough-length" not in shown

    asyncio.run(run())


class Notes:
    """In place of a journal: it keeps what it is given."""

    n_dropped = 0
    directory = None

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        self.records.append(record)


@pytest.mark.parametrize("keeps_text", [False, True])
def test_every_request_is_in_the_journal(keeps_text: bool) -> None:
    notes = Notes()

    async def run() -> None:
        worker = OpenAIWorker()
        settings = Settings(keeps_text=keeps_text)
        async with serving([worker], settings, journal=cast(Journal, notes), keys=KEYS) as served:
            key = (b"authorization", b"Bearer sk-fedcba9876543210")
            body = {"model": MODEL, "messages": HELLO, "stream": True, "user": "u"}
            await served.ask("POST", CHAT, body, [key, (b"x-request-id", b"mine")])
            await served.ask("POST", CHAT, body)

    asyncio.run(run())
    good, refused = notes.records
    assert (good.id, good.endpoint, good.model, good.policy) == ("mine", CHAT, MODEL, "lbgr")
    assert (good.key, good.session, good.status, good.outcome) == ("ben", "u", 200, "finished")
    assert good.worker is not None
    assert good.stream
    assert good.ttft is not None
    assert good.predicted_ttft is not None
    assert 0 < good.ttft <= good.latency
    assert (good.prompt is not None and "Hello" in good.prompt) is keeps_text
    assert (refused.status, refused.outcome, refused.worker) == (401, "refused", None)


def test_why_nobody_answered_is_for_the_journal_and_not_for_clients() -> None:
    notes = Notes()

    async def run() -> None:
        worker = OpenAIWorker()
        settings = Settings(forwarding=Forwarding(worker_seconds=0.1))
        async with serving([worker], settings, journal=cast(Journal, notes)) as served:
            await worker.kill()
            assert message_of(await served.chat()) == "no worker could answer"

    asyncio.run(run())
    assert [record.status for record in notes.records] == [503]
    assert (notes.records[0].error or "").startswith("no worker could answer: no connection")


def test_a_drain_finishes_what_is_under_way() -> None:
    worker = OpenAIWorker()
    worker.gap = 0.05

    async def test(served: Served) -> None:
        under_way = asyncio.create_task(served.chat(stream=True))
        await until(lambda: worker.n_running)
        assert await served.gateway.drain(10.0)
        assert (await under_way).body.endswith(b"data: [DONE]\n\n")

    served_by(worker)(test)


def test_a_drain_ends_in_time_and_says_that_something_was_cut_off() -> None:
    worker = OpenAIWorker()
    worker.may_answer.clear()

    async def test(served: Served) -> None:
        under_way = asyncio.create_task(served.chat())
        await until(lambda: worker.n_running)
        assert not await served.gateway.drain(0.1)
        await asyncio.gather(under_way, return_exceptions=True)
        await until(lambda: worker.n_cancelled)

    served_by(worker)(test)


def test_an_address_in_use_is_an_error_of_the_system() -> None:
    async def test(served: Served) -> None:
        second = Gateway(Settings())
        with pytest.raises(OSError, match="in use"):
            await second.start("127.0.0.1", served.gateway.port)

    served_by()(test)
