import json
from math import inf

import pytest
from tests.serve.http.wire import Read, Transport, read_answer

from triskele.serve.gateway.refusal import Refusal
from triskele.serve.http import HttpRequest, Reply


def sent(refusal: Refusal, headers: list[tuple[bytes, bytes]] | None = None) -> Read:
    transport = Transport()
    reply = Reply(transport, HttpRequest("POST", "/", "", []), keeps_alive=True, is_old=False)
    refusal.send(reply, headers=headers or [])
    answer, rest = read_answer(transport.written)
    assert rest == b""
    assert reply.is_ended
    return answer


def test_a_refusal_is_an_error_as_clients_of_openai_expect_it() -> None:
    answer = sent(Refusal(404, "no such model", code="model_not_found"))
    assert answer.status == 404
    assert json.loads(answer.body)["error"] == {
        "message": "no such model",
        "type": "not_found_error",
        "param": None,
        "code": "model_not_found",
    }
    assert not {b"retry-after", b"www-authenticate"} & answer.headers.keys()


def test_who_lacks_a_key_is_told_how_to_present_one() -> None:
    assert sent(Refusal(401, "who are you")).headers[b"www-authenticate"] == b"Bearer"


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (59.5, b"60")]
)
def test_the_time_to_try_again_is_whole_seconds_and_never_too_soon(
    seconds: float, written: bytes
) -> None:
    answer = sent(Refusal(429, "full", retry_after=seconds))
    assert answer.headers[b"retry-after"] == written


def test_what_never_fits_is_not_told_to_try_again() -> None:
    assert b"retry-after" not in sent(Refusal(429, "too long", retry_after=inf)).headers


def test_the_fields_given_are_sent_and_stay_as_they_were() -> None:
    headers = [(b"x-request-id", b"7")]
    assert sent(Refusal(401, "no", retry_after=1.0), headers).headers[b"x-request-id"] == b"7"
    assert headers == [(b"x-request-id", b"7")]


def test_whatever_a_message_says_it_is_one_json_string() -> None:
    message = 'a "model"\r\nx: y\x00\u2028'
    assert json.loads(sent(Refusal(404, message)).body)["error"]["message"] == message
