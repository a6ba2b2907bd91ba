import json
from typing import Any

from triskele.serve.engine.answers import DONE, Answers, Kind
from triskele.serve.engine.engine import Finish, Piece
from triskele.serve.engine.sampler import Logprobs


def answers(kind: Kind, *, n_choices: int = 1, n_prompts: int = 1) -> Answers:
    return Answers(
        kind,
        id="7",
        created=3,
        model="m",
        n_choices=n_choices,
        n_prompts=n_prompts,
        spell=lambda token: chr(token),
    )


def piece(
    text: str, n: int, finish: Finish | None = None, logprobs: Logprobs | None = None
) -> Piece:
    return Piece("x", text, 65, logprobs, finish, n_prompt=5, n_cached=4, n_answered=n)


def events(data: bytes) -> list[dict[str, Any]]:
    blocks = [block for block in data.split(b"\n\n") if block and block != b"data: [DONE]"]
    return [json.loads(block.removeprefix(b"data: ")) for block in blocks]


def test_a_whole_chat_answer() -> None:
    one = answers("chat")
    one.take(0, piece("a", 1))
    assert one.n_open == 1
    one.take(0, piece("b", 2, "length"))
    assert one.n_open == 0
    assert json.loads(one.whole()) == {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "created": 3,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "refusal": None},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }


def test_prompts_count_once_however_many_answers() -> None:
    four = answers("completion", n_choices=2, n_prompts=2)
    for n in range(4):
        four.take(n, piece(str(n), 1, "stop"))
    body = json.loads(four.whole())
    assert [choice["text"] for choice in body["choices"]] == list("0123")
    assert body["usage"]["prompt_tokens"] == 10
    assert body["usage"]["completion_tokens"] == 4
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 8


def test_a_chat_stream_opens_tells_and_closes() -> None:
    one = answers("chat")
    (opening,) = events(one.opening())
    assert opening["object"] == "chat.completion.chunk"
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert one.event(0, piece("", 1)) == b""
    (event,) = events(one.event(0, piece("é", 2)))
    assert event["choices"][0] == {
        "index": 0,
        "delta": {"content": "é"},
        "logprobs": None,
        "finish_reason": None,
    }
    (event,) = events(one.event(0, piece("", 3, "stop")))
    assert (event["choices"][0]["delta"], event["choices"][0]["finish_reason"]) == ({}, "stop")
    assert one.closing(tells_usage=False) == DONE
    (usage,) = events(one.closing(tells_usage=True))
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3


def test_log_probabilities_in_either_format() -> None:
    told = Logprobs(65, -0.5, ((65, -0.5), (66, -1.5)))
    one = answers("chat")
    one.take(0, piece("A", 1, "stop", told))
    content = json.loads(one.whole())["choices"][0]["logprobs"]["content"]
    assert content[0]["token"] == "A"
    assert content[0]["bytes"] == [65]
    assert [top["token"] for top in content[0]["top_logprobs"]] == ["A", "B"]
    other = answers("completion")
    other.take(0, piece("A", 1, None, told))
    other.take(0, piece("A", 2, "stop", told))
    assert json.loads(other.whole())["choices"][0]["logprobs"] == {
        "tokens": ["A", "A"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"A": -0.5, "B": -1.5}] * 2,
        "text_offset": [0, 1],
    }
    (event,) = events(answers("completion").event(0, piece("", 1, None, told)))
    assert event["choices"][0]["logprobs"]["tokens"] == ["A"]


def test_a_completion_stream_has_no_opening() -> None:
    one = answers("completion")
    assert one.opening() == b""
    (event,) = events(one.event(0, piece("x", 1, "length")))
    assert event["object"] == "text_completion"
    assert event["choices"][0]["text"] == "x"
