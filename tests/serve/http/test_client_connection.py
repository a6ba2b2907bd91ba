import asyncio
import logging
import socket

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serve.http.conftest import Run
from tests.serve.http.wire import (
    SECONDS,
    Recorder,
    ask,
    connected,
    echo,
    get,
    post,
    read_answer,
    read_answers,
    serving,
    until,
)

from triskele.serve.http import HttpRequest, Limits, Reply, server

LAST = "Connection: close"
# A kernel's socket buffers, on both sides, hold less than this.
MANY_BYTES = 32 << 20


@pytest.fixture(autouse=True)
def _watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WATCH_SECONDS", 0.01)


def test_requests_on_one_connection_are_answered_one_after_the_other(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as server, connected(server) as (reader, writer):
            for n in range(5):
                writer.write(post(f"/{n}?q", b"abc"))
                answer, rest = read_answer(await reader.readuntil(b" abc"))
                assert (answer.body, rest) == (f"POST /{n}?q abc".encode(), b"")
                assert b"connection" not in answer.headers
            writer.write(get("/", LAST))
            [answer] = read_answers(await asyncio.wait_for(reader.read(), SECONDS))
            assert answer.headers[b"connection"] == b"close"

    run(scenario())


@pytest.mark.parametrize("n_bytes", [7, 1 << 20])
def test_a_hundred_requests_at_once_are_answered_in_order(run: Run, n_bytes: int) -> None:
    async def slowly(request: HttpRequest, reply: Reply) -> None:
        await asyncio.sleep(0.001 * (hash(request.path) % 3))
        await echo(request, reply)

    async def scenario() -> None:
        requests = [post(f"/{n}", b"x" * (n % 7)) for n in range(100)] + [get("/last", LAST)]
        stream = b"".join(requests)
        async with serving(slowly) as server, connected(server) as (reader, writer):
            for n in range(0, len(stream), n_bytes):
                writer.write(stream[n : n + n_bytes])
                await writer.drain()
            answers = read_answers(await asyncio.wait_for(reader.read(), SECONDS))
        expected = [f"POST /{n} {'x' * (n % 7)}".encode() for n in range(100)] + [b"GET /last "]
        assert [each.body for each in answers] == expected

    run(scenario())


@pytest.mark.parametrize(
    ("version", "lines", "connection"),
    [
        ("1.1", (), None),
        ("1.1", (LAST,), b"close"),
        ("1.0", (), b"close"),
        ("1.0", ("Connection: keep-alive",), b"keep-alive"),
    ],
)
def test_the_connection_stays_if_the_client_wants_it_to(
    run: Run, version: str, lines: tuple[str, ...], connection: bytes | None
) -> None:
    async def scenario() -> None:
        async with serving(echo) as server, connected(server) as (reader, writer):
            writer.write(get("/", *lines, version=version))
            head = await reader.readuntil(b"\r\n\r\n")
            answer, _ = read_answer(head, is_head=True)
            assert answer.headers.get(b"connection") == connection
            await reader.readexactly(len("GET / "))
            if connection == b"close":
                assert await asyncio.wait_for(reader.read(), SECONDS) == b""
            else:
                writer.write(get("/again", LAST))
                assert (await asyncio.wait_for(reader.read(), SECONDS)).endswith(b"GET /again ")

    run(scenario())


def test_a_head_request_is_answered_without_a_body_and_the_next_with_one(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as server:
            data = await ask(server, get("/a").replace(b"GET", b"HEAD") + get("/b", LAST))
        first, rest = read_answer(data, is_head=True)
        assert first.headers[b"content-length"] == b"8"
        assert [each.body for each in read_answers(rest)] == [b"GET /b "]

    run(scenario())


def test_an_answer_of_unknown_length_can_be_followed_by_another(run: Run) -> None:
    async def stream(request: HttpRequest, reply: Reply) -> None:
        reply.start(200, [(b"content-type", b"text/event-stream")], length=None)
        for n in range(3):
            reply.write(b"data: %d\n\n" % n)
            await asyncio.sleep(0)
        reply.end()

    async def scenario() -> None:
        async with serving(stream) as server:
            answers = read_answers(await ask(server, get("/") + get("/", LAST)))
            assert [each.body for each in answers] == [b"data: 0\n\ndata: 1\n\ndata: 2\n\n"] * 2
            old = await ask(server, get("/", "Connection: keep-alive", version="1.0"))
            assert b"transfer-encoding" not in old
            assert old.endswith(b"\r\nconnection: close\r\n\r\n" + answers[0].body)

    run(scenario())


def test_a_client_that_waits_to_be_asked_for_the_body_is_asked(run: Run) -> None:
    async def ends_late(request: HttpRequest, reply: Reply) -> None:
        await echo(request, reply)
        await asyncio.sleep(0.05)

    async def scenario() -> None:
        async with serving(ends_late) as server, connected(server) as (reader, writer):
            # The second time it comes while the application is still at the first.
            for _ in range(2):
                head, _, _ = post("/", b"abc", "Expect: 100-continue").partition(b"abc")
                writer.write(head)
                asked = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)
                assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"abc")
                assert await reader.readuntil(b"POST / abc")

    run(scenario())


def test_a_body_that_is_too_long_is_refused_instead_of_asked_for(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo, limits=Limits(body_bytes=2)) as server:
            data = await ask(server, post("/", b"abc", "Expect: 100-continue")[:-3])
            assert [each.status for each in read_answers(data)] == [413]

    run(scenario())


def test_a_client_that_goes_on_sending_can_read_why_it_was_refused(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo, limits=Limits(body_bytes=1000)) as server:
            [answer] = read_answers(await ask(server, post("/", b"x" * MANY_BYTES)))
            assert answer.status == 413
            assert answer.headers[b"connection"] == b"close"
            await until(lambda: server.n_connections == 0)

    run(scenario())


def test_nonsense_is_answered_after_what_came_before_it(run: Run) -> None:
    async def slowly(request: HttpRequest, reply: Reply) -> None:
        await asyncio.sleep(0.01)
        await echo(request, reply)

    async def scenario() -> None:
        stream = get("/a") + get("/b") + b"GET /c HTTP/1.1\r\n\r\n" + get("/d")
        async with serving(slowly) as server:
            answers = read_answers(await ask(server, stream))
            assert [each.status for each in answers] == [200, 200, 400]
            assert answers[-1].headers[b"connection"] == b"close"
            # Nothing holds the connection once the client has read it.
            await until(lambda: server.n_connections == 0)

    run(scenario())


def test_a_refused_client_that_neither_reads_nor_leaves_is_closed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triskele.serve.http.client_connection.LINGER_SECONDS", 0.05)

    async def scenario() -> None:
        async with serving(echo) as server, connected(server) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\n\r\n" + get("/")[:20])
            assert b" 400 " in await reader.read()
            writer.write(b"x" * 100)
            await until(lambda: server.n_connections == 0)

    run(scenario())


def test_an_upgrade_is_declined_by_an_ordinary_answer(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as server:
            lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
            data = await ask(server, post("/a", b"abc", *lines) + get("/b", LAST))
            assert [each.body for each in read_answers(data)] == [b"POST /a abc", b"GET /b "]

    run(scenario())


@pytest.mark.parametrize("path", ["/stream", "/whole"])
@pytest.mark.parametrize("way", ["close", "reset", "half"])
def test_the_application_is_cancelled_when_the_client_goes(run: Run, path: str, way: str) -> None:
    async def scenario() -> None:
        application = Recorder()
        async with serving(application) as server, connected(server) as (reader, writer):
            writer.write(get(path))
            await until(lambda: application.n_started == 1)
            if path == "/stream":
                await reader.readuntil(b"first")
            if way == "close":
                writer.close()
            elif way == "reset":
                writer.transport.abort()
            else:
                writer.write_eof()
            # Promised within 0.1 s; a busy machine gets more.
            await until(lambda: application.n_cancelled == 1, 2.0)
            await until(lambda: server.n_connections == 0)

    run(scenario())


def test_an_application_at_work_after_its_answer_is_left_alone(run: Run) -> None:
    finished: list[bool] = []

    async def tidy(request: HttpRequest, reply: Reply) -> None:
        reply.send(200, b"")
        await asyncio.sleep(0.05)
        finished.append(reply.is_ended)

    async def scenario() -> None:
        async with serving(tidy) as server:
            async with connected(server) as (reader, writer):
                writer.write(get("/"))
                await reader.readuntil(b"\r\n\r\n")
            await until(lambda: server.n_connections == 0)
            await until(lambda: finished == [True])

    run(scenario())


def test_a_client_that_sends_its_last_and_closes_its_side_still_gets_what_was_sent(
    run: Run,
) -> None:
    async def scenario() -> None:
        async with serving(echo) as server, connected(server) as (reader, writer):
            writer.write(get("/"))
            assert await reader.readuntil(b"GET / ")
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), SECONDS) == b""

    run(scenario())


def test_a_slow_reader_stops_the_source_and_then_gets_everything(run: Run) -> None:
    n_written = 0
    flow: list[bool] = []
    pieces = [bytes([n % 251]) * (64 << 10) for n in range(512)]

    async def stream(request: HttpRequest, reply: Reply) -> None:
        nonlocal n_written
        reply.on_flow = flow.append
        reply.start(200, [], length=None)
        for piece in pieces:
            reply.write(piece)
            n_written += len(piece)
            await reply.drain()
        reply.end()

    async def scenario() -> None:
        limits = Limits(buffer_bytes=128 << 10)
        async with serving(stream, limits=limits) as server, connected(server) as (reader, writer):
            writer.write(get("/", LAST))
            await until(lambda: flow[:1] == [True])
            # The buffers on the way fill up.
            await asyncio.sleep(0.2)
            stopped_at = n_written
            assert stopped_at < MANY_BYTES // 2
            await asyncio.sleep(0.1)
            assert n_written == stopped_at
            assert flow[-1]
            answer, _ = read_answer(await asyncio.wait_for(reader.read(), SECONDS))
            assert answer.body == b"".join(pieces)
            assert flow[:2] == [True, False]

    run(scenario())


def test_a_client_that_reads_no_more_is_closed_and_the_application_cancelled(run: Run) -> None:
    n_cancelled = 0

    async def stream(request: HttpRequest, reply: Reply) -> None:
        nonlocal n_cancelled
        reply.start(200, [], length=None)
        try:
            while True:
                reply.write(b"x" * (256 << 10))
                await reply.drain()
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            n_cancelled += 1
            raise

    async def scenario() -> None:
        limits = Limits(stall_seconds=0.1)
        async with serving(stream, limits=limits) as server, connected(server) as (_, writer):
            writer.write(get("/"))
            await until(lambda: n_cancelled == 1)
            await until(lambda: server.n_connections == 0)

    run(scenario())


def test_a_client_that_reads_slowly_is_not_taken_for_one_that_stalls(run: Run) -> None:
    async def whole(request: HttpRequest, reply: Reply) -> None:
        reply.send(200, b"x" * MANY_BYTES)

    async def scenario() -> None:
        limits = Limits(stall_seconds=0.4, idle_seconds=0.1)
        async with serving(whole, limits=limits) as server, connected(server) as (reader, writer):
            writer.write(get("/", LAST))
            n_read = 0
            for _ in range(8):
                await asyncio.sleep(0.1)
                n_read += len(await reader.readexactly(3 << 20))
            assert len(await asyncio.wait_for(reader.read(), SECONDS)) + n_read > MANY_BYTES

    run(scenario())


def test_a_client_that_asks_without_reading_gets_no_further_answers(run: Run) -> None:
    n_answered = 0

    async def whole(request: HttpRequest, reply: Reply) -> None:
        nonlocal n_answered
        n_answered += 1
        reply.send(200, b"x" * (1 << 20))

    async def scenario() -> None:
        n_requests = 60
        async with serving(whole) as server, connected(server) as (reader, writer):
            writer.write(get("/") * (n_requests - 1) + get("/", LAST))
            await until(lambda: n_answered > 0)
            await asyncio.sleep(0.2)
            assert n_answered < n_requests // 2
            data = await asyncio.wait_for(reader.read(), SECONDS)
            assert data.count(b"HTTP/1.1 200 OK") == n_requests

    run(scenario())


def test_a_client_far_ahead_is_not_read(run: Run) -> None:
    async def scenario() -> None:
        application = Recorder()
        limits = Limits(body_bytes=1 << 20)
        n_requests = MANY_BYTES >> 20
        async with (
            serving(application, limits=limits) as server,
            connected(server) as (reader, writer),
        ):
            writer.write(get("/first"))
            for n in range(n_requests):
                writer.write(post(f"/{n}", b"x" * (1 << 20)))
            writer.write(get("/", LAST))
            await asyncio.sleep(0.3)
            assert application.n_started == 1
            assert writer.transport.get_write_buffer_size() > 0
            application.may_answer.set()
            answers = read_answers(await asyncio.wait_for(reader.read(), SECONDS))
            assert len(answers) == n_requests + 2

    run(scenario())


def test_an_application_that_fails_before_it_answers_is_a_500(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(request: HttpRequest, reply: Reply) -> None:
        if request.path == "/bad":
            raise RuntimeError("secret")
        await echo(request, reply)

    async def scenario() -> None:
        async with serving(fails) as server:
            answers = read_answers(await ask(server, get("/bad") + get("/good", LAST)))
            assert [each.status for each in answers] == [500, 200]
            assert b"secret" not in answers[0].body

    run(scenario())
    assert "GET /bad failed" in caplog.text


def test_an_application_that_forgets_to_answer_is_a_500(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def forgets(request: HttpRequest, reply: Reply) -> None:
        if request.path == "/half":
            reply.start(200, [], length=None)
            reply.write(b"half")

    async def scenario() -> None:
        async with serving(forgets) as server:
            assert [a.status for a in read_answers(await ask(server, get("/", LAST)))] == [500]
            async with connected(server) as (reader, writer):
                writer.write(get("/half"))
                # Cut off without the last chunk.
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readuntil(b"0\r\n\r\n")

    run(scenario())
    assert "GET / was not answered" in caplog.text


@pytest.mark.parametrize("path", ["/fails", "/long", "/short", "/cancels"])
def test_a_broken_answer_is_seen_to_be_broken(
    run: Run, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async def breaks(request: HttpRequest, reply: Reply) -> None:
        reply.start(200, [], length=10)
        reply.write(b"12345")
        await asyncio.sleep(0.02)
        if request.path == "/fails":
            raise RuntimeError("no")
        if request.path == "/long":
            reply.write(b"678901")
        if request.path == "/cancels":
            raise asyncio.CancelledError
        reply.end()

    async def scenario() -> None:
        async with serving(breaks) as server, connected(server) as (reader, writer):
            writer.write(get(path) + get("/next"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"content-length: 10" in head
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(10), SECONDS)

    run(scenario())


def test_an_application_that_fails_after_its_answer_leaves_it_whole(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(request: HttpRequest, reply: Reply) -> None:
        await echo(request, reply)
        raise RuntimeError("late")

    async def scenario() -> None:
        async with serving(fails) as server:
            answers = read_answers(await ask(server, get("/a") + get("/b", LAST)))
            assert [each.body for each in answers] == [b"GET /a ", b"GET /b "]

    run(scenario())
    assert "GET /a failed" in caplog.text


@pytest.mark.parametrize("data", [b"G", get("/")[:-2], post("/", b"abc")[:-1]])
def test_a_request_that_does_not_come_to_its_end_is_a_408(run: Run, data: bytes) -> None:
    async def scenario() -> None:
        limits = Limits(header_seconds=0.1, body_seconds=0.1)
        async with serving(echo, limits=limits) as server, connected(server) as (reader, writer):
            for first in (get("/"), b""):
                if first:
                    writer.write(first)
                    await reader.readuntil(b"GET / ")
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
            [answer] = read_answers(await asyncio.wait_for(reader.read(), SECONDS))
            assert answer.status == 408
            writer.close()
            await until(lambda: server.n_connections == 0)

    run(scenario())


def test_a_client_that_trickles_its_head_gets_no_more_time(run: Run) -> None:
    async def scenario() -> None:
        limits = Limits(header_seconds=0.2)
        async with serving(echo, limits=limits) as server, connected(server) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\n")
            reading = asyncio.create_task(reader.read())
            async with asyncio.timeout(SECONDS):
                while not reading.done():
                    writer.write(b"X: y\r\n")
                    await asyncio.sleep(0.02)
            assert b" 408 " in await reading

    run(scenario())


def test_a_connection_on_which_nothing_comes_is_closed(run: Run) -> None:
    async def scenario() -> None:
        limits = Limits(idle_seconds=0.1)
        async with serving(echo, limits=limits) as server:
            assert await ask(server, b"") == b""
            assert read_answers(await ask(server, get("/")))[0].status == 200

    run(scenario())


def test_a_long_answer_is_not_cut_off_for_what_the_client_sends_meanwhile(run: Run) -> None:
    async def scenario() -> None:
        application = Recorder()
        limits = Limits(header_seconds=0.05, body_seconds=0.05, idle_seconds=0.05)
        async with (
            serving(application, limits=limits) as server,
            connected(server) as (reader, writer),
        ):
            writer.write(get("/stream"))
            await reader.readuntil(b"first")
            writer.write(get("/whole") + post("/rest", b"abc")[:-1])
            await asyncio.sleep(0.3)
            assert application.n_cancelled == 0
            application.may_answer.set()
            assert await reader.readuntil(b"/whole")
            # Now its time runs.
            assert b" 408 " in await asyncio.wait_for(reader.read(), SECONDS)

    run(scenario())


def test_small_pieces_are_not_held_back(run: Run) -> None:
    no_delay: list[int] = []

    async def look(request: HttpRequest, reply: Reply) -> None:
        own = reply._transport.get_extra_info("socket")
        no_delay.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        reply.send(200, request.client.encode())

    async def scenario() -> None:
        async with serving(look) as server:
            assert read_answers(await ask(server, get("/", LAST)))[0].body == b"127.0.0.1"
        assert no_delay[0] != 0

    run(scenario())


SEEDS = [
    get("/a?b=c", "Accept: */*"),
    post("/v1/chat/completions", b'{"model": "m"}', "Content-Type: application/json"),
    b"POST /c HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
    get("/old", "Connection: keep-alive", version="1.0"),
    post("/", b"abc", "Expect: 100-continue"),
    get("/", "Connection: Upgrade", "Upgrade: websocket"),
]
NOISE = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\x00", b":", b" ", b"HTTP/1.1", b"\r\n\r\n"]),
)
DAMAGE = st.tuples(st.integers(0, 10_000), st.sampled_from(["insert", "replace", "cut"]), NOISE)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_damaged_requests_neither_crash_the_server_nor_hang_it(
    new_loop: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    limits = Limits(header_seconds=0.02, body_seconds=0.02, idle_seconds=0.02)

    with asyncio.Runner(loop_factory=new_loop) as runner:  # type: ignore[arg-type]
        context = serving(echo, limits=limits)
        own = runner.run(context.__aenter__())

        @settings(
            max_examples=120,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(
            st.lists(st.sampled_from(SEEDS), min_size=1, max_size=3),
            st.lists(DAMAGE, min_size=1, max_size=5),
        )
        def fuzz(requests: list[bytes], damages: list[tuple[int, str, bytes]]) -> None:
            stream = bytearray(b"".join(requests))
            for place, kind, noise in damages:
                n = place % (len(stream) + 1)
                end = n if kind == "insert" else n + len(noise)
                stream[n:end] = b"" if kind == "cut" else noise
            try:
                data = runner.run(asyncio.wait_for(ask(own, bytes(stream)), SECONDS))
            except ConnectionResetError:
                # On a busy machine its time can be up before it is read.
                return
            while data:
                # What became of a method may be a HEAD; its answers have no body.
                answer, data = read_answer(data)
                assert answer.status in (100, 200) or 400 <= answer.status < 500

        try:
            fuzz()
            sound = runner.run(ask(own, get("/", LAST)))
            assert read_answers(sound)[0].body == b"GET / "
        finally:
            runner.run(context.__aexit__(None, None, None))
    assert caplog.records == []
