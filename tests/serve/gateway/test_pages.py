import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate
from tests.serve.gateway.openai_worker import MODEL, OpenAIWorker, Served, message_of, serving

import triskele
from triskele.serve.gateway import parse_keys

KEYS = parse_keys("ann sk-0123456789abcdef", source="test")
KEY = (b"authorization", b"Bearer sk-0123456789abcdef")


def looked_at(
    test: Callable[[Served], Coroutine[Any, Any, None]],
    *workers: OpenAIWorker,
    has_keys: bool = False,
) -> None:
    async def run() -> None:
        async with serving(workers, keys=KEYS if has_keys else None) as served:
            await test(served)

    asyncio.run(run())


def test_the_first_page_leads_to_the_dashboard() -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("GET", "/")
        assert (answer.status, answer.header(b"location")) == (307, b"/dashboard")

    looked_at(test)


def test_the_dashboard_has_a_nonce_of_its_own_each_time() -> None:
    async def test(served: Served) -> None:
        policies = set()
        for _ in range(3):
            answer = await served.ask("GET", "/dashboard")
            assert answer.status == 200
            assert answer.header(b"content-type") == b"text/html; charset=utf-8"
            policies.add(answer.header(b"content-security-policy"))
        assert len(policies) == 3

    looked_at(test)


def test_the_gateway_is_well_before_it_is_ready() -> None:
    async def test(served: Served) -> None:
        assert (await served.ask("GET", "/health")).status == 200
        answer = await served.ask("GET", "/ready")
        assert answer.status == 503
        assert answer.header(b"retry-after") == b"1"
        assert message_of(answer) == "no worker is ready"

    looked_at(test)


def test_it_is_ready_with_one_ready_worker() -> None:
    async def test(served: Served) -> None:
        assert (await served.ask("GET", "/ready")).body == b'{"status":"ready"}'
        served.gateway.change(served.workers[0].listed_as, "drain")
        assert (await served.ask("GET", "/ready")).status == 503

    looked_at(test, OpenAIWorker())


def test_who_is_about_to_stop_is_not_ready() -> None:
    async def test(served: Served) -> None:
        # The connection is there before, and is busy while the gateway drains.
        served.workers[0].may_answer.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.port)
        body = b'{"model": "toy", "prompt": "a"}'
        head = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(head + body + b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
        while not served.workers[0].n_running:
            await asyncio.sleep(0.005)
        draining = asyncio.create_task(served.gateway.drain(10.0))
        await asyncio.sleep(0.05)
        served.workers[0].may_answer.set()
        answers = await asyncio.wait_for(reader.read(), 10.0)
        writer.close()
        await writer.wait_closed()
        assert await draining
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n" in answers
        assert b"the gateway is about to stop" in answers

    looked_at(test, OpenAIWorker())


def test_the_openapi_page_is_valid_and_of_this_version() -> None:
    async def test(served: Served) -> None:
        page = msgspec.json.decode((await served.ask("GET", "/openapi.json")).body)
        validate(page)
        assert page["info"]["version"] == triskele.__version__

    looked_at(test)


def test_models_are_listed_once_as_their_workers_describe_them() -> None:
    async def test(served: Served) -> None:
        listed = msgspec.json.decode((await served.ask("GET", "/v1/models")).body)
        assert listed["object"] == "list"
        assert [entry["id"] for entry in listed["data"]] == ["a", "org/b", "c"]
        assert all(entry["owned_by"] == "me" for entry in listed["data"])

    looked_at(test, OpenAIWorker(models=["a", "org/b"]), OpenAIWorker(models=["c", "a"]))


@pytest.mark.parametrize("path", ["org/b", "org%2Fb", "a"])
def test_one_model_is_shown_by_its_name(path: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("GET", f"/v1/models/{path}")
        assert answer.status == 200
        assert msgspec.json.decode(answer.body)["id"] == path.replace("%2F", "/")

    looked_at(test, OpenAIWorker(models=["a", "org/b"]))


def test_a_model_that_nobody_serves_is_not_there() -> None:
    async def test(served: Served) -> None:
        for path in ("b", "", "%ff", "a/b"):
            answer = await served.ask("GET", f"/v1/models/{path}")
            assert answer.status == 404
            assert msgspec.json.decode(answer.body)["error"]["code"] == "model_not_found"

    looked_at(test, OpenAIWorker(models=["a"]))


@pytest.mark.parametrize(
    ("path", "needs"),
    [
        ("/v1/models", True),
        (f"/v1/models/{MODEL}", True),
        ("/health", False),
        ("/ready", False),
        ("/metrics", False),
        ("/openapi.json", False),
        ("/dashboard", False),
    ],
)
def test_keys_are_asked_for_where_models_are_concerned(path: str, needs: bool) -> None:
    async def test(served: Served) -> None:
        assert (await served.ask("GET", path)).status == (401 if needs else 200)
        assert (await served.ask("GET", path, None, [KEY])).status == 200

    looked_at(test, OpenAIWorker(), has_keys=True)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", b"POST"),
        ("DELETE", "/v1/embeddings", b"POST"),
        ("POST", "/v1/models", b"GET, HEAD"),
        ("DELETE", "/v1/models/a", b"GET, HEAD"),
        ("POST", "/health", b"GET, HEAD"),
        ("PUT", "/dashboard", b"GET, HEAD"),
    ],
)
def test_a_method_that_a_page_has_not_is_refused_with_those_it_has(
    method: str, path: str, allow: bytes
) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask(method, path)
        assert (answer.status, answer.header(b"allow")) == (405, allow)

    looked_at(test)


@pytest.mark.parametrize("path", ["/v1", "/v2/models", "/healthz", "/admin", "//health", "/HEALTH"])
def test_there_are_no_other_pages(path: str) -> None:
    async def test(served: Served) -> None:
        answer = await served.ask("GET", path)
        assert answer.status == 404
        assert message_of(answer) == "there is no such page"

    looked_at(test)


def test_the_head_of_a_page_has_no_body() -> None:
    async def test(served: Served) -> None:
        for path in ("/health", "/metrics", "/v1/models", "/dashboard"):
            answer = await served.ask("HEAD", path)
            assert (answer.status, answer.body) == (200, b"")
            assert int(answer.header(b"content-length") or 0) > 0

    looked_at(test)
