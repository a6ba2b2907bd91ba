import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.evaluate.collect.faults import EndpointFault, RequestFault, TransientFault
from triskele.evaluate.collect.keys import Key
from triskele.evaluate.collect.reply import Reply, Response, read_reply, refusal_of

SECRET = "sk-0123456789abcdef"


def response(status: int, content: object, **changes: Any) -> Response:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = {"status": status, "content": raw, "where": "m at http://a/v1", "has_key": True}
    return Response(**{**fields, "hide": Key(SECRET).hide, **changes})


def chat(message: object, **changes: object) -> dict[str, object]:
    return {"choices": [{"message": message, "finish_reason": "stop"}], **changes}


def test_a_completion_is_a_reply() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    content = chat({"role": "assistant", "content": "Because."}, usage=usage)
    read = read_reply(response(200, content))
    assert read == Reply(text="Because.", finish="stop", tokens_in=7, tokens_out=2)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": None, "refusal": "I would rather not."}, "I would rather not."),
        ({"content": None}, ""),
        ({}, ""),
    ],
)
def test_texts_come_in_several_forms(message: object, text: str) -> None:
    assert read_reply(response(200, chat(message))).text == text


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "7"}, {"prompt_tokens": -1}, [1]])
def test_what_is_not_counted_is_not_known(usage: object) -> None:
    read = read_reply(response(200, chat({"content": "a"}, usage=usage)))
    assert (read.tokens_in, read.tokens_out) == (None, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, EndpointFault),
        (402, EndpointFault),
        (404, EndpointFault),
        (405, EndpointFault),
        (301, EndpointFault),
        (400, RequestFault),
        (403, RequestFault),
        (413, RequestFault),
        (422, RequestFault),
        (408, TransientFault),
        (409, TransientFault),
        (425, TransientFault),
        (429, TransientFault),
        (500, TransientFault),
        (503, TransientFault),
        (529, TransientFault),
    ],
)
def test_a_status_says_what_is_to_be_done(status: int, kind: type[Exception]) -> None:
    error = {"error": {"message": f"you sent {SECRET}\nand more"}}
    with pytest.raises(kind, match=str(status)) as raised:
        read_reply(response(status, error))
    assert "m at http://a/v1" in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_429_without_money_is_no_reason_to_wait() -> None:
    error = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    with pytest.raises(EndpointFault, match="exceeded your quota"):
        read_reply(response(429, error, retry_after=1.0))


def test_a_wait_is_handed_on_unless_it_is_too_long() -> None:
    for status in (429, 503):
        with pytest.raises(TransientFault) as raised:
            read_reply(response(status, {}, retry_after=7.0))
        assert raised.value.retry_after == 7.0
    with pytest.raises(EndpointFault, match="wait for 86,400 s"):
        read_reply(response(429, {}, retry_after=86400.0))


def test_a_missing_key_is_told_from_a_wrong_one() -> None:
    with pytest.raises(EndpointFault, match="refuses the key"):
        read_reply(response(401, {"error": {"message": f"wrong key sk-01***{SECRET}"}}))
    with pytest.raises(EndpointFault, match="asks for a key"):
        read_reply(response(401, {}, has_key=False))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        {},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        {"choices": "none"},
        {"choices": [{"message": {"content": None}, "finish_reason": "error", "error": {}}]},
        {"error": {"message": "the provider broke", "code": 502}},
    ],
)
def test_a_200_that_is_no_completion_may_be_asked_again_and_may_be_billed(content: object) -> None:
    with pytest.raises(TransientFault) as raised:
        read_reply(response(200, content))
    assert raised.value.may_be_billed


def test_long_words_are_cut_after_the_key_is_hidden() -> None:
    message = "x" * 190 + SECRET + "y" * 100
    with pytest.raises(RequestFault) as raised:
        read_reply(response(400, {"error": {"message": message}}))
    assert "sk-0" not in str(raised.value)
    assert str(raised.value).endswith("…")


def test_a_text_that_quotes_the_key_is_kept_without_it() -> None:
    assert read_reply(response(200, chat({"content": f"{SECRET}?"}))).text == "[key]?"


def test_a_refusal_tells_the_parameter() -> None:
    error = {"error": {"message": "Unsupported value", "param": "temperature"}}
    assert refusal_of(response(400, error)) == "temperature Unsupported value"
    assert refusal_of(response(422, error)) == refusal_of(response(400, b"no")) == ""


@given(st.integers(200, 599), st.binary())
def test_any_bytes_are_a_reply_or_a_fault(status: int, content: bytes) -> None:
    with pytest.raises((EndpointFault, RequestFault, TransientFault)):
        read_reply(response(status, content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("choices", "message", "content", "usage", "error", "refusal")), inner
        )
    ),
)


@given(st.sampled_from((200, 400, 401, 429, 500)), JSON)
def test_any_json_is_a_reply_or_a_fault(status: int, content: object) -> None:
    refusal_of(response(status, content))
    try:
        read = read_reply(response(status, content))
    except (EndpointFault, RequestFault, TransientFault):
        return
    assert isinstance(read.text, str)
