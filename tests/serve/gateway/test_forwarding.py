import asyncio
import gzip
import json
import re
import time
from hashlib import sha256
from typing import Any

import pytest
from tests.serve.gateway.upstreams import (
    CHAT,
    DONE,
    EVENT,
    SECONDS,
    SOON,
    USAGE,
    Act,
    Front,
    Upstream,
    answer,
    break_off,
    chat,
    fronted,
    in_turn,
    post,
    quick,
    raw,
    reset,
    run,
    stall,
    stall_after_first,
    start_stream,
    stream,
    until,
    whole,
)
from tests.serve.http.wire import read_answer

from triskele.serve.gateway import ApiKey, Gateway, Keys
from triskele.serve.gateway.forwarding import Forwarding
from triskele.serve.gateway.health import State
from triskele.serve.gateway.rate import Allowance
from triskele.serve.gateway.relay import KEPT_BYTES
from triskele.serve.http import BrokenOff, HttpRequest, Origin, Reply, Response, fetch

BUSY = answer(429, b'{"error": {"message": "full"}}', (b"retry-after", b"9"))
LOOPS = pytest.mark.parametrize("on_uvloop", [False, True], ids=["asyncio", "uvloop"])


async def echo(request: HttpRequest, reply: Reply) -> None:
    reply.send(200, request.body, content_type=b"application/x-something")


def error(response: Response) -> dict[str, Any]:
    """Return what an error answer says, which has to be one clear line."""
    said: dict[str, Any] = json.loads(response.body)["error"]
    assert 5 < len(said["message"]) < 300
    assert said["message"].isprintable()
    return said


# What goes through unchanged.


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat(temperature=0.25, logit_bias={"5": -1}, an_unknown_field=[None, {"deep": 1}]),
        b' \n{ "messages" :[ ],\t"model":"m","model":"m" }\r\n',
        b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe\x80"}]}',
        chat("ä€\U0001f300" * 100),
        chat("x" * (1 << 20)),
        b"{}",
    ],
    ids=["plain", "unknown fields", "spaces", "not UTF-8", "letters", "1 MiB", "nothing in it"],
)
def test_bodies_pass_byte_for_byte_both_ways(body: bytes) -> None:
    async def main() -> None:
        worker = Upstream(echo)
        async with fronted(worker) as front:
            response = await front.ask(body)
            assert (response.status, response.body, worker.bodies) == (200, body, [body])
            assert response.header(b"content-type") == b"application/x-something"
            assert response.header(b"content-length") == b"%d" % len(body)

    run(main())


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", []),
        (b"\xff\x00\r\n\r\n0\r\n\r\n", []),
        (gzip.compress(b'{"usage": 1}'), [(b"content-encoding", b"gzip")]),
        (bytes(range(256)) * 4096, []),
    ],
    ids=["empty", "binary", "gzip", "1 MiB"],
)
def test_answers_pass_byte_for_byte(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    async def main() -> None:
        worker = Upstream(answer(200, body, *headers))
        async with fronted(worker) as front:
            response = await front.ask()
            assert (response.status, response.body) == (200, body)
            assert set(headers) <= set(response.headers)
            await front.settled()

    run(main())


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
def test_every_endpoint_of_completions_goes_through(path: str) -> None:
    async def main() -> None:
        worker = Upstream(echo)
        async with fronted(worker) as front:
            body = b'{"model": "m", "input": ["a", "b"], "prompt": [1, 2]}'
            assert (await front.ask(body, path=path)).body == body
            assert [request.target for request in worker.requests] == [path]
            await front.settled()
            assert [record.endpoint for record in front.records] == [path]

    run(main())


def test_a_body_in_chunks_reaches_the_worker_with_its_length() -> None:
    async def main() -> None:
        worker = Upstream(echo)
        body = chat()
        async with fronted(worker) as front, front.connected() as (reader, writer):
            head = f"POST {CHAT}?a=b%20c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
            writer.write(head.encode() + chunks)
            data = await reader.readuntil(b"}]}")
            assert read_answer(data)[0].body == body
            (request,) = worker.requests
            assert (request.target, request.body) == (CHAT + "?a=b%20c", body)
            assert request.header(b"transfer-encoding") is None

    run(main())


@LOOPS
def test_no_event_is_held_back(on_uvloop: bool) -> None:
    n_events = 5
    go_on = [asyncio.Event() for _ in range(n_events)]

    async def step(request: HttpRequest, reply: Reply) -> None:
        start_stream(reply)
        for n, event in enumerate(go_on):
            reply.write(b"data: %d\n\n" % n)
            await event.wait()
        reply.write(DONE)
        reply.end()

    async def main() -> None:
        worker = Upstream(step)
        async with fronted(worker) as front, front.connected() as (reader, writer):
            writer.write(post(chat(stream=True)))
            async with asyncio.timeout(SECONDS):
                for n, event in enumerate(go_on):
                    await reader.readuntil(b"data: %d\n\n" % n)
                    event.set()
                rest = await reader.readuntil(b"0\r\n\r\n")
            assert rest.count(b"[DONE]") == 1
            await front.settled()

    run(main(), on_uvloop=on_uvloop)


@LOOPS
def test_events_come_in_order_and_the_end_once(on_uvloop: bool) -> None:
    async def burst(request: HttpRequest, reply: Reply) -> None:
        start_stream(reply)
        for n in range(2000):
            reply.write(b"data: %d\n\n" % n)
            if n % 100 == 0:
                await asyncio.sleep(0)
        reply.write(DONE)
        reply.end()

    async def main() -> None:
        async with fronted(Upstream(burst)) as front:
            response = await front.ask(stream=True)
            assert response.body == b"".join(b"data: %d\n\n" % n for n in range(2000)) + DONE

    run(main(), on_uvloop=on_uvloop)


def test_fields_of_a_connection_do_not_go_through_and_all_others_do() -> None:
    hop_by_hop = [
        (b"keep-alive", b"timeout=5"),
        (b"te", b"trailers"),
        (b"trailer", b"x-t"),
        (b"proxy-authorization", b"Basic abc"),
        (b"proxy-connection", b"keep-alive"),
        (b"connection", b"keep-alive, x-mine"),
        (b"x-mine", b"1"),
        (b"expect", b"200-maybe"),
    ]
    kept = [(b"x-session-id", b"s"), (b"x-a", b"1"), (b"x-a", b"2"), (b"user-agent", b"t")]

    async def main() -> None:
        back = [
            (b"x-b", b"1"),
            (b"set-cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-authenticate", b"Basic"),
        ]
        worker = Upstream(answer(200, b"{}", *back))
        async with fronted(worker) as front:
            response = await front.ask(headers=(*hop_by_hop, *kept))
            (request,) = worker.requests
            names = [name for name, _ in request.headers]
            assert not {name for name, _ in hop_by_hop} & set(names)
            assert [field for field in request.headers if field in kept] == kept
            assert request.header(b"host") == worker.name.encode()
            assert names.count(b"content-length") == 1
            assert [field for field in response.headers if field in back] == back[:3]
            assert not {b"keep-alive", b"proxy-authenticate"} & {n for n, _ in response.headers}

    run(main())


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        (None, False),
        (b"my-request-1", True),
        (b"a" * 128, True),
        (b"a" * 129, False),
        (b"", False),
        (b"\xe4", False),
        (b"a\tb", False),
    ],
)
def test_a_request_has_one_id_everywhere(given: bytes | None, is_kept: bool) -> None:
    async def main() -> None:
        # The worker makes ids, too.
        worker = Upstream(answer(200, b"{}", (b"x-request-id", b"of the worker")))
        async with fronted(worker) as front:
            headers = () if given is None else ((b"x-request-id", given),)
            response = await front.ask(headers=headers)
            at_worker = [v for n, v in worker.requests[0].headers if n == b"x-request-id"]
            at_client = [v for n, v in response.headers if n == b"x-request-id"]
            await front.settled()
            assert at_worker == at_client == [front.records[0].id.encode()]
            assert (at_client == [given]) is is_kept
            assert re.fullmatch(rb"[\x20-\x7e]{1,128}", at_client[0])

    run(main())


def test_requests_of_two_gateways_never_have_the_same_id() -> None:
    async def main() -> None:
        ids = set()
        for _ in range(2):
            async with fronted(Upstream()) as front:
                for _ in range(3):
                    await front.ask()
                await front.settled()
                ids |= {record.id for record in front.records}
        assert len(ids) == 6

    run(main())


def test_who_asks_is_told_which_worker_and_what_was_predicted_and_nobody_else() -> None:
    async def main() -> None:
        worker = Upstream()
        async with fronted(worker) as front:
            plain = await front.ask()
            assert not [name for name, _ in plain.headers if name.startswith(b"x-triskele")]
            told = await front.ask(headers=((b"x-triskele-explain", b"1"),))
            assert told.header(b"x-triskele-worker") == worker.name.encode()
            ttft, latency = (
                float(told.header(b"x-triskele-predicted-" + name) or b"nan")
                for name in (b"ttft", b"latency")
            )
            assert 0 < ttft <= latency < 1000

    run(main())


def test_a_client_that_does_not_read_holds_its_worker_back_and_nothing_is_lost() -> None:
    piece, n_pieces = bytes(1 << 16), 1500
    n_sent = 0

    async def flood(request: HttpRequest, reply: Reply) -> None:
        nonlocal n_sent
        start_stream(reply)
        for n_sent in range(1, n_pieces + 1):  # noqa: B007
            reply.write(piece)
            await reply.drain()
        reply.end()

    async def main() -> None:
        async with fronted(Upstream(flood)) as front, front.connected() as (reader, writer):
            writer.write(post(chat(stream=True), "Connection: close"))
            n_before = -1
            while n_sent != n_before or n_sent == 0:
                n_before = n_sent
                await asyncio.sleep(0.1)
            # What sockets hold on the way is some megabytes.
            assert n_sent < n_pieces / 2
            n_read = 0
            while data := await asyncio.wait_for(reader.read(1 << 20), SECONDS):
                n_read += len(data)
            assert n_sent == n_pieces
            assert n_read > n_pieces * len(piece)
            await front.settled()
            assert front.records[0].outcome == "finished"

    run(main())


# Who may.


def keys_of(allowance: Allowance) -> Keys:
    return Keys([ApiKey("ann", sha256(b"sk-0123456789abcdef").digest(), allowance)])


BEARER = (b"authorization", b"Bearer sk-0123456789abcdef")


@pytest.mark.parametrize(
    ("has_keys", "credential", "expected"),
    [
        (False, None, BEARER[1]),
        (True, None, None),
        (False, "worker-secret", b"Bearer worker-secret"),
        (True, "worker-secret", b"Bearer worker-secret"),
    ],
)
def test_authorization_goes_to_workers_only_where_it_is_theirs(
    has_keys: bool, credential: str | None, expected: bytes | None
) -> None:
    async def main() -> None:
        worker, keys = Upstream(), keys_of(Allowance()) if has_keys else None
        async with fronted(worker, keys=lambda: keys, credential=credential) as front:
            response = await front.ask(headers=(BEARER,))
            assert response.status == 200
            fields = [v for n, v in worker.requests[0].headers if n == b"authorization"]
            assert fields == ([] if expected is None else [expected])
            assert b"secret" not in repr(response.headers).encode()

    run(main())


def test_without_a_key_nothing_reaches_a_worker() -> None:
    async def main() -> None:
        worker, keys = Upstream(), keys_of(Allowance())
        async with fronted(worker, keys=lambda: keys) as front:
            for headers in ((), ((b"authorization", b"Bearer wrong"),)):
                response = await front.ask(headers=headers)
                assert (response.status, error(response)["code"]) == (401, "invalid_api_key")
                assert response.header(b"www-authenticate") == b"Bearer"
            # Not even what is wrong with a body is told.
            assert (await front.ask(b"{")).status == 401
            await front.settled()
            assert worker.requests == []
            assert {(r.status, r.outcome, r.worker, r.key) for r in front.records} == {
                (401, "refused", None, None)
            }

    run(main())


def test_a_key_that_is_used_up_is_told_when_to_come_back_and_named_in_the_journal() -> None:
    async def main() -> None:
        worker, keys = Upstream(), keys_of(Allowance(requests_per_minute=2))
        async with fronted(worker, keys=lambda: keys) as front:
            statuses = [(await front.ask(headers=(BEARER,))).status for _ in range(2)]
            response = await front.ask(headers=(BEARER,))
            assert [*statuses, response.status] == [200, 200, 429]
            assert error(response)["code"] == "rate_limit_exceeded"
            assert 1 <= int(response.header(b"retry-after") or 0) <= 31
            await front.settled()
            assert [record.key for record in front.records] == ["ann"] * 3
            assert front.records[2].outcome == "refused"
            assert "sk-0123" not in repr(front.records)

    run(main())


def test_tokens_of_prompts_and_answers_are_charged() -> None:
    async def main() -> None:
        keys = keys_of(Allowance(tokens_per_minute=20))
        async with fronted(Upstream(), keys=lambda: keys) as front:
            long = await front.ask("x" * 400, headers=(BEARER,))
            assert (long.status, error(long)["code"]) == (429, "rate_limit_exceeded")
            # It never fits.
            assert long.header(b"retry-after") is None
            # Each has a few tokens of prompt, and 7 of answer.
            statuses = [(await front.ask(headers=(BEARER,))).status for _ in range(4)]
            assert statuses[0] == 200
            assert 429 in statuses

    run(main())


# What is asked for.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": 1}',
        b'{"model": "m", "stream": "yes"}',
        b"[" * 100_000,
        b'{"model": "m", "messages": %s}' % (b"[" * 100_000),
        b'{"model": "m", "max_tokens": 1%s}' % (b"0" * 5000),
        b'{"model": "m", "messages": [{"content": "\\ud800"}]}',
        b'{"model": "m\x00"}',
        b'{"model": "\xff"}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_body_that_is_no_request_is_refused_in_one_clear_line(body: bytes) -> None:
    async def main() -> None:
        worker = Upstream()
        async with fronted(worker) as front:
            response = await front.ask(body)
            assert (response.status, error(response)["code"]) == (400, "malformed_body")
            assert response.header(b"x-request-id")
            assert (await front.ask()).status == 200
            assert len(worker.requests) == 1

    run(main())


def test_a_model_that_nobody_has_does_not_exist() -> None:
    async def main() -> None:
        async with fronted(Upstream()) as front:
            for model in ("gpt-5", "m ", "m\x00", "", 'a"b\r\nc', "ä" * 50):
                response = await front.ask(model=model)
                assert (response.status, error(response)["code"]) == (404, "model_not_found")

    run(main())


def test_where_there_is_one_model_it_need_not_be_named() -> None:
    async def main() -> None:
        one, two = Upstream(), Upstream(models=("m", "n"))
        async with fronted(one) as front:
            assert (await front.ask(model=None)).status == 200
            assert one.bodies == [chat(model=None)]
        async with fronted(two) as front:
            response = await front.ask(model=None)
            assert (response.status, error(response)["code"]) == (400, "model_missing")

    run(main())


@pytest.mark.parametrize("model", ["m", None])
def test_before_any_worker_is_ready_clients_are_told_to_come_back(model: str | None) -> None:
    async def main() -> None:
        async with fronted() as front:
            front.gateway.add("http://127.0.0.1:9")
            response = await front.ask(model=model)
            assert (response.status, error(response)["code"]) == (503, "no_worker")
            assert int(response.header(b"retry-after") or 0) >= 1
            await front.settled()

    run(main())


def test_a_gateway_that_has_just_begun_asks_its_workers_before_it_says_no() -> None:
    async def main() -> None:
        slow = Upstream()
        slow.is_awake.clear()
        await slow.start()
        async with fronted() as front:
            front.gateway.add(slow.url)
            task = asyncio.create_task(front.ask())
            await asyncio.sleep(0.1)
            assert not task.done()
            slow.is_awake.set()
            assert (await task).status == 200
            assert (await front.ask(model="another")).status == 404
        await slow.stop()

    run(main())


def test_a_request_goes_only_to_workers_that_have_its_model_even_when_they_fail() -> None:
    async def main() -> None:
        a, b = Upstream(answer(500), models=("m",)), Upstream(reset, models=("m", "n"))
        c = Upstream(models=("n",))
        async with fronted(a, b, c) as front:
            assert (await front.ask(model="m")).status == 500
            assert len(a.requests) == 1
            assert c.requests == []
            assert (await front.ask(model="n")).status == 200

    run(main())


# Workers that fail.


@pytest.mark.parametrize(
    "act",
    [
        reset,
        answer(500),
        answer(502),
        answer(503),
        answer(504),
        BUSY,
        raw(b"no HTTP at all"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-"),
        raw(b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok"),
        raw(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\nnot whole"),
        raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    ],
    ids=["reset", "500", "502", "503", "504", "429", "noise", "head", "fold", "part", "upgrade"],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_fails_at_one_worker_goes_to_another(act: Act, is_stream: bool) -> None:
    async def main() -> None:
        bad, good = Upstream(act), Upstream(stream() if is_stream else whole)
        async with fronted(bad, good, settings=quick(policy="round-robin")) as front:
            for _ in range(2):
                response = await front.ask(stream=is_stream)
                assert response.status == 200
            await front.settled()
            assert len(good.requests) == 2
            n_retries = sum(record.n_retries for record in front.records)
            assert n_retries > 0
            # What went wrong on the way is written down.
            assert all(
                (record.error is None) is (record.n_retries == 0) for record in front.records
            )
            # A connection that was idle may have been closed for that: a fresh one is tried.
            assert len(bad.requests) <= (2 if act is reset else 1) * n_retries
            assert {(r.status, r.outcome, r.worker) for r in front.records} == {
                (200, "finished", good.name)
            }

    run(main())


def test_a_dead_worker_costs_no_request_and_nobody_is_asked_twice() -> None:
    async def main() -> None:
        dead, good = Upstream(), Upstream()
        settings = quick(policy="round-robin", check_seconds=60.0)
        async with fronted(dead, good, settings=settings) as front:
            await dead.stop()
            responses = await asyncio.gather(*(front.ask(str(n)) for n in range(20)))
            assert [response.status for response in responses] == [200] * 20
            assert len(good.requests) == 20
            assert front.state(dead) is State.DOWN
            await front.settled()
            assert {record.n_retries for record in front.records} <= {0, 1}

    run(main())


def test_each_worker_is_asked_once_and_the_last_error_is_passed_on_as_it_was() -> None:
    async def main() -> None:
        workers = [
            Upstream(answer(500 + n, b"<b>no %d" % n, (b"x-own", b"%d" % n))) for n in (0, 2, 3)
        ]
        async with fronted(*workers, settings=quick(policy="round-robin", n_attempts=5)) as front:
            response = await front.ask()
            assert [len(worker.requests) for worker in workers] == [1, 1, 1]
            n = response.status - 500
            assert (response.body, response.header(b"x-own")) == (b"<b>no %d" % n, b"%d" % n)
            assert n == 3
            await front.settled()
            (record,) = front.records
            assert (record.status, record.outcome, record.n_retries) == (503, "failed", 2)
            assert record.worker == workers[2].name

    run(main())


def test_a_worker_that_is_well_is_found_while_others_fall_ill_of_a_request() -> None:
    async def main() -> None:
        workers = [Upstream(answer(500)), Upstream(answer(500)), Upstream()]
        settings = quick(policy="round-robin", check_seconds=60.0)
        async with fronted(*workers, settings=settings) as front:
            statuses = [(await front.ask()).status for _ in range(12)]
            assert statuses == [200] * 12
            assert front.state(workers[0]) is State.SUSPECT

    run(main())


def test_no_more_workers_are_asked_than_are_allowed() -> None:
    async def main() -> None:
        workers = [Upstream(answer(500)) for _ in range(4)]
        async with fronted(*workers, settings=quick(n_attempts=2)) as front:
            assert (await front.ask()).status == 500
            assert sum(len(worker.requests) for worker in workers) == 2
        async with fronted(*workers, settings=quick(n_attempts=1)) as front:
            assert (await front.ask()).status == 500
            assert sum(len(worker.requests) for worker in workers) == 3

    run(main())


def test_the_last_error_that_was_whole_is_passed_on_where_others_broke_off() -> None:
    async def main() -> None:
        half = raw(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\nnot whole")
        for act in (half, reset):
            workers = [Upstream(answer(502, b"whole")), Upstream(act)]
            async with fronted(*workers, settings=quick(policy="round-robin")) as front:
                response = await front.ask()
                assert (response.status, response.body) == (502, b"whole")
                await front.settled()
        async with fronted(Upstream(half), settings=quick(n_attempts=2)) as front:
            with pytest.raises(BrokenOff):
                await front.ask()
            await front.settled()

    run(main())


def test_an_error_too_long_to_be_kept_is_never_passed_on_in_part() -> None:
    async def main() -> None:
        endless = Upstream(answer(500, b"x" * (2 * KEPT_BYTES)))
        async with fronted(endless, settings=quick(n_attempts=2)) as front:
            # The last attempt has no need to keep it.
            response = await front.ask()
            assert (response.status, len(response.body)) == (500, 2 * KEPT_BYTES)
        workers = [endless, Upstream(answer(502, b"short"))]
        async with fronted(*workers, settings=quick(policy="round-robin")) as front:
            response = await front.ask()
            assert (response.status, response.body) == (502, b"short")
            await front.settled()

    run(main())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
def test_what_is_the_clients_fault_is_asked_once_and_blames_nobody(status: int) -> None:
    async def main() -> None:
        workers = [Upstream(answer(status, b'{"error": "yours"}')) for _ in range(2)]
        async with fronted(*workers, settings=quick(policy="round-robin")) as front:
            for n in range(1, 9):
                response = await front.ask()
                assert (response.status, response.body) == (status, b'{"error": "yours"}')
                assert sum(len(worker.requests) for worker in workers) == n
            if status < 500:
                assert [front.state(worker) for worker in workers] == [State.READY] * 2
            await front.settled()
            (record, *_) = front.records
            assert (record.status, record.outcome, record.n_retries) == (status, "failed", 0)

    run(main())


def test_a_full_worker_is_not_a_broken_one() -> None:
    async def main() -> None:
        worker = Upstream(BUSY)
        async with fronted(worker) as front:
            for _ in range(10):
                response = await front.ask()
                assert (response.status, response.header(b"retry-after")) == (429, b"9")
            assert front.state(worker) is State.READY
            assert len(worker.requests) == 10

    run(main())


@pytest.mark.parametrize("is_stream", [False, True])
def test_after_the_first_byte_an_answer_is_broken_off_and_never_patched(is_stream: bool) -> None:
    async def half(request: HttpRequest, reply: Reply) -> None:
        reply.start(200, [], length=100)
        reply.write(b"half")
        await asyncio.sleep(0.02)
        reply.abort()

    async def main() -> None:
        bad, good = Upstream(break_off if is_stream else half), Upstream()
        async with fronted(bad, good, settings=quick(policy="round-robin")) as front:
            async with front.connected() as (reader, writer):
                writer.write(post(chat(stream=is_stream)))
                data = await asyncio.wait_for(reader.read(), SECONDS)
            head, _, body = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            if is_stream:
                assert body == b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
            else:
                assert (b"content-length: 100" in head, body) == (True, b"half")
            assert good.requests == []
            await front.settled()
            (record,) = front.records
            assert (record.status, record.outcome, record.n_retries) == (200, "failed", 0)
            assert record.error

    run(main())


def test_what_a_worker_sends_beyond_its_answer_reaches_nobody() -> None:
    async def main() -> None:
        long = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nfor you"
        worker = Upstream(in_turn(raw(long), whole))
        async with fronted(worker) as front:
            assert (await front.ask()).body == b"ok"
            assert json.loads((await front.ask()).body)["usage"] == USAGE
            await front.settled()

    run(main())


def test_while_the_only_worker_restarts_requests_wait_and_succeed() -> None:
    async def main() -> None:
        worker = Upstream()
        async with fronted(worker, settings=quick(check_seconds=60.0)) as front:
            await worker.stop()
            early = [asyncio.create_task(front.ask(str(n))) for n in range(5)]
            await asyncio.sleep(0.1)
            assert front.state(worker) is State.DOWN
            late = [asyncio.create_task(front.ask(str(n))) for n in range(5)]
            await asyncio.sleep(0.1)
            assert not any(task.done() for task in early + late)
            await worker.start()
            responses = await asyncio.gather(*early, *late)
            assert [response.status for response in responses] == [200] * 10
            assert len(worker.requests) == 10
            await front.settled()

    run(main())


def test_a_worker_that_is_added_serves_those_who_wait_for_one() -> None:
    async def main() -> None:
        old, new = Upstream(), Upstream()
        await new.start()
        async with fronted(old) as front:
            await old.stop()
            waiting = [asyncio.create_task(front.ask(str(n))) for n in range(3)]
            await asyncio.sleep(0.1)
            front.gateway.add(new.url)
            front.gateway.change(old.name, "remove")
            responses = await asyncio.gather(*waiting)
            assert [response.status for response in responses] == [200] * 3
            await front.settled()
        await new.stop()

    run(main())


def test_where_no_worker_returns_clients_are_told_to_come_back() -> None:
    async def main() -> None:
        worker = Upstream()
        async with fronted(worker, settings=quick(worker_seconds=0.2)) as front:
            await worker.stop()
            for _ in range(2):
                response = await front.ask()
                assert (response.status, error(response)["code"]) == (503, "no_worker")
                assert response.header(b"retry-after") == b"1"
            await front.settled()
            assert {record.outcome for record in front.records} <= {"refused", "failed"}

    run(main())


@pytest.mark.parametrize(("is_well", "status"), [(True, 200), (False, 503)])
def test_a_gateway_that_has_just_begun_hears_its_workers_before_it_refuses(
    is_well: bool, status: int
) -> None:
    async def main() -> None:
        worker = Upstream()
        worker.is_well = is_well
        worker.is_awake.clear()
        await worker.start()
        # Longer than the clients of this test wait: who is heard, well or not, ends the wait.
        gateway = Gateway(quick(worker_seconds=60.0))
        gateway.add(worker.url)
        await gateway.start("127.0.0.1", 0)
        origin = Origin(f"http://127.0.0.1:{gateway.port}")
        asked = [
            asyncio.create_task(
                fetch(origin, "POST", CHAT, body=chat(model=model), seconds=SECONDS)
            )
            for model in ("m", None)
        ]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in asked)
        worker.is_awake.set()
        assert [(await task).status for task in asked] == [status, status]
        origin.close()
        await gateway.drain(SECONDS)
        await worker.stop()

    run(main())


# Clients that leave.


async def leave(front: Front, worker: Upstream, *, is_stream: bool, is_half: bool = False) -> float:
    """Leave once the worker is at it, and return after how many seconds it knew."""
    n_gone = worker.n_gone
    async with front.connected() as (reader, writer):
        writer.write(post(chat(stream=is_stream)))
        await until(lambda: worker.n_running)
        if worker.act is stall_after_first:
            await reader.readuntil(EVENT)
        left_at = asyncio.get_running_loop().time()
        if is_half:
            writer.write_eof()
            await until(lambda: worker.n_gone > n_gone)
    await until(lambda: worker.n_gone > n_gone)
    return worker.gone_at - left_at


@LOOPS
@pytest.mark.parametrize("is_half", [False, True], ids=["closed", "half-closed"])
@pytest.mark.parametrize("act", [stall, stall_after_first])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_leaves_is_known_to_the_worker_at_once(
    is_stream: bool, act: Act, is_half: bool, on_uvloop: bool
) -> None:
    async def main() -> None:
        worker = Upstream(act)
        async with fronted(worker) as front:
            seconds = [
                await leave(front, worker, is_stream=is_stream, is_half=is_half) for _ in range(3)
            ]
            assert min(seconds) < 0.1
            assert max(seconds) < SOON
            await front.settled()
            assert front.state(worker) is State.READY
            assert {(r.status, r.outcome, r.worker) for r in front.records} == {
                (499, "cancelled", worker.name)
            }

    run(main(), on_uvloop=on_uvloop)


def test_a_client_that_leaves_while_it_is_queued_never_reaches_a_worker() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def wait(request: HttpRequest, reply: Reply) -> None:
            await go_on.wait()
            reply.send(200, b"{}")

        worker = Upstream(wait)
        settings = quick(n_per_worker=1, n_queued=1)
        async with fronted(worker, settings=settings) as front:
            admission = front.gateway._admission
            first = asyncio.create_task(front.ask("first"))
            await until(lambda: worker.n_running)
            for n in range(1, 4):
                async with front.connected() as (_, writer):
                    writer.write(post(chat("leaves")))
                    await until(lambda: admission.n_waiting == 1)
                await until(lambda: admission.n_waiting == 0)
                assert [r.outcome for r in front.records] == ["cancelled"] * n
            last = asyncio.create_task(front.ask("last"))
            await until(lambda: admission.n_waiting == 1)
            go_on.set()
            assert [(await first).status, (await last).status] == [200, 200]
            assert worker.bodies == [chat("first"), chat("last")]
            await front.settled()
            assert front.records[0].worker is None
            assert front.records[0].status == 499

    run(main())


def test_a_client_that_leaves_while_it_waits_for_a_worker_is_forgotten() -> None:
    async def main() -> None:
        worker = Upstream()
        async with fronted(worker, settings=quick(check_seconds=60.0)) as front:
            await worker.stop()
            async with front.connected() as (_, writer):
                writer.write(post(chat()))
                await until(lambda: front.state(worker) is State.DOWN)
            await front.settled()
            await worker.start()
            await front.gateway.ready(seconds=SECONDS)
            assert worker.requests == []
            assert [record.outcome for record in front.records] == ["cancelled"]

    run(main())


# Time, and room.


@pytest.mark.parametrize("act", [stall, in_turn(stall, answer(500)), raw(b"HTTP/1.1 1")])
def test_a_request_whose_time_is_over_is_told_so_and_frees_its_place(act: Act) -> None:
    async def main() -> None:
        worker = Upstream(stall)
        settings = quick(request_seconds=0.3, n_per_worker=1, n_queued=0)
        async with fronted(worker, settings=settings) as front:
            began = time.monotonic()
            response = await front.ask()
            assert 0.3 <= time.monotonic() - began < 0.3 + SOON
            assert (response.status, error(response)["code"]) == (504, "timeout")
            await until(lambda: worker.n_gone == 1)
            await front.settled()
            worker.act = whole
            assert (await front.ask()).status == 200
            record = front.records[0]
            assert (record.status, record.outcome, record.worker) == (504, "failed", worker.name)
            assert front.member(worker).tally.n_failures == 1

    run(main())


def test_a_request_whose_time_is_over_while_it_waits_for_a_worker_is_told_so() -> None:
    async def main() -> None:
        worker = Upstream()
        async with fronted(worker, settings=quick(request_seconds=0.3)) as front:
            await worker.stop()
            assert [(await front.ask()).status for _ in range(2)] == [504, 504]
            await front.settled()

    run(main())


def test_a_stream_whose_time_is_over_is_broken_off() -> None:
    async def main() -> None:
        worker = Upstream(stall_after_first)
        async with fronted(worker, settings=quick(request_seconds=0.3)) as front:
            async with front.connected() as (reader, writer):
                writer.write(post(chat(stream=True)))
                data = await asyncio.wait_for(reader.read(), SECONDS)
            assert data.endswith(EVENT + b"\r\n")
            await front.settled()
            (record,) = front.records
            assert (record.status, record.outcome) == (200, "failed")
            assert record.ttft is not None
            # That it was slow to end is not said to be the worker's fault.
            assert front.member(worker).tally.n_failures == 0

    run(main())


def test_a_request_whose_time_is_over_in_the_queue_blames_no_worker() -> None:
    async def main() -> None:
        worker = Upstream(stall)
        settings = quick(request_seconds=0.4, n_per_worker=1)
        async with fronted(worker, settings=settings) as front:
            first = asyncio.create_task(front.ask())
            await until(lambda: worker.n_running)
            second = await front.ask()
            assert [(await first).status, second.status] == [504, 504]
            await front.settled()
            assert {record.worker for record in front.records} == {worker.name, None}

    run(main())


def test_beyond_the_queue_clients_are_told_to_come_back_and_the_queue_is_served_in_order() -> None:
    async def main() -> None:
        turns = asyncio.Semaphore(0)

        async def wait(request: HttpRequest, reply: Reply) -> None:
            await turns.acquire()
            reply.send(200, b"{}")

        worker = Upstream(wait)
        async with fronted(worker, settings=quick(n_per_worker=1, n_queued=3)) as front:
            tasks = []
            for n in range(4):
                tasks.append(asyncio.create_task(front.ask(str(n))))
                await until(lambda n=n: front.gateway._admission.n_waiting == n)
                await until(lambda: worker.n_running)
            response = await front.ask("too many")
            assert (response.status, error(response)["code"]) == (429, "overloaded")
            assert int(response.header(b"retry-after") or 0) >= 1
            for _ in tasks:
                turns.release()
            assert [(await task).status for task in tasks] == [200] * 4
            assert worker.bodies == [chat(str(n)) for n in range(4)]
            await front.settled()
            assert front.records[0].outcome == "refused"
            assert (front.records[0].status, front.records[0].worker) == (429, None)

    run(main())


def test_who_waits_too_long_in_the_queue_is_told_to_come_back() -> None:
    async def main() -> None:
        worker = Upstream(stall)
        settings = quick(n_per_worker=1, queue_seconds=0.1)
        async with fronted(worker, settings=settings) as front:
            async with front.connected() as (_, writer):
                writer.write(post(chat()))
                await until(lambda: worker.n_running)
                response = await front.ask()
                assert (response.status, error(response)["code"]) == (429, "overloaded")
            await front.settled()

    run(main())


# What is written down.


def test_the_journal_has_what_a_finished_answer_said() -> None:
    async def main() -> None:
        worker = Upstream(stream(3, gap=0.01))
        before = time.time()
        async with fronted(worker, settings=quick(keeps_text=True)) as front:
            headers = ((b"x-request-id", b"mine"), (b"x-session-id", b"talk"))
            await front.ask("hällo", headers=headers, stream=True)
            await front.settled()
            (record,) = front.records
            assert (record.id, record.session, record.endpoint) == ("mine", "talk", CHAT)
            assert before <= record.time <= time.time()
            assert (record.model, record.worker, record.policy) == ("m", worker.name, "lbgr")
            assert (record.status, record.outcome, record.error) == (200, "finished", None)
            assert (record.stream, record.n_retries, record.key) == (True, 0, None)
            assert (record.n_prompt, record.n_cached, record.n_output) == (100, 25, 7)
            assert record.ttft is not None
            assert 0 < record.ttft < record.latency < SECONDS
            assert record.latency >= 0.03
            assert record.predicted_ttft is not None
            assert record.predicted_latency is not None
            assert record.predicted_ttft <= record.predicted_latency
            assert "hällo" in (record.prompt or "")

    run(main())


def test_prompts_are_written_down_only_where_that_is_asked_for() -> None:
    async def main() -> None:
        async with fronted(Upstream()) as front:
            await front.ask("a secret")
            await front.settled()
            assert "secret" not in repr(front.records)
            assert front.records[0].ttft is None
            assert front.records[0].n_output == 7

    run(main())


@pytest.mark.parametrize(
    "unfit",
    [
        {"n_attempts": 0},
        {"page_size": 0},
        {"request_seconds": 0.0},
        {"request_seconds": float("nan")},
        {"worker_seconds": -1.0},
    ],
)
def test_settings_that_would_serve_nothing_are_refused(unfit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Forwarding(**unfit)
