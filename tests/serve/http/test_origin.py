import asyncio
import socket
from typing import cast

import pytest
from tests.serve.http.conftest import Run
from tests.serve.http.wire import SECONDS, Told, read_request, until, upstream

from triskele.serve.http import BrokenOff, Flow, Headers, Origin, Unreachable, request_head

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


def head(origin: Origin, method: str = "GET", *, length: int = 0) -> bytes:
    return request_head(origin, method, "/", headers=(), length=length)


@pytest.mark.parametrize(
    ("url", "clean", "host", "prefix"),
    [
        ("http://here:80", "http://here:80", b"here:80", ""),
        ("http://here/", "http://here", b"here", ""),
        ("https://here/a/b/", "https://here/a/b", b"here", "/a/b"),
        ("http://[::1]:8000", "http://[::1]:8000", b"[::1]:8000", ""),
        ("http://bücher.example:1", "http://bücher.example:1", b"xn--bcher-kva.example:1", ""),
    ],
)
def test_a_url_is_taken_apart(url: str, clean: str, host: bytes, prefix: str) -> None:
    origin = Origin(url)
    assert (origin.url, origin.host_header, origin.prefix) == (clean, host, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "here:80",
        "ftp://here",
        "http://",
        "http://:80",
        "http://here:99999",
        "http://here:x",
        "http://user@here",
        "http://@here",
        "http://:@here",
        "http://user:secret@here",
        "http://here?a=b",
        "http://here#a",
        "http://he re",
        "http://here\r\nX: y",
        "http://here/\x00",
        "http://here/ü",
    ],
)
def test_a_url_that_names_no_upstream_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)expected a URL|port") as caught:
        Origin(url)
    assert "secret" not in str(caught.value)


def test_a_connection_serves_one_request_after_the_other(run: Run) -> None:
    n_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_connections
        n_connections += 1
        while True:
            request = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request) + request)

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            for n in range(5):
                told = Told()
                sent = head(origin, "POST", length=n)
                await origin.exchange(sent, b"x" * n, told)
                assert told.body == sent + b"x" * n
            assert n_connections == 1
            origin.close()

    run(scenario())


@pytest.mark.parametrize("n_idle", [0, 2, 10])
def test_no_more_connections_are_kept_than_may_be_idle(run: Run, n_idle: int) -> None:
    n_open = 0
    n_asked = 0
    may_answer = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_open, n_asked
        n_open += 1
        try:
            while True:
                await read_request(reader)
                n_asked += 1
                await may_answer.wait()
                writer.write(WHOLE)
        finally:
            n_open -= 1

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url, n_idle=n_idle)
            asked = [
                asyncio.create_task(origin.exchange(head(origin), b"", Told())) for _ in range(6)
            ]
            await until(lambda: n_asked == 6)
            may_answer.set()
            await asyncio.gather(*asked)
            await until(lambda: n_open == min(n_idle, 6))
            origin.close()
            await until(lambda: n_open == 0)
            # It still serves, and keeps nothing.
            await origin.exchange(head(origin), b"", Told())
            await until(lambda: n_open == 0)

    run(scenario())


def test_connections_that_the_upstream_closed_take_no_place_in_the_pool(run: Run) -> None:
    writers: list[asyncio.StreamWriter] = []
    may_answer = [asyncio.Event() for _ in range(3)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        n = len(writers)
        writers.append(writer)
        while True:
            await read_request(reader)
            await may_answer[n].wait()
            writer.write(WHOLE)

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url, n_idle=2)
            asked = [
                asyncio.create_task(origin.exchange(head(origin), b"", Told())) for _ in range(3)
            ]
            await until(lambda: len(writers) == 3)
            for n in (0, 1):
                may_answer[n].set()
                await until(lambda n=n: sum(task.done() for task in asked) == n + 1)  # type: ignore[misc]
            writers[0].transport.abort()
            await until(lambda: not origin._idle[0].is_usable)
            may_answer[2].set()
            await asyncio.gather(*asked)
            # The one that came last has the place of the one that is closed.
            assert [each.is_usable for each in origin._idle] == [True, True]
            origin.close()

    run(scenario())


def test_an_idle_connection_found_closed_is_replaced_once(run: Run) -> None:
    n_connections = n_asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_connections, n_asked
        n_connections += 1
        await read_request(reader)
        n_asked += 1
        writer.write(WHOLE)
        # The next request meets a closing door.
        await read_request(reader)

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            for n in range(1, 4):
                told = Told()
                await origin.exchange(head(origin), b"", told)
                assert (told.body, n_connections) == (b"abc", n)
            origin.close()

    run(scenario())


def test_a_request_that_fells_its_upstream_is_not_sent_again_and_again(run: Run) -> None:
    n_poisoned = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_poisoned
        while True:
            request = await read_request(reader)
            if b"POST" in request:
                n_poisoned += 1
                return
            await asyncio.sleep(0.05)
            writer.write(WHOLE)

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            asked = [origin.exchange(head(origin), b"", Told()) for _ in range(8)]
            await asyncio.gather(*asked)
            with pytest.raises(BrokenOff):
                await origin.exchange(head(origin, "POST"), b"", Told())
            assert n_poisoned == 2
            origin.close()

    run(scenario())


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 OK\r\n", WHOLE[:-1], b"nonsense", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_an_answer_that_is_not_whole_is_an_error_and_asked_for_once(run: Run, data: bytes) -> None:
    n_asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_asked
        await read_request(reader)
        n_asked += 1
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            with pytest.raises(BrokenOff):
                await origin.exchange(head(origin), b"", Told())
            assert n_asked == 1

    run(scenario())


def test_an_answer_that_ends_with_the_connection_is_whole(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            for _ in range(2):
                told = Told()
                await origin.exchange(head(origin), b"", told)
                assert told.body == b"x" * 100_000

    run(scenario())


def test_nobody_there_is_unreachable(run: Run) -> None:
    with socket.socket() as taken:
        # Bound, and not listening.
        taken.bind(("127.0.0.1", 0))

        async def scenario() -> None:
            port = taken.getsockname()[1]
            for url in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}", "http://a..b"):
                origin = Origin(url)
                with pytest.raises(Unreachable, match="no connection"):
                    await origin.exchange(head(origin), b"", Told())

        run(scenario())


def test_a_connection_that_does_not_come_about_in_time_is_unreachable(run: Run) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario() -> None:
        async with upstream(mute) as url:
            # The handshake is never answered.
            origin = Origin(url.replace("http:", "https:"), connect_seconds=0.05)
            with pytest.raises(Unreachable, match=r"within 0\.05 s"):
                await origin.exchange(head(origin), b"", Told())

    run(scenario())


@pytest.mark.parametrize("sent", [b"", WHOLE[:-1]])
def test_a_cancelled_exchange_closes_its_connection(run: Run, sent: bytes) -> None:
    is_closed = asyncio.Event()
    is_asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(sent)
        is_asked.set()
        try:
            await reader.read()
        finally:
            is_closed.set()

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            asking = asyncio.create_task(origin.exchange(head(origin), b"", Told()))
            await is_asked.wait()
            await asyncio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.wait_for(is_closed.wait(), SECONDS)

    run(scenario())


def test_an_answer_bigger_than_is_read_waits_at_the_upstream(run: Run) -> None:
    n_sent = 0
    n_bytes = 48 << 20

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n_bytes)
        while n_sent < n_bytes:
            writer.write(b"x" * (1 << 20))
            n_sent += 1 << 20
            await writer.drain()
        await read_request(reader)
        writer.write(WHOLE)

    class Slow(Told):
        n_read = 0

        def on_head(self, status: int, headers: Headers, length: int | None, flow: object) -> None:
            super().on_head(status, headers, length, flow)
            cast(Flow, flow).pause()

        def on_body(self, data: bytes) -> None:
            self.n_read += len(data)

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            told = Slow()
            asking = asyncio.create_task(origin.exchange(head(origin), b"", told))
            await until(lambda: told.status == 200)
            await asyncio.sleep(0.1)
            stopped_at = n_sent
            assert stopped_at < n_bytes
            assert told.n_read < n_bytes
            await asyncio.sleep(0.05)
            assert n_sent == stopped_at
            cast(Flow, told.flow).resume()
            await asking
            assert told.n_read == n_bytes
            # The connection reads on, whatever the last answer's holder does.
            cast(Flow, told.flow).pause()
            after = Told()
            await origin.exchange(head(origin), b"", after)
            assert after.body == b"abc"
            origin.close()

    run(scenario())


def test_bytes_that_nobody_asked_for_end_an_idle_connection(run: Run) -> None:
    n_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_connections
        n_connections += 1
        await read_request(reader)
        writer.write(WHOLE)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            for n in range(1, 3):
                told = Told()
                await origin.exchange(head(origin), b"", told)
                assert (told.body, n_connections) == (b"abc", n)
                await until(lambda: not origin._idle[-1].is_usable)
            origin.close()

    run(scenario())


def test_small_requests_are_not_held_back(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(WHOLE)
        await reader.read()

    async def scenario() -> None:
        async with upstream(serve) as url:
            origin = Origin(url)
            await origin.exchange(head(origin), b"", Told())
            transport = origin._idle[0]._transport
            assert transport is not None
            own = transport.get_extra_info("socket")
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            origin.close()

    run(scenario())
