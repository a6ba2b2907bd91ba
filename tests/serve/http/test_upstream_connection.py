import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from tests.serve.http.wire import Told, Transport

from triskele.serve.http import BrokenOff, Flow, Headers
from triskele.serve.http.upstream_connection import HEAD_BYTES, UpstreamConnection

HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def connect() -> tuple[UpstreamConnection, Transport]:
    connection, transport = UpstreamConnection(), Transport()
    connection.connection_made(transport)
    return connection, transport


def bytewise(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status", "length", "body", "is_usable"),
    [
        (WHOLE, 200, 3, b"abc", True),
        (WHOLE.replace(b"Content", b"Connection: close\r\nContent"), 200, 3, b"abc", False),
        (WHOLE.replace(b"1.1", b"1.0"), 200, 3, b"abc", False),
        (CHUNKED + b"1;x=y\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 200, None, b"abc", True),
        (CHUNKED + b"0\r\nX: y\r\n\r\n", 200, None, b"", True),
        (b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", 503, 0, b"", True),
        (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", 503, 0, b"", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, None, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, 5, b"", True),
        (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + WHOLE, 200, 3, b"abc", True),
        (b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 3 + WHOLE, 200, 3, b"abc", True),
    ],
)
def test_an_answer_is_told_however_it_is_cut(
    data: bytes, status: int, length: int | None, body: bytes, is_usable: bool
) -> None:
    async def scenario() -> None:
        for pieces in ([data], bytewise(data)):
            connection, transport = connect()
            told = Told()
            done = connection.send(HEAD, b"body", told)
            assert transport.written == HEAD + b"body"
            assert not connection.is_usable
            for n, piece in enumerate(pieces, 1):
                assert not done.done()
                connection.data_received(piece)
                assert connection.has_answered
                assert done.done() is (n == len(pieces))
            assert (told.status, told.length, told.body) == (status, length, body)
            # Neither what came before the head nor trailers.
            assert b"x" not in dict(told.headers)
            assert connection.is_usable is is_usable

    run(scenario)


def test_what_comes_at_once_is_told_at_once() -> None:
    async def scenario() -> None:
        connection, _ = connect()
        told = Told()
        connection.send(HEAD, b"", told)
        connection.data_received(CHUNKED + b"1\r\na\r\n2\r\nbc\r\n")
        assert told.pieces == [b"abc"]
        connection.data_received(b"1\r\nd\r\n0\r\n\r\n")
        assert told.pieces == [b"abc", b"d"]

    run(scenario)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"]
)
def test_an_answer_without_a_length_ends_with_the_connection(head: bytes) -> None:
    async def scenario() -> None:
        connection, _ = connect()
        told = Told()
        done = connection.send(HEAD, b"", told)
        connection.data_received(head + b"ab")
        connection.data_received(b"c")
        assert not done.done()
        connection.connection_lost(None)
        await done
        assert (told.length, told.body, connection.is_usable) == (None, b"abc", False)

    run(scenario)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", None),
        (b"HTTP/1.1 20", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (WHOLE[:-1], None),
        (CHUNKED + b"3\r\nabc\r\n", None),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", ConnectionResetError("reset")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", None),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(data: bytes, error: Exception | None) -> None:
    async def scenario() -> None:
        connection, _ = connect()
        done = connection.send(HEAD, b"", Told())
        if data:
            connection.data_received(data)
        connection.connection_lost(error)
        with pytest.raises(BrokenOff, match="the connection was lost"):
            await done
        assert connection.has_answered is bool(data)
        assert not connection.is_usable

    run(scenario)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        WHOLE.replace(b"\r\n", b"\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        CHUNKED + b"x\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nabc",
    ],
)
def test_what_is_not_http_is_an_error(data: bytes) -> None:
    async def scenario() -> None:
        for pieces in ([data], bytewise(data)):
            connection, transport = connect()
            done = connection.send(HEAD, b"", Told())
            for piece in pieces:
                if not transport.is_aborted:
                    connection.data_received(piece)
            with pytest.raises(BrokenOff, match="not HTTP"):
                await done
            assert transport.is_aborted
            assert not connection.is_usable

    run(scenario)


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"x", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_head_without_end_is_an_error(piece: bytes) -> None:
    async def scenario() -> None:
        connection, transport = connect()
        done = connection.send(HEAD, b"", Told())
        start = b"HTTP/1.1 200 OK\r\n" + (b"X: " if piece == b"x" else b"")
        connection.data_received(b"" if piece[:1] == b"H" else start)
        block = piece * (50_000 // len(piece))
        for _ in range(HEAD_BYTES // len(block) + 2):
            if not transport.is_aborted:
                connection.data_received(block)
        with pytest.raises(BrokenOff, match="the head has more than"):
            await done

    run(scenario)


@pytest.mark.parametrize(
    "extra",
    [WHOLE, b"garbage", b"HTTP/1.1 2", b"abc"],
)
@pytest.mark.parametrize("is_at_once", [True, False])
def test_what_nobody_asked_for_is_not_told_and_ends_the_connection(
    extra: bytes, is_at_once: bool
) -> None:
    async def scenario() -> None:
        connection, transport = connect()
        told = Told()
        done = connection.send(HEAD, b"", told)
        connection.data_received(WHOLE + extra if is_at_once else WHOLE)
        await done
        assert (told.body, told.headers) == (b"abc", [(b"content-length", b"3")])
        if not is_at_once:
            assert connection.is_usable
            connection.data_received(extra)
            assert transport.is_aborted
        assert not connection.is_usable or extra == b"HTTP/1.1 2"

    run(scenario)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        WHOLE,
        WHOLE + WHOLE,
    ],
)
def test_the_answer_to_a_head_request_ends_with_its_head(data: bytes) -> None:
    async def scenario() -> None:
        connection, _ = connect()
        told = Told()
        done = connection.send(HEAD.replace(b"GET", b"HEAD"), b"", told)
        connection.data_received(data)
        assert done.done()
        await done
        assert (told.status, told.body) == (200, b"")
        assert not connection.is_usable

    run(scenario)


def test_an_error_of_whoever_is_told_is_raised_as_it_is() -> None:
    class Fails(Told):
        def __init__(self, at_head: bool) -> None:
            super().__init__()
            self.at_head = at_head

        def on_head(self, status: int, headers: Headers, length: int | None, flow: object) -> None:
            super().on_head(status, headers, length, flow)
            if self.at_head:
                raise RuntimeError("mine")

        def on_body(self, data: bytes) -> None:
            raise RuntimeError("mine")

    async def scenario() -> None:
        for at_head in (True, False):
            for data in (WHOLE, WHOLE[:-1]):
                connection, transport = connect()
                done = connection.send(HEAD, b"", Fails(at_head))
                connection.data_received(data)
                with pytest.raises(RuntimeError, match="mine"):
                    await done
                assert transport.is_aborted
                assert not connection.is_usable

    run(scenario)


def test_an_answer_can_be_made_to_wait() -> None:
    async def scenario() -> None:
        connection, transport = connect()
        told = Told()
        connection.send(HEAD, b"", told)
        connection.data_received(WHOLE[:-1])
        flow = cast(Flow, told.flow)
        flow.pause()
        assert not transport.is_reading
        flow.resume()
        assert transport.is_reading

    run(scenario)


def test_the_flow_of_an_answer_that_is_over_does_not_touch_the_next() -> None:
    class Pauses(Told):
        def on_body(self, data: bytes) -> None:
            super().on_body(data)
            cast(Flow, self.flow).pause()

    async def scenario() -> None:
        connection, transport = connect()
        first, second = Pauses(), Told()
        done = connection.send(HEAD, b"", first)
        connection.data_received(WHOLE)
        await done
        assert transport.is_reading
        done = connection.send(HEAD, b"", second)
        connection.data_received(WHOLE[:-1])
        old, new = cast(Flow, first.flow), cast(Flow, second.flow)
        old.pause()
        assert transport.is_reading
        new.pause()
        old.resume()
        assert not transport.is_reading
        new.resume()
        connection.connection_lost(None)
        new.pause()
        with pytest.raises(BrokenOff):
            await done

    run(scenario)


def test_nothing_can_be_sent_on_a_connection_that_is_lost() -> None:
    async def scenario() -> None:
        connection, _ = connect()
        connection.connection_lost(None)
        with pytest.raises(BrokenOff, match="was lost"):
            await connection.send(HEAD, b"", Told())

    run(scenario)


def test_an_answer_to_nobody_is_dropped() -> None:
    async def scenario() -> None:
        connection, transport = connect()
        told = Told()
        done = connection.send(HEAD, b"", told)
        done.cancel()
        connection.close()
        connection.connection_lost(None)
        assert transport.is_aborted
        assert told.status is None

    run(scenario)
