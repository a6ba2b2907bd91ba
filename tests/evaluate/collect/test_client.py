import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.evaluate.collect.server import (
    KEY,
    Fault,
    MockServer,
    body,
    malformed,
    reset,
    status,
    truncated,
)

from triskele.evaluate.collect import client as client_module
from triskele.evaluate.collect.client import Client
from triskele.evaluate.collect.endpoints import Endpoint
from triskele.evaluate.collect.faults import EndpointFault, RequestFault, TransientFault
from triskele.evaluate.collect.keys import Key
from triskele.evaluate.collect.reply import Reply
from triskele.evaluate.collect.request import Request

REQUEST = Request(model="m", prompt="Why?", temperature=0.5)


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as running:
        yield running


def ask(
    address: str,
    *,
    requests: Sequence[Request] = (REQUEST,),
    key: str | None = KEY,
    timeout: float = 30.0,
) -> list[Reply]:
    async def asked() -> list[Reply]:
        keys = {} if key is None else {"it": Key(key)}
        endpoints = {"it": Endpoint("it", address)}
        async with Client(endpoints, keys=keys, timeout=timeout, clock=lambda: 0.0) as client:
            return [await client.ask("it", request) for request in requests]

    return asyncio.run(asked())


def test_a_request_is_sent_with_its_key_and_answered(server: MockServer) -> None:
    [reply] = ask(server.address)
    assert reply == Reply(text="I am m.", finish="stop", tokens_in=1, tokens_out=3)
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "Why?"}]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_header_is_sent(server: MockServer) -> None:
    ask(server.address, key=None)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (status(401), EndpointFault, "refuses the key"),
        (status(404, "no such model"), EndpointFault, "no such model"),
        (status(307, Location="http://127.0.0.1:9/"), EndpointFault, "redirects"),
        (status(400, "too long"), RequestFault, "too long"),
        (status(429, "slow down"), TransientFault, "slow down"),
        (status(500), TransientFault, "500"),
        (body({"choices": []}), TransientFault, "not a chat completion"),
        (malformed, TransientFault, "not JSON"),
        (truncated, TransientFault, "cut off"),
        (reset, TransientFault, "connection broke"),
    ],
)
def test_a_fault_is_named_and_the_key_is_not(
    fault: Fault, kind: type[Exception], words: str, server: MockServer
) -> None:
    server.faults.append(fault)
    with pytest.raises(kind, match=words) as raised:
        ask(server.address)
    assert KEY not in f"{raised.value!s} {raised.value!r}"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert len(server.bodies) == 1


@pytest.mark.parametrize("fault", [malformed, truncated, reset])
def test_what_broke_on_the_way_may_have_been_billed(fault: Fault, server: MockServer) -> None:
    server.faults.append(fault)
    with pytest.raises(TransientFault) as raised:
        ask(server.address)
    assert raised.value.may_be_billed


def test_what_was_turned_away_is_not_billed_and_says_when_to_come_back(server: MockServer) -> None:
    server.faults.append(status(429, Retry_After="7"))
    with pytest.raises(TransientFault) as raised:
        ask(server.address)
    assert raised.value.retry_after == 7.0
    assert not raised.value.may_be_billed


def test_an_answer_that_does_not_come_is_not_waited_for(server: MockServer) -> None:
    server.faults.append(server.hang)
    with pytest.raises(TransientFault, match="no answer within 1 s") as raised:
        ask(server.address, timeout=1.0)
    assert raised.value.may_be_billed


def test_an_answer_that_does_not_end_is_not_read(
    server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "LONGEST_ANSWER", 10)
    with pytest.raises(TransientFault, match="does not end"):
        ask(server.address)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_an_address_where_nobody_is_stops_at_once() -> None:
    with pytest.raises(EndpointFault, match="no connection"):
        ask(free_address())


def test_an_endpoint_that_goes_away_may_come_back() -> None:
    async def asked(server: MockServer, leave: Callable[[], None]) -> None:
        endpoints = {"it": Endpoint("it", server.address)}
        async with Client(endpoints, keys={}, timeout=30.0, clock=lambda: 0.0) as client:
            await client.ask("it", REQUEST)
            leave()
            with pytest.raises(TransientFault):
                await client.ask("it", REQUEST)
            with pytest.raises(TransientFault, match="no connection"):
                await client.ask("it", REQUEST)

    server = MockServer().__enter__()
    asyncio.run(asked(server, server.__exit__))


def test_https_to_a_server_without_it_stops_at_once(server: MockServer) -> None:
    with pytest.raises(EndpointFault, match="http instead of https"):
        ask(server.address.replace("http:", "https:"))


def test_a_dialect_is_learnt_once_per_model(server: MockServer) -> None:
    wants_other = {
        "error": {
            "message": "Unsupported parameter. Use 'max_completion_tokens' instead.",
            "param": "max_tokens",
        }
    }
    no_temperature = {"error": {"message": "Only the default.", "param": "temperature"}}
    server.faults += [body(wants_other, 400), body(no_temperature, 400)]
    replies = ask(server.address, requests=[REQUEST, REQUEST])
    assert [reply.text for reply in replies] == ["I am m.", "I am m."]
    assert len(server.bodies) == 4
    for sent in server.bodies[2:]:
        assert sent["max_completion_tokens"] == 1024
        assert not {"max_tokens", "temperature"} & sent.keys()


def test_an_endpoint_that_refuses_every_dialect_is_not_asked_for_ever(server: MockServer) -> None:
    server.faults += [status(400, "max_completion_tokens and temperature")] * 9
    with pytest.raises(RequestFault):
        ask(server.address)
    assert len(server.bodies) == 3


def test_nothing_but_the_client_loads_the_web_library() -> None:
    script = (
        "import sys, triskele.evaluate.collect.command, triskele.evaluate.collect; "
        "sys.exit('aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
