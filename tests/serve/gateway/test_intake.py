"""What is asked, and of which model: refused, waited for, or chosen, before anything is sent."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.serve.gateway.openai_worker import CHAT, OpenAIWorker, Served, message_of, until

from triskele.serve.cache import token_key
from triskele.serve.gateway import Gateway, Settings
from triskele.serve.gateway.choosing import Choosing
from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.gateway.health import Patience
from triskele.serve.gateway.intake import EMBEDDINGS, LONG_BODY
from triskele.serve.http import Response
from triskele.serve.routing.capability import Preference
from triskele.serve.routing.capability_table import Shelf, table_of

TEXT = "/v1/completions"


class Letters:
    """A tokenizer of letters, which may take long."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.n_asked = 0

    def of_text(self, text: str) -> bytes:
        self.n_asked += 1
        time.sleep(self.seconds if len(text) > LONG_BODY else 0.0)
        return token_key(list(map(ord, text)), 1)

    def of_chat(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        return self.of_text("".join(str(message["content"]) for message in messages))


@asynccontextmanager
async def before(
    *workers: OpenAIWorker, worker_seconds: float = 5.0, waits: bool = True, **given: Any
) -> AsyncIterator[Served]:
    settings = Settings(
        forwarding=Forwarding(worker_seconds=worker_seconds, page_size=16),
        choosing=Choosing(embed_seconds=5.0, preference=Preference(explore=0.0)),
        patience=Patience(check_seconds=0.2, first_seconds=0.05, eager_wait=0.1, longest_wait=0.2),
    )
    gateway = Gateway(settings, **given)
    for worker in workers:
        await worker.start()
        gateway.add(worker.url, worker.name)
    await gateway.start("127.0.0.1", 0)
    served = Served(gateway, list(workers))
    try:
        if waits and workers:
            await gateway.ready(n_workers=len(workers), seconds=20.0)
        yield served
        served.check()
    finally:
        served.origin.close()
        await gateway.drain(1.0)
        for worker in workers:
            await worker.kill()


def play(
    scene: Callable[[Served], Coroutine[Any, Any, None]], *workers: OpenAIWorker, **how: Any
) -> None:
    async def run() -> None:
        async with before(*workers, **how) as served:
            await scene(served)

    asyncio.run(run())


async def complete(served: Served, body: object) -> Response:
    return await served.ask("POST", TEXT, body)


def code_of(answer: Response) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]["code"]


def test_a_named_model_is_obeyed_and_one_that_nobody_has_is_not_there() -> None:
    async def scene(served: Served) -> None:
        for name in ("a", "b"):
            answer = await complete(served, {"model": name, "prompt": "x"})
            assert json.loads(answer.body)["choices"][0]["text"] == name
        assert code_of(await complete(served, {"model": "c", "prompt": "x"})) == (
            404,
            "model_not_found",
        )

    play(scene, OpenAIWorker("a", models=["a"]), OpenAIWorker("b", models=["b"]))


def test_who_names_no_model_gets_the_only_one_or_is_asked_for_a_name() -> None:
    async def alone(served: Served) -> None:
        assert (await complete(served, {"prompt": "x"})).status == 200

    async def of_two(served: Served) -> None:
        assert code_of(await complete(served, {"prompt": "x"})) == (400, "model_missing")

    play(alone, OpenAIWorker("a", models=["a"]))
    play(of_two, OpenAIWorker("a", models=["a", "b"]))


@pytest.mark.parametrize("has_auto", [False, True])
def test_while_there_is_no_worker_nothing_is_served(tmp_path: Path, has_auto: bool) -> None:
    async def scene(served: Served) -> None:
        model = "auto" if has_auto else "a"
        answer = await complete(served, {"model": model, "prompt": "x"})
        assert code_of(answer) == (503, "no_worker")
        assert answer.header(b"retry-after") == b"1"

    play(scene, worker_seconds=0.1, capability=tmp_path if has_auto else None)


@pytest.mark.parametrize("model", ["a", "auto"])
def test_a_gateway_that_has_just_begun_says_no_to_nothing_yet(tmp_path: Path, model: str) -> None:
    async def scene(served: Served) -> None:
        assert served.gateway.fleet.n_usable == 0
        assert (await complete(served, {"model": model, "prompt": "x"})).status == 200

    play(scene, OpenAIWorker("a", models=["a"]), waits=False, capability=tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"model":7}',
        b'{"model":"auto","prompt":"x","\xff":1}',
        b'{"model":"auto","prompt":"x","a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"model":"auto","prompt":"x","\\ud800":1}',
    ],
    ids=["nothing", "no object", "number", "field of no text", "nested", "half a character"],
)
def test_what_cannot_be_read_is_refused_and_nothing_of_it_is_sent(
    tmp_path: Path, body: bytes
) -> None:
    async def scene(served: Served) -> None:
        answer = await complete(served, body)
        assert code_of(answer) == (400, "malformed_body")
        assert message_of(answer).startswith("malformed body: ")
        assert not served.workers[0].asked

    play(scene, OpenAIWorker("a", models=["a"]), capability=tmp_path)


def test_others_are_answered_while_a_long_prompt_is_tokenized() -> None:
    tokens = Letters(seconds=1.0)

    async def scene(served: Served) -> None:
        long = asyncio.create_task(complete(served, {"model": "a", "prompt": "x" * 2 * LONG_BODY}))
        await until(lambda: tokens.n_asked)
        for _ in range(5):
            assert (await complete(served, {"model": "a", "prompt": "short"})).status == 200
        assert not long.done()
        assert (await long).status == 200

    play(scene, OpenAIWorker("a", models=["a"]), tokens=tokens)


def test_a_conversation_is_sent_as_it_came_whatever_it_is_tokenized_to() -> None:
    async def scene(served: Served) -> None:
        body = {"model": "a", "messages": [{"role": "user", "content": "\u00e9" * 3000}], "x": 1}
        assert (await served.ask("POST", CHAT, body)).status == 200
        assert served.workers[0].asked == [body]

    play(scene, OpenAIWorker("a", models=["a"]), tokens=Letters())


def test_what_a_model_would_take_is_asked_of_those_who_have_it(tmp_path: Path) -> None:
    slow, fast = OpenAIWorker("s", models=["slow", "both"]), OpenAIWorker("f", models=["f", "both"])
    slow.gap = 0.15

    async def scene(served: Served) -> None:
        assert len(served.gateway.fleet.pools) == 1
        for number in range(8):
            for name in ("slow", "f"):
                asked = {"model": name, "prompt": f"{number} " * 100, "max_tokens": 3}
                assert (await complete(served, asked)).status == 200
        asked = {"model": "auto", "prompt": "y" * 400, "max_tokens": 3}
        answer = await served.ask("POST", TEXT, asked, [(b"x-triskele-explain", b"1")])
        decision = json.loads(answer.header(b"x-triskele-decision") or b"")
        seconds = {each["model"]: each["latency"] for each in decision["candidates"]}
        assert seconds.keys() == {"slow", "f", "both"}
        assert seconds["slow"] > 1.02 * seconds["f"]
        assert seconds["both"] == pytest.approx(seconds["f"])
        assert decision["model"] != "slow"
        assert answer.header(b"x-triskele-worker") == b"f"

    play(scene, slow, fast, capability=tmp_path)


def test_nobody_chooses_the_model_of_embeddings(tmp_path: Path) -> None:
    async def scene(served: Served) -> None:
        assert (await complete(served, {"model": "auto", "prompt": "x"})).status == 200
        for model, code in (("auto", 404), ("a", 200)):
            asked = {"model": model, "input": "x"}
            assert (await served.ask("POST", EMBEDDINGS, asked)).status == code

    play(scene, OpenAIWorker("a", models=["a"]), capability=tmp_path)


def test_what_was_learned_before_is_taken_up_though_the_first_request_is_for_auto(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Shelf(tmp_path / "table").publish(table_of(["a"], prices=[1.0], bias=[0.0]))
    how = {"learned": tmp_path / "learned", "capability": tmp_path / "table"}
    worker = OpenAIWorker("a", models=["a"])

    async def first(served: Served) -> None:
        for number in range(8):
            await complete(served, {"model": "a", "prompt": f"{number} " * 100})

    async def second(served: Served) -> None:
        (pool,) = served.gateway.fleet.pools
        assert pool.memory is not None
        before = json.dumps(pool.memory["lengths"])
        assert (await complete(served, {"model": "auto", "prompt": "x"})).status == 200
        assert pool.memory is None
        after: Any = pool.router
        assert len(json.dumps(after.state()["lengths"])) >= len(before) > 10

    play(first, worker, **how)
    with caplog.at_level(logging.WARNING):
        play(second, worker, **how)
    assert caplog.messages == []
