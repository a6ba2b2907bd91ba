import asyncio
import ssl
import tracemalloc

import pytest
import trustme
from tests.serve.http.conftest import Run
from tests.serve.http.wire import (
    SECONDS,
    Recorder,
    ask,
    connected,
    echo,
    get,
    post,
    read_answers,
    serving,
    until,
)

from triskele.serve.http import HttpServer, Limits, Origin, Unreachable, fetch

LAST = "Connection: close"


def test_a_server_that_has_not_started_has_no_port_and_nothing_to_drain(run: Run) -> None:
    async def scenario() -> None:
        server = HttpServer(echo)
        with pytest.raises(ValueError, match="has started"):
            _ = server.port
        assert await server.drain(0.0)

    run(scenario())


def test_an_address_in_use_is_an_error(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as server:
            with pytest.raises(OSError, match="in use"):
                await HttpServer(echo).start("127.0.0.1", server.port)

    run(scenario())


def test_many_clients_are_served_at_once(run: Run) -> None:
    async def scenario() -> None:
        application = Recorder()
        async with serving(application) as server:
            asked = [asyncio.create_task(ask(server, get(f"/{n}", LAST))) for n in range(50)]
            await until(lambda: application.n_started == 50)
            assert server.n_connections == 50
            application.may_answer.set()
            answers = [read_answers(data) for data in await asyncio.gather(*asked)]
            assert [[each.body for each in read] for read in answers] == [
                [f"/{n}".encode()] for n in range(50)
            ]
            await until(lambda: server.n_connections == 0)

    run(scenario())


def test_one_client_too_many_is_turned_away(run: Run) -> None:
    async def scenario() -> None:
        limits = Limits(n_connections=2)
        async with serving(echo, limits=limits) as server:
            async with connected(server), connected(server):
                await until(lambda: server.n_connections == 2)
                for data in (b"", get("/")):
                    [answer] = read_answers(await ask(server, data))
                    assert answer.status == 503
                    await until(lambda: server.n_connections == 2)
            await until(lambda: server.n_connections == 0)
            assert read_answers(await ask(server, get("/", LAST)))[0].status == 200

    run(scenario())


def test_a_drain_finishes_what_is_in_flight_and_closes_the_idle(run: Run) -> None:
    async def scenario() -> None:
        application = Recorder()
        async with (
            serving(application) as server,
            connected(server) as (idle_reader, _),
            connected(server) as (whole_reader, whole),
            connected(server) as (stream_reader, stream),
            connected(server) as (partial_reader, partial),
        ):
            whole.write(get("/a") + get("/b"))
            stream.write(get("/stream"))
            partial.write(post("/late", b"abc")[:-1])
            await until(lambda: application.n_started == 2)
            draining = asyncio.create_task(server.drain(SECONDS))
            assert await asyncio.wait_for(idle_reader.read(), SECONDS) == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)
            assert not draining.done()
            application.may_answer.set()
            partial.write(b"c")
            answers = read_answers(await asyncio.wait_for(whole_reader.read(), SECONDS))
            assert [each.body for each in answers] == [b"/a", b"/b"]
            assert answers[-1].headers[b"connection"] == b"close"
            [streamed] = read_answers(await asyncio.wait_for(stream_reader.read(), SECONDS))
            assert streamed.body == b"first"
            [late] = read_answers(await asyncio.wait_for(partial_reader.read(), SECONDS))
            assert (late.body, late.headers[b"connection"]) == (b"/late", b"close")
            assert await draining
            assert application.n_cancelled == 0
            assert server.n_connections == 0

    run(scenario())


def test_a_drain_that_runs_out_of_time_cancels_and_says_so(run: Run) -> None:
    async def scenario() -> None:
        application = Recorder()
        async with serving(application) as server, connected(server) as (_, writer):
            writer.write(get("/"))
            await until(lambda: application.n_started == 1)
            assert not await server.drain(0.05)
            assert server.n_connections == 0
            await until(lambda: application.n_cancelled == 1)
            # A second drain has nothing to do.
            assert await server.drain(0.05)

    run(scenario())


def test_connections_leave_nothing_behind(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as server:

            async def visit(n: int) -> None:
                for _ in range(n):
                    await ask(server, get("/", LAST))
                await until(lambda: server.n_connections == 0)

            await visit(20)
            tracemalloc.start()
            try:
                await visit(20)
                before = tracemalloc.get_traced_memory()[0]
                await visit(100)
                assert tracemalloc.get_traced_memory()[0] - before < 3_000_000
            finally:
                tracemalloc.stop()

    run(scenario())


def test_https_is_served_and_asked_for(run: Run) -> None:
    authority = trustme.CA()
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(own)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def scenario() -> None:
        server = HttpServer(echo)
        await server.start("127.0.0.1", 0, ssl=own)
        origin = Origin(f"https://127.0.0.1:{server.port}", ssl=trusting)
        wary = Origin(f"https://127.0.0.1:{server.port}")
        try:
            big = b"x" * (2 << 20)
            for body in (b"abc", big):
                answer = await fetch(origin, "POST", "/a", body=body)
                assert answer.body == b"POST /a " + body
            assert server.n_connections == 1
            refused = await fetch(origin, "CONNECT", "/")
            assert refused.status == 400
            with pytest.raises(Unreachable, match="no connection"):
                await fetch(wary, "GET", "/")
        finally:
            origin.close()
            await until(lambda: server.n_connections == 0)
            await server.drain(0.0)

    run(scenario())
