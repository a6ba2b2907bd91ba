import asyncio

import pytest
from tests.serve.http.conftest import Run
from tests.serve.http.wire import echo, read_request, serving, upstream

from triskele.serve.http import BrokenOff, HttpRequest, Origin, Reply, fetch, request_head


def test_a_request_is_sent_and_its_whole_answer_returned(run: Run) -> None:
    async def application(request: HttpRequest, reply: Reply) -> None:
        fields = [(b"X-Asked", request.header(b"x-a") or b"")]
        body = f"{request.method} {request.target} ".encode() + request.body
        reply.send(201, body, headers=fields)

    async def scenario() -> None:
        async with serving(application) as server:
            origin = Origin(f"http://127.0.0.1:{server.port}/base/")
            answer = await fetch(origin, "PUT", "/a?b", headers=[(b"X-A", b"1")], body=b"abc")
            assert (answer.status, answer.body) == (201, b"PUT /base/a?b abc")
            assert answer.header(b"x-asked") == b"1"
            assert answer.header(b"nothing") is None
            origin.close()

    run(scenario())


@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE", "POST", "OPTIONS"])
def test_every_method_gets_its_answer(run: Run, method: str) -> None:
    async def scenario() -> None:
        async with serving(echo) as server:
            origin = Origin(f"http://127.0.0.1:{server.port}")
            for _ in range(2):
                answer = await fetch(origin, method, "/", seconds=5.0)
                assert answer.status == 200
                assert answer.body == (b"" if method == "HEAD" else f"{method} / ".encode())
                assert answer.header(b"content-length") == b"%d" % len(f"{method} / ")
            origin.close()

    run(scenario())


def test_an_answer_without_end_is_cut_off_when_it_is_too_long(run: Run) -> None:
    is_stopped = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
        finally:
            is_stopped.set()

    async def scenario() -> None:
        async with upstream(serve) as url:
            with pytest.raises(BrokenOff, match="longer than it may be"):
                await fetch(Origin(url), "GET", "/", n_bytes=100_000)
            await asyncio.wait_for(is_stopped.wait(), 5.0)

    run(scenario())


def test_an_answer_of_just_the_longest_size_is_returned(run: Run) -> None:
    async def scenario() -> None:
        async with serving(echo) as server:
            origin = Origin(f"http://127.0.0.1:{server.port}")
            answer = await fetch(origin, "POST", "/", body=b"x" * 93, n_bytes=100)
            assert len(answer.body) == 100
            with pytest.raises(BrokenOff):
                await fetch(origin, "POST", "/", body=b"x" * 94, n_bytes=100)
            origin.close()

    run(scenario())


def test_an_answer_that_does_not_come_in_time_is_given_up(run: Run) -> None:
    is_left = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        is_left.set()

    async def scenario() -> None:
        async with upstream(mute) as url:
            with pytest.raises(TimeoutError):
                await fetch(Origin(url), "GET", "/", seconds=0.05)
            await asyncio.wait_for(is_left.wait(), 5.0)

    run(scenario())


def test_a_head_is_framed_by_the_length_of_the_body() -> None:
    origin = Origin("http://here:1/base")
    assert request_head(origin, "GET", "/a", headers=[(b"x", b"y")], length=0) == (
        b"GET /base/a HTTP/1.1\r\nhost: here:1\r\nx: y\r\n\r\n"
    )
    assert request_head(origin, "POST", "/", headers=(), length=0).endswith(
        b"\r\ncontent-length: 0\r\n\r\n"
    )
    assert b"content-length: 2\r\n" in request_head(origin, "GET", "/", headers=(), length=2)


@pytest.mark.parametrize(
    ("target", "value"), [("/a\r\nX: y", b""), ("/", b"a\r\nb: c"), ("/", b"a\nb"), ("/", b"a\r")]
)
def test_a_line_break_cannot_be_smuggled_into_a_head(target: str, value: bytes) -> None:
    with pytest.raises(ValueError, match="without line breaks"):
        request_head(Origin("http://here"), "GET", target, headers=[(b"x", value)], length=0)
