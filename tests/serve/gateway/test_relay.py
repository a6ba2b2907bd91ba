import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serve.http.wire import Transport, read_answer

from triskele.serve.gateway.relay import HOP_BY_HOP, KEPT_BYTES, OWN_FIELDS, Relay, passed_on
from triskele.serve.gateway.usage import UNKNOWN, Usage
from triskele.serve.http import HttpRequest, Reply

STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 64},
}
TOLD = Usage(100, 64, 3)
EVENT = b'data: {"choices":[{"delta":{"content":"\xc3\xa4"}}],"usage":null}\n\n'
LAST = b'data: {"choices":[],"usage":%b}\n\n' % json.dumps(USAGE).encode()
DONE = b"data: [DONE]\n\n"


class Tap:
    """Where an answer comes from."""

    def __init__(self) -> None:
        self.is_paused = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


class Setting:
    """A relay, its client's side, and what it has told."""

    def __init__(self, *, keeps_errors: bool = True) -> None:
        self.transport = Transport()
        request = HttpRequest("POST", "/", "", [])
        self.reply = Reply(self.transport, request, keeps_alive=True, is_old=False)
        self.tap = Tap()
        self.now = 0.0
        self.n_first = 0
        self.relay = Relay(
            self.reply,
            own_headers=[(b"x-request-id", b"7")],
            now=lambda: self.now,
            first_event=self._first_event,
            keeps_errors=keeps_errors,
        )

    def _first_event(self) -> None:
        # The client has it by then.
        assert self.transport.written.count(b"data:") > 0 or self.reply.n_bytes > 0
        self.n_first += 1

    def tell(self, *pieces: bytes, status: int = 200, headers: Any = (), length: Any = None) -> Any:
        self.relay.on_head(status, list(headers), length, self.tap)
        for piece in pieces:
            self.relay.on_body(piece)
        return self


def test_pieces_go_on_as_they_come() -> None:
    it = Setting().tell(headers=STREAM)
    for n, piece in enumerate((EVENT, EVENT, LAST, DONE), start=1):
        it.relay.on_body(piece)
        assert it.transport.written.count(b"data:") == n
    it.reply.end()
    answer, rest = read_answer(it.transport.written)
    assert (answer.body, rest) == (EVENT + EVENT + LAST + DONE, b"")
    assert answer.headers[b"content-type"] == STREAM[0][1]


def test_the_first_event_of_a_good_stream_is_told_once_and_its_time_noted() -> None:
    it = Setting().tell(headers=STREAM)
    assert (it.n_first, it.relay.first_byte) == (0, None)
    it.now = 1.5
    it.relay.on_body(EVENT)
    it.now = 2.0
    it.relay.on_body(EVENT)
    assert (it.n_first, it.relay.first_byte, it.relay.is_stream) == (1, 1.5, True)


def test_what_is_no_stream_or_no_good_one_has_no_first_event() -> None:
    assert Setting().tell(b"{}").n_first == 0
    assert Setting(keeps_errors=False).tell(EVENT, status=500, headers=STREAM).n_first == 0
    assert Setting().tell(EVENT, status=400, headers=STREAM).n_first == 0


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_the_usage_of_a_stream_is_read_wherever_it_is_cut(end: bytes) -> None:
    data = (EVENT + EVENT + EVENT + LAST + DONE).replace(b"\n\n", end)
    for cut in range(1, len(data)):
        it = Setting().tell(data[:cut], data[cut:], headers=STREAM)
        assert it.relay.usage() == TOLD, (data[:cut], data[cut:])
        it.reply.end()
        assert read_answer(it.transport.written)[0].body == data


@given(cuts=st.lists(st.integers(1, len(EVENT * 3 + LAST + DONE) - 1), max_size=12))
def test_the_usage_of_a_stream_is_read_however_often_it_is_cut(cuts: list[int]) -> None:
    data = EVENT * 3 + LAST + DONE
    borders = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(borders) if a < b]
    it = Setting().tell(*pieces, headers=STREAM)
    assert it.relay.usage() == TOLD
    it.reply.end()
    assert read_answer(it.transport.written)[0].body == data


@given(cuts=st.lists(st.integers(1, len(EVENT * 5 + DONE) - 1), max_size=12))
def test_without_usage_the_events_are_counted_however_they_are_cut(cuts: list[int]) -> None:
    data = EVENT * 5 + DONE
    borders = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(borders) if a < b]
    assert Setting().tell(*pieces, headers=STREAM).relay.usage() == Usage(n_output=5)


def test_usage_with_every_event_is_that_of_the_last() -> None:
    growing = [
        b'data: {"usage":{"prompt_tokens":9,"completion_tokens":%d}}\n\n' % n for n in range(1, 50)
    ]
    it = Setting().tell(*growing, DONE, headers=STREAM)
    assert it.relay.usage() == Usage(9, None, 49)


def test_what_is_kept_of_a_long_stream_stays_small() -> None:
    it = Setting().tell(LAST, *[EVENT] * 20_000, DONE, headers=STREAM)
    kept = len(it.relay._tail) + sum(map(len, it.relay._kept))
    assert kept < 1000
    assert it.relay.usage() == TOLD
    assert it.relay.answer() == b""


def test_a_line_without_end_is_not_kept_without_end() -> None:
    it = Setting().tell(*[b"x" * 65536] * 40, headers=STREAM)
    assert sum(map(len, it.relay._kept)) <= KEPT_BYTES
    it.relay.on_body(b"\n\n" + LAST)
    assert it.relay.usage() == TOLD


def test_the_usage_of_a_whole_answer_is_read_from_all_its_pieces() -> None:
    body = json.dumps({"choices": [], "usage": USAGE}).encode()
    for cut in range(1, len(body)):
        it = Setting().tell(body[:cut], body[cut:], length=len(body))
        assert it.relay.usage() == TOLD
        assert it.relay.answer() == body


@pytest.mark.parametrize("status", [201, 204, 400, 404, 500])
def test_only_a_good_answer_has_a_usage(status: int) -> None:
    body = json.dumps({"usage": USAGE}).encode()
    it = Setting(keeps_errors=False).tell(body, status=status)
    assert it.relay.usage() == UNKNOWN


def test_an_answer_too_long_to_be_kept_is_passed_on_all_the_same() -> None:
    body = b'{"usage": {"prompt_tokens": 1}, "x": "%b"}' % (b"y" * KEPT_BYTES)
    it = Setting().tell(body[:1000], body[1000:], length=len(body))
    it.reply.end()
    assert read_answer(it.transport.written)[0].body == body
    assert it.relay.usage() == UNKNOWN


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_error_that_another_worker_may_not_have_is_kept_back_as_long_as_there_is_one(
    status: int,
) -> None:
    headers = [(b"retry-after", b"3"), (b"content-type", b"text/html"), (b"connection", b"close")]
    it = Setting().tell(b"<b>", b"no</b>", status=status, headers=headers, length=9)
    assert it.relay.is_kept
    assert not it.reply.started
    assert it.transport.written == b""
    it.relay.pass_on()
    answer, rest = read_answer(it.transport.written)
    assert (answer.status, answer.body, rest) == (status, b"<b>no</b>", b"")
    assert answer.headers[b"retry-after"] == b"3"
    assert answer.headers[b"content-type"] == b"text/html"
    assert answer.headers[b"x-request-id"] == b"7"
    assert b"connection" not in answer.headers
    assert it.reply.is_ended
    last = Setting(keeps_errors=False).tell(b"no", status=status)
    assert last.reply.started
    assert not last.relay.is_kept


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 422, 501])
def test_every_other_answer_goes_on_at_once(status: int) -> None:
    it = Setting().tell(b"x", status=status)
    assert it.reply.status == status
    assert not it.relay.is_kept


def test_what_was_kept_back_and_is_not_whole_is_forgotten() -> None:
    it = Setting().tell(b"<b>", status=500, length=9)
    it.relay.drop()
    assert not it.relay.is_kept
    assert not it.reply.started


def test_fields_of_one_connection_end_with_it_and_all_others_go_on() -> None:
    own = [(name, b"x") for name in sorted(HOP_BY_HOP) if name != b"connection"]
    other = [(b"x-a", b"1"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"server", b"s")]
    named = [(b"connection", b"keep-alive, X-Mine ,x-yours"), (b"x-mine", b"1"), (b"x-yours", b"2")]
    assert passed_on([*own, *other, *named], HOP_BY_HOP) == other
    assert passed_on([(b"connection", b"close"), (b"close", b"1")], HOP_BY_HOP) == [
        (b"close", b"1")
    ]
    it = Setting().tell(b"", headers=[*own, *named, (b"x-request-id", b"another"), (b"x-a", b"1")])
    it.reply.end()
    answer, _ = read_answer(it.transport.written)
    assert answer.headers == {
        b"x-a": b"1",
        b"x-request-id": b"7",
        b"transfer-encoding": b"chunked",
    }
    assert OWN_FIELDS > HOP_BY_HOP


def test_a_client_that_does_not_read_stops_the_worker() -> None:
    it = Setting().tell(EVENT, headers=STREAM)
    it.reply.flow(is_paused=True)
    assert it.tap.is_paused
    it.reply.flow(is_paused=False)
    assert not it.tap.is_paused


def test_the_head_of_a_stream_waits_for_its_first_event() -> None:
    it = Setting()
    it.relay.on_head(200, STREAM, None, it.tap)
    assert it.transport.written == b""
    assert not it.reply.started
    it.relay.on_body(EVENT)
    assert it.transport.written.startswith(b"HTTP/1.1 200")
    assert EVENT in it.transport.written


def test_nothing_of_a_whole_answer_is_sent_before_it_is_whole() -> None:
    it = Setting()
    body = json.dumps({"usage": USAGE}).encode()
    it.relay.on_head(200, [(b"content-type", b"application/json")], len(body), it.tap)
    it.relay.on_body(body[:10])
    assert it.transport.written == b""
    it.relay.on_body(body[10:])
    it.relay.end()
    assert it.transport.written.endswith(b"\r\n\r\n" + body)
    assert it.relay.usage() == TOLD


def test_a_whole_answer_that_is_too_long_to_hold_is_passed_on_as_it_comes() -> None:
    it = Setting()
    it.relay.on_head(200, [(b"content-type", b"application/json")], 2 * KEPT_BYTES, it.tap)
    it.relay.on_body(b"a" * (KEPT_BYTES - 1))
    assert not it.reply.started
    it.relay.on_body(b"b" * (KEPT_BYTES + 1))
    it.relay.end()
    sent = it.transport.written.partition(b"\r\n\r\n")[2]
    assert sent == b"a" * (KEPT_BYTES - 1) + b"b" * (KEPT_BYTES + 1)


def test_an_answer_without_a_body_is_passed_on_at_its_end() -> None:
    it = Setting()
    it.relay.on_head(200, [(b"x-a", b"1")], 0, it.tap)
    it.relay.end()
    assert it.transport.written.startswith(b"HTTP/1.1 200")
    assert b"x-a: 1" in it.transport.written
