import asyncio

import pytest
from tests.serve.http.wire import Transport, read_answer

from triskele.serve.http import HttpRequest, Reply


def reply_to(
    method: str = "GET", *, keeps_alive: bool = True, is_old: bool = False
) -> tuple[Reply, Transport]:
    transport = Transport()
    request = HttpRequest(method, "/", "", [])
    return Reply(transport, request, keeps_alive=keeps_alive, is_old=is_old), transport


def test_a_whole_answer_is_one_piece_with_its_length() -> None:
    reply, transport = reply_to()
    assert not reply.started
    reply.send(201, b"abc", content_type=b"text/plain", headers=[(b"x", b"y")])
    assert transport.written == (
        b"HTTP/1.1 201 Created\r\nx: y\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nabc"
    )
    assert (reply.status, reply.started, reply.is_ended, reply.n_bytes) == (201, True, True, 3)


def test_an_answer_of_unknown_length_goes_out_in_chunks() -> None:
    reply, transport = reply_to()
    reply.start(200, [], length=None)
    for data in (b"a" * 17, b"", b"b"):
        reply.write(data)
    assert not reply.is_ended
    reply.end()
    assert transport.written.endswith(b"\r\n\r\n11\r\n" + b"a" * 17 + b"\r\n1\r\nb\r\n0\r\n\r\n")
    answer, rest = read_answer(transport.written)
    assert (answer.body, rest, reply.n_bytes) == (b"a" * 17 + b"b", b"", 18)
    assert reply.keeps_alive


def test_an_announced_answer_goes_out_as_it_is() -> None:
    reply, transport = reply_to()
    reply.start(200, [], length=4)
    reply.write(b"ab")
    reply.write(b"cd")
    reply.end()
    assert transport.written == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd"
    assert reply.keeps_alive


def test_a_client_of_old_gets_an_unknown_length_until_the_end_of_the_connection() -> None:
    reply, transport = reply_to(is_old=True)
    reply.start(200, [], length=None)
    reply.write(b"ab")
    reply.end()
    assert transport.written == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"
    assert not reply.keeps_alive


def test_a_client_of_old_is_told_that_the_connection_stays() -> None:
    reply, transport = reply_to(is_old=True)
    reply.send(200, b"")
    assert b"\r\nconnection: keep-alive\r\n" in transport.written


def test_a_client_is_told_that_the_connection_ends() -> None:
    reply, transport = reply_to(keeps_alive=False)
    reply.send(200, b"")
    assert b"\r\nconnection: close\r\n" in transport.written


@pytest.mark.parametrize("length", [3, None])
def test_a_head_request_gets_the_head_only(length: int | None) -> None:
    reply, transport = reply_to("HEAD")
    reply.start(200, [], length=length)
    reply.write(b"abc")
    reply.end()
    answer, rest = read_answer(transport.written, is_head=True)
    assert rest == b""
    assert (answer.headers.get(b"content-length") == b"3") is (length == 3)
    assert reply.keeps_alive


def test_a_head_request_gets_the_length_of_a_whole_answer() -> None:
    reply, transport = reply_to("HEAD")
    reply.send(200, b"abc")
    answer, rest = read_answer(transport.written, is_head=True)
    assert (answer.headers[b"content-length"], rest) == (b"3", b"")


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("is_whole", [True, False])
def test_an_answer_without_a_body_frames_none(status: int, is_whole: bool) -> None:
    reply, transport = reply_to()
    if is_whole:
        reply.send(status, b"dropped")
    else:
        reply.start(status, [], length=None)
        reply.write(b"dropped")
        reply.end()
    assert transport.written.endswith(b"\r\n\r\n")
    assert b"content-length" not in transport.written
    assert b"transfer-encoding" not in transport.written


def test_a_status_without_a_name_can_be_sent() -> None:
    reply, transport = reply_to()
    reply.send(599, b"")
    assert transport.written.startswith(b"HTTP/1.1 599 \r\n")


def test_more_bytes_than_announced_are_refused_and_not_sent() -> None:
    reply, transport = reply_to()
    reply.start(200, [], length=3)
    reply.write(b"ab")
    with pytest.raises(ValueError, match="no more bytes than were announced"):
        reply.write(b"cd")
    assert transport.written.endswith(b"\r\n\r\nab")
    assert reply.n_bytes == 2


def test_fewer_bytes_than_announced_end_the_connection() -> None:
    reply, _ = reply_to()
    reply.start(200, [], length=3)
    reply.write(b"ab")
    reply.end()
    assert not reply.keeps_alive


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_a_field_with_a_line_break_is_refused_before_anything_is_sent(value: bytes) -> None:
    reply, transport = reply_to()
    with pytest.raises(ValueError, match="without line breaks"):
        reply.send(200, b"", headers=[(b"x", value)])
    assert transport.written == b""
    assert not reply.started
    reply.send(500, b"")


def test_an_answer_has_one_beginning_and_one_end() -> None:
    reply, transport = reply_to()
    for act in (lambda: reply.write(b"a"), reply.end):
        with pytest.raises(ValueError, match="started and not ended"):
            act()
    reply.start(200, [], length=None)
    with pytest.raises(ValueError, match="not started"):
        reply.start(200, [], length=None)
    with pytest.raises(ValueError, match="not started"):
        reply.send(200, b"")
    reply.end()
    for act in (lambda: reply.write(b"a"), reply.end):
        with pytest.raises(ValueError, match="started and not ended"):
            act()
    assert read_answer(transport.written)[1] == b""


def test_what_is_written_to_nobody_is_dropped() -> None:
    reply, transport = reply_to()
    reply.start(200, [], length=None)
    reply.leave()
    before = transport.written
    reply.write(b"a")
    reply.end()
    assert transport.written == before
    assert reply.is_ended


def test_an_abort_ends_the_connection() -> None:
    reply, transport = reply_to()
    reply.start(200, [], length=None)
    reply.abort()
    assert transport.is_aborted
    assert reply.is_gone


def test_whoever_writes_waits_until_there_is_room() -> None:
    async def scenario() -> None:
        reply, _ = reply_to()
        changes: list[bool] = []
        reply.on_flow = changes.append
        await reply.drain()
        for release in (lambda: reply.flow(is_paused=False), reply.leave):
            reply.flow(is_paused=True)
            waiting = asyncio.create_task(reply.drain())
            await asyncio.sleep(0)
            assert not waiting.done()
            release()
            await waiting
        assert changes == [True, False, True]
        # Nobody waits for a client that has gone.
        await reply.drain()

    asyncio.run(scenario())
