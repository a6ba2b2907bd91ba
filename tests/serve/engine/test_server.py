import asyncio
import json
import random
import time
from typing import Any

import openai
import pytest
from tests.serve.engine.models import assert_nothing_is_held, greedy, tiny_engine
from tests.serve.engine.serving import Site, serve

from triskele.serve.engine import Batching, Engine
from triskele.serve.http import fetch

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
# Printable bytes, so that answers are text: the tiny model would say anything.
PLAIN = {"temperature": 0, "logit_bias": {str(n): 50 for n in range(97, 123)}, "max_tokens": 8}


def slow_engine() -> Engine:
    """Return an engine whose answers are not over before anybody can act."""
    engine = tiny_engine()
    inner = engine._forward

    class Slow:
        def run(self, *arguments: Any) -> Any:
            time.sleep(0.01)
            return inner.run(*arguments)

    engine._forward = Slow()
    return engine


def test_a_completion_is_answered_and_counted() -> None:
    async def use(site: Site) -> None:
        prompt = [1, 2, 1, 2, 1, 1, 2, 2, 1]
        for n_cached in (0, 8):
            body = await site.post_json(COMPLETIONS, prompt=prompt, temperature=0, max_tokens=6)
            assert body["usage"] == {
                "prompt_tokens": 9,
                "completion_tokens": 6,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": n_cached},
            }
            expected = bytes(token for token in greedy(prompt, 6) if token < 256)
            assert body["choices"][0]["text"] == expected.decode(errors="replace")
            assert body["choices"][0]["finish_reason"] == "length"
            assert (body["model"], body["created"]) == ("tiny", 1234)

    assert_nothing_is_held(serve(use))


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_stream_says_what_a_whole_answer_says(path: str) -> None:
    async def use(site: Site) -> None:
        asked: dict[str, Any] = {**PLAIN, "logprobs": 1 if path == COMPLETIONS else True}
        asked |= {"messages": HELLO} if path == CHAT else {"prompt": "hello"}
        (whole,) = (await site.post_json(path, **asked))["choices"]
        events = await site.stream(path, **asked, stream_options={"include_usage": True})
        *told, usage = events
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == 8
        assert usage["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
        choices = [choice for event in told for choice in event["choices"]]
        if path == CHAT:
            assert choices[0]["delta"] == {"role": "assistant", "content": ""}
            text = "".join(choice["delta"].get("content", "") for choice in choices)
            assert text == whole["message"]["content"]
            listed = [each for c in choices[1:] for each in c["logprobs"]["content"]]
            expected = whole["logprobs"]["content"]
            assert [each["token"] for each in listed] == [each["token"] for each in expected]
            assert [each["logprob"] for each in listed] == pytest.approx(
                [each["logprob"] for each in expected]
            )
        else:
            assert "".join(choice["text"] for choice in choices) == whole["text"]
        assert len(text if path == CHAT else whole["text"]) == 8
        assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["length"]

    serve(use)


def test_several_prompts_and_several_answers_to_each() -> None:
    async def use(site: Site) -> None:
        asked = {**PLAIN, "temperature": 1.0, "seed": 3, "n": 2}
        body = await site.post_json(COMPLETIONS, prompt=["hello", "world"], **asked)
        texts = [choice["text"] for choice in body["choices"]]
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
        assert texts[0] != texts[1]
        assert body["usage"]["prompt_tokens"] == 10
        again = await site.stream(COMPLETIONS, prompt=["hello", "world"], **asked)
        for n, text in enumerate(texts):
            told = [c["text"] for e in again for c in e["choices"] if c["index"] == n]
            assert "".join(told) == text

    serve(use)


def test_a_stop_text_ends_an_answer() -> None:
    async def use(site: Site) -> None:
        body = await site.post_json(COMPLETIONS, prompt="hello", **PLAIN)
        text = body["choices"][0]["text"]
        for include in (False, True):
            body = await site.post_json(
                COMPLETIONS,
                prompt="hello",
                **PLAIN,
                stop=[text[2:4]],
                include_stop_str_in_output=include,
            )
            (choice,) = body["choices"]
            at = text.index(text[2:4])
            assert choice["text"] == text[: at + 2 * include]
            assert choice["finish_reason"] == "stop"

    serve(use)


def test_many_clients_at_once_get_their_own_answers() -> None:
    async def use(site: Site) -> None:
        bodies = await asyncio.gather(
            *(
                site.post_json(COMPLETIONS, prompt=[n, n, n], temperature=0, max_tokens=5)
                for n in range(1, 25)
            )
        )
        for n, body in enumerate(bodies, start=1):
            expected = bytes(token for token in greedy([n] * 3, 5) if token < 256)
            assert body["choices"][0]["text"] == expected.decode(errors="replace")

    engine = serve(use, tiny_engine(n_pages=16, batching=Batching(n_tokens=16, n_running=6)))
    assert_nothing_is_held(engine)


def test_clients_that_come_and_go_leave_nothing_behind() -> None:
    async def use(site: Site) -> None:
        rng = random.Random(0)

        async def client(n: int) -> None:
            prompt = [1, 2] * rng.randint(1, 6) + [n % 5]
            asked = {"prompt": prompt, "max_tokens": rng.randint(1, 20), "temperature": 0}
            asking = asyncio.create_task(site.post_json(COMPLETIONS, **asked))
            if n % 3 == 0:
                await asyncio.sleep(rng.random() / 20)
                asking.cancel()
                await asyncio.wait([asking])
                return
            text = bytes(t for t in greedy(prompt, asked["max_tokens"]) if t < 256)
            answer = (await asking)["choices"][0]["text"]
            assert answer == text.decode(errors="replace")

        await asyncio.gather(*(client(n) for n in range(60)))
        while site.driver.n_open or site.engine.n_running or site.engine.n_waiting:
            await asyncio.sleep(0.001)

    engine = tiny_engine(n_pages=12, batching=Batching(n_tokens=16, n_running=5))
    assert_nothing_is_held(serve(use, engine))


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "\\ud800", "max_tokens": 2}',
        b'{"prompt": "x", "top_k": 99999999999999999999999, "max_tokens": 2}',
        b'{"prompt": "x", "seed": -99999999999999999999999, "max_tokens": 2}',
        b'{"prompt": "x", "seed": 1e3, "max_tokens": 2}',
        b'{"prompt": "x", "max_tokens": 99999999999999999999999}',
        b'{"prompt": "x", "temperature": 1e-300, "max_tokens": 2}',
        b'{"prompt": "x", "temperature": 1e999, "max_tokens": 2}',
        b'{"prompt": "x", "stop_token_ids": [-1, 99999999999999999999], "max_tokens": 2}',
        b'{"prompt": [99999999999999999999999], "max_tokens": 2}',
        b'{"prompt": "x", "logit_bias": {"99999999999999999999999": 1}}',
        b'{"prompt": "\\u0000", "max_tokens": 2}',
        b'{"prompt": null}',
        b'{"prompt": true}',
        b'{"prompt": "x", "n": 99999999999999999999999}',
        b"\x00",
    ],
)
def test_hostile_values_are_served_or_refused_and_nobody_else_suffers(body: bytes) -> None:
    async def use(site: Site) -> None:
        answer = await fetch(site.origin, "POST", COMPLETIONS, body=body)
        assert answer.status in (200, 400), answer.body
        await site.post_json(COMPLETIONS, prompt="hello", **PLAIN)

    serve(use)


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_client_that_goes_away_frees_its_pages(is_stream: bool) -> None:
    async def use(site: Site) -> None:
        body = json.dumps(
            {"prompt": [1] * 9, "max_tokens": 50, "ignore_eos": True, "stream": is_stream}
        ).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        if is_stream:
            await reader.readuntil(b"data: ")
        else:
            while not site.driver.n_open:
                await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
        while site.driver.n_open or site.engine.n_running or site.engine.n_waiting:
            await asyncio.sleep(0.001)

    engine = slow_engine()
    serve(use, engine)
    assert engine.tally.n_cancelled == 1
    assert_nothing_is_held(engine)


CONTEXT = "context_length_exceeded"
IMAGE = [{"role": "user", "content": [{"type": "image_url"}]}]


@pytest.mark.parametrize(
    ("path", "fields", "code", "message"),
    [
        (COMPLETIONS, {"prompt": [1] * 60, "max_tokens": 5}, CONTEXT, "at most 64 tokens"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 64}]}, CONTEXT, "got 64 of"),
        (COMPLETIONS, {"prompt": [257]}, None, "token ids below 257"),
        (COMPLETIONS, {"prompt": ""}, None, "at least one token"),
        (COMPLETIONS, {"prompt": "x", "model": "y"}, "model_not_found", "no model 'y'"),
        (COMPLETIONS, {"prompt": "x", "temperature": -1}, None, "temperature must be"),
        (COMPLETIONS, {"prompt": "x", "logit_bias": {"300": 1}}, None, "logit_bias below 257"),
        (COMPLETIONS, {}, None, "missing required field `prompt`"),
        (CHAT, {"messages": IMAGE}, None, "text alone"),
    ],
)
def test_what_cannot_be_served_is_refused_in_openais_words(
    path: str, fields: dict[str, Any], code: str | None, message: str
) -> None:
    async def use(site: Site) -> None:
        for is_stream in (False, True):
            answer = await site.post(path, **fields, stream=is_stream)
            error = json.loads(answer.body)["error"]
            status = 404 if code == "model_not_found" else 400
            assert (answer.status, error["code"]) == (status, code)
            assert message in error["message"]
            assert error["type"].endswith("error")
        assert site.driver.n_open == 0

    serve(use)


def test_paths_and_methods_that_are_not_there() -> None:
    async def use(site: Site) -> None:
        assert (await site.get("/v2/nothing")).status == 404
        answer = await site.get(CHAT)
        assert (answer.status, answer.header(b"allow")) == (405, b"POST")

    serve(use)


def test_beyond_what_may_wait_clients_are_asked_to_come_again() -> None:
    async def use(site: Site) -> None:
        answer = await site.post(COMPLETIONS, prompt=["a", "b", "c"], max_tokens=2)
        assert answer.status == 400
        assert b"at most 2 answers at once, got 3" in answer.body
        first = asyncio.create_task(site.post_json(COMPLETIONS, prompt=["a"], max_tokens=50))
        while not site.driver.n_open:
            await asyncio.sleep(0)
        answer = await site.post(COMPLETIONS, prompt=["a", "b"], max_tokens=2)
        assert (answer.status, answer.header(b"retry-after")) == (429, b"1")
        assert json.loads(answer.body)["error"]["code"] == "queue_full"
        await first
        await site.post_json(COMPLETIONS, prompt=["a", "b"], max_tokens=2)

    serve(use, slow_engine(), max_waiting=2)


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_failed_step_is_an_error_and_not_a_hang(
    is_stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def run(self, *arguments: Any) -> Any:
            raise RuntimeError("out of memory")

    async def use(site: Site) -> None:
        answer = await site.post(COMPLETIONS, prompt="x", stream=is_stream)
        assert answer.status == 500
        assert json.loads(answer.body)["error"]["message"] == "the engine failed"

    engine = tiny_engine()
    engine._forward = Failing()
    serve(use, engine)
    assert "a step failed" in caplog.text


def test_whoever_looks_after_it_can_see_how_it_does() -> None:
    async def use(site: Site) -> None:
        await site.post_json(COMPLETIONS, prompt="hello", **PLAIN)
        assert (await site.get("/health")).status == 200
        assert (await site.get("/ready")).status == 200
        info = json.loads((await site.get("/server_info")).body)
        assert (info["model"], info["page_size"], info["n_pages"]) == ("tiny", 4, 64)
        assert info["max_seq_len"] == 64
        (model,) = json.loads((await site.get("/v1/models")).body)["data"]
        assert (model["id"], model["max_model_len"]) == ("tiny", 64)
        metrics = (await site.get("/metrics")).body
        assert b'triskele_engine_generated_tokens_total{model="tiny"} 8\n' in metrics

    serve(use)


def test_draining_finishes_what_is_under_way() -> None:
    async def use(site: Site) -> None:
        running = asyncio.create_task(site.post_json(COMPLETIONS, prompt="hello", **PLAIN))
        while not site.driver.n_open:
            await asyncio.sleep(0)
        assert await site.server.drain(30.0)
        assert (await running)["usage"]["completion_tokens"] == 8

    serve(use)


def test_long_texts_are_read_beside_the_loop() -> None:
    async def use(site: Site) -> None:
        answer = await site.post(COMPLETIONS, prompt="x" * 30_000)
        assert b"got 30000 of the prompt" in answer.body

    serve(use)


def test_the_official_client_works() -> None:
    async def use(site: Site) -> None:
        base = f"http://127.0.0.1:{site.server.port}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0) as client:
            (model,) = (await client.models.list()).data
            assert model.id == "tiny"
            biases = {str(n): 50 for n in range(97, 123)}
            chat = await client.chat.completions.create(
                model="tiny",
                messages=[{"role": "user", "content": "hello"}],
                temperature=0,
                max_completion_tokens=8,
                logit_bias=biases,
                logprobs=True,
                top_logprobs=2,
            )
            text = chat.choices[0].message.content
            assert text is not None
            assert chat.choices[0].logprobs is not None
            assert chat.choices[0].logprobs.content is not None
            assert len(chat.choices[0].logprobs.content) == len(text) == 8
            assert chat.usage is not None
            assert chat.usage.prompt_tokens_details is not None
            stream = await client.chat.completions.create(
                model="tiny",
                messages=[{"role": "user", "content": "hello"}],
                temperature=0,
                max_tokens=8,
                logit_bias=biases,
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
            told = [c.choices[0].delta.content or "" for c in chunks if c.choices]
            assert "".join(told) == text
            assert chunks[-1].usage is not None
            with pytest.raises(openai.BadRequestError, match="at most 64 tokens fit"):
                await client.completions.create(model="tiny", prompt="x" * 99)
            with pytest.raises(openai.NotFoundError):
                await client.completions.create(model="other", prompt="x")

    serve(use)
