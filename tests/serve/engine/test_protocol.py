import json
from typing import Any

import pytest

from triskele.serve.engine import SamplingParams
from triskele.serve.engine.protocol import (
    BadRequest,
    chat_params,
    completion_params,
    conversation,
    read_chat,
    read_completion,
)

HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields: Any) -> bytes:
    return json.dumps({"messages": HELLO, **fields}).encode()


def completion(**fields: Any) -> bytes:
    return json.dumps({"prompt": "hello", **fields}).encode()


def test_silence_means_openais_defaults() -> None:
    assert chat_params(read_chat(chat()), n_left=99) == SamplingParams(max_tokens=99)
    assert completion_params(read_completion(completion()), n_left=99) == SamplingParams()
    assert completion_params(read_completion(completion()), n_left=3).max_tokens == 3


def test_every_field_finds_its_place() -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "seed": 4,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"5": 1.5},
        "stop_token_ids": [3],
        "include_stop_str_in_output": True,
        "ignore_eos": True,
        "unheard_of": {"is": "ignored"},
    }
    expected = {
        "max_tokens": 8,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "seed": 4,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {5: 1.5},
        "stop_ids": frozenset({3}),
        "include_stop": True,
        "ignore_eos": True,
    }
    body = completion(max_tokens=8, logprobs=2, stop="x", **fields)
    assert completion_params(read_completion(body), n_left=1) == SamplingParams(
        **expected, logprobs=2, stop=("x",)
    )
    body = chat(max_completion_tokens=8, logprobs=True, top_logprobs=3, stop=["x", "y"], **fields)
    assert chat_params(read_chat(body), n_left=1) == SamplingParams(
        **expected, logprobs=3, stop=("x", "y")
    )


def test_null_is_silence_and_minus_one_every_token() -> None:
    body = chat(temperature=None, n=None, stop=None, logit_bias=None, top_k=-1, max_tokens=5)
    request = read_chat(body)
    assert request.n_choices == 1
    assert chat_params(request, n_left=9) == SamplingParams(max_tokens=5)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_prompts_are_texts_or_tokens(prompt: object, expected: list[object]) -> None:
    assert read_completion(completion(prompt=prompt)).prompts() == expected


@pytest.mark.parametrize("prompt", [[], ["a", 1], ["a", [1]], [[1], 2]])
def test_mixed_and_missing_prompts_are_refused(prompt: object) -> None:
    with pytest.raises(BadRequest, match="prompt must be"):
        read_completion(completion(prompt=prompt)).prompts()


@pytest.mark.parametrize(
    ("body", "complaint", "param"),
    [
        (b"", "the body is not JSON", None),
        (b"\xff{}", "the body is not JSON", None),
        (b'{"messages":[{"content":' + b"[" * 100_000, "the body is not JSON", None),
        (b"[]", "Expected `object`, got `array`", None),
        (b"{}", "missing required field `messages`", None),
        (chat(messages=[]), "messages must not be empty", "messages"),
        (chat(messages="hi"), "Expected `array`, got `str`", "messages"),
        (chat(max_tokens="8"), "Expected `int | null`, got `str`", "max_tokens"),
        (chat(n=0), r"n must be in \[1, 128\], got 0", "n"),
        (chat(tools=[{}]), "tools are not supported", "tools"),
        (chat(response_format={"type": "json_object"}), "other than text", "response_format"),
    ],
)
def test_what_is_no_chat_request_is_refused(body: bytes, complaint: str, param: str | None) -> None:
    with pytest.raises(BadRequest, match=complaint.replace("|", r"\|")) as caught:
        read_chat(body)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"echo": True}, "echo"), ({"suffix": "x"}, "suffix"), ({"best_of": 2}, "best_of")],
)
def test_what_would_change_the_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest, match="not supported") as caught:
        read_completion(completion(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"stop": ""}, "stop"),
    ],
)
def test_values_out_of_range_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        chat_params(read_chat(chat(**fields)), n_left=9)
    assert caught.value.param == param


def test_messages_keep_their_texts_alone() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
    ]
    assert [each["content"] for each in conversation(messages)] == ["s", "ab", ""]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"content": "x"}, r"messages\[0\] must have a role"),
        ({"role": "user", "content": 3}, "must have text alone"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "text alone"),
        ({"role": "user", "content": ["x"]}, "text alone"),
    ],
)
def test_other_messages_are_refused(message: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        conversation([message])
