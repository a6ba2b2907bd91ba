from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from triskele.integrations.calls import Paging, answer_tokens, request_of
from triskele.serve.cache import chained_key
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.routing import Request

PAGING = Paging(page_size=4, bytes_per_token=4)


def read(*arguments: Any, **rest: Any) -> Request:
    return request_of(7, arguments, paging=PAGING, **rest)


def chat(*contents: str, **rest: Any) -> dict[str, Any]:
    roles = ["system", "user", "assistant"]
    messages = [{"role": roles[at % 3], "content": text} for at, text in enumerate(contents)]
    return {"messages": messages} | rest


def n_shared(one: Request, other: Request) -> int:
    """Pages that two prompts have in common."""
    n_pages = min(len(one.key), len(other.key)) // HASH_BYTES
    for n in range(n_pages, 0, -1):
        if one.key[: n * HASH_BYTES] == other.key[: n * HASH_BYTES]:
            return n
    return 0


def test_a_text_is_cut_into_pages_and_its_last_token_counts() -> None:
    request = read("0123456789abcdef" * 3 + "left")
    assert (request.id, request.n_prompt, len(request.key)) == (7, 13, 3 * HASH_BYTES)
    assert read("").n_prompt == 1
    assert read("abc").n_prompt == 1
    assert read("é" * 8).n_prompt == 4


@pytest.mark.parametrize(
    "call",
    [
        "one prompt that is long enough for pages",
        {"prompt": "one prompt that is long enough for pages"},
        SimpleNamespace(prompt="one prompt that is long enough for pages"),
        {"text": "one prompt that is long enough for pages", "sampling_params": {}},
    ],
)
def test_a_prompt_is_the_same_wherever_it_stands(call: Any) -> None:
    assert read(call) == read("one prompt that is long enough for pages")


@pytest.mark.parametrize("tokens", [list(range(9)), tuple(range(9)), np.arange(9)])
def test_token_ids_are_cut_by_tokens(tokens: Any) -> None:
    for call in (tokens, {"prompt": tokens}, {"input_ids": tokens}):
        request = read(call)
        assert request.n_prompt == 9
        assert request.key == chained_key(list(range(9)), 4)


def test_turns_of_one_conversation_share_all_that_they_have_in_common() -> None:
    first = read(chat("You are kind. " * 20, "Who are you?"))
    second = read(chat("You are kind. " * 20, "Who are you?", "I am I.", "Really?"))
    # All but the page in which the first one's list of messages ends.
    assert n_shared(first, second) == len(first.key) // HASH_BYTES
    other = read(chat("You are kind. " * 20, "What is this?"))
    assert n_shared(first, other) >= 15
    assert n_shared(first, read(chat("You are stern. " * 20, "Who are you?"))) <= 2


def test_objects_are_read_as_mappings_are() -> None:
    call = chat("You are kind. " * 5, "Who are you?", model="m")
    assert read(SimpleNamespace(**call)) == read(call)
    messages = [SimpleNamespace(**message) for message in call["messages"]]
    assert read(SimpleNamespace(messages=messages, model="m")) == read(call)

    class Dumped:
        def __init__(self, message: dict[str, str]) -> None:
            self.message = message

        def model_dump(self, *, exclude_none: bool) -> dict[str, str]:
            assert exclude_none
            return self.message

    dumped = [Dumped(message) for message in call["messages"]]
    assert read({"messages": dumped, "model": "m"}) == read(call)
    assert read(call["messages"]) == read({"messages": call["messages"]})


def test_tools_come_before_messages() -> None:
    tools = [{"type": "function", "function": {"name": "weather" * 20}}]
    one, other = (read(chat(text, tools=tools)) for text in ("first" * 9, "other" * 9))
    assert n_shared(one, other) >= 9
    assert n_shared(one, read(chat("first" * 9))) == 0


def test_models_and_adapters_do_not_share_pages() -> None:
    text = "one prompt that is long enough for pages"
    alike = [
        read(text),
        read(text, model="adapter"),
        read({"prompt": text, "model": "small"}),
        read({"prompt": text, "model": "large"}),
        read({"prompt": text, "model": "large"}, model="adapter"),
    ]
    assert len({request.key for request in alike}) == len(alike)


def test_the_first_argument_with_a_prompt_counts() -> None:
    assert read(None, 5, {"temperature": 1.0}, {"prompt": "a" * 16}, "b" * 16).key == (
        read("a" * 16).key
    )


@pytest.mark.parametrize(
    "call", [None, 5, {}, b"raw", {"prompt": None}, {"prompt": b"raw"}, [], {"messages": None}]
)
def test_what_holds_no_prompt_has_no_pages(call: Any) -> None:
    assert read(call) == read()
    assert read(call, session="s", kind="k") == Request(7, b"", 1, session="s", kind="k")


@pytest.mark.parametrize("call", [{"prompt": [1, "two"]}, {"prompt": [-1]}, {"prompt": [1 << 32]}])
def test_what_is_no_prompt_where_one_should_be_is_refused(call: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        read(call)


def test_a_batch_of_texts_is_read_as_one() -> None:
    one, other = read({"input": ["first " * 20, "second"]}), read({"input": ["first " * 20, "x"]})
    assert n_shared(one, other) == 7


def test_lone_surrogates_are_text() -> None:
    assert read({"prompt": "\ud800" * 16}).n_prompt == 12


@pytest.mark.parametrize(
    ("answer", "n_tokens"),
    [
        ({"usage": {"completion_tokens": 12}}, 12),
        (SimpleNamespace(usage=SimpleNamespace(completion_tokens=12)), 12),
        ({"usage": None}, None),
        ({"usage": {"completion_tokens": "12"}}, None),
        ({"usage": {"completion_tokens": -1}}, None),
        ({}, None),
        ("text", None),
        (b"raw", None),
        (None, None),
    ],
)
def test_an_answer_says_how_many_tokens_it_has(answer: Any, n_tokens: int | None) -> None:
    assert answer_tokens(answer) == n_tokens


@pytest.mark.parametrize("settings", [{"page_size": 0}, {"bytes_per_token": 0}])
def test_pages_of_nothing_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="pages of at least one token of one byte"):
        Paging(**settings)
