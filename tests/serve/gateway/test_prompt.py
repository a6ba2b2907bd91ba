import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.gateway.prompt import (
    ATTACHMENT_TOKENS,
    MOST_TOKENS,
    SHORT_ANSWER,
    MalformedBody,
    Prompt,
    read_prompt,
)

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
PAGE_SIZE = 4
PAGE_BYTES = 4 * PAGE_SIZE
LONG = "What a long story this is, and it goes on and on. " * 10
# What JSON can hold; surrogates by themselves are no text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
CONTENTS = TEXTS | st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
    | st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, TEXTS),
    max_size=3,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": CONTENTS},
        optional={"tool_calls": st.just([{"id": "1", "function": {"name": "f"}}])},
    ),
    min_size=1,
    max_size=6,
)


def read(endpoint: str = CHAT, *, session: str | None = None, **fields: Any) -> Prompt:
    body = json.dumps(fields).encode()
    return read_prompt(body, endpoint=endpoint, page_size=PAGE_SIZE, session=session)


def pages(prompt: Prompt) -> list[int]:
    return np.frombuffer(prompt.key, "<u8").tolist()  # type: ignore[no-any-return]


def n_shared(a: Prompt, b: Prompt) -> int:
    """Return how many pages two prompts have in common from the beginning."""
    same = [x == y for x, y in zip(pages(a), pages(b), strict=False)]
    return same.index(False) if False in same else len(same)


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


@given(turns=TURNS, more=TURNS)
def test_the_next_turn_begins_with_the_pages_of_the_last(
    turns: list[dict[str, Any]], more: list[dict[str, Any]]
) -> None:
    last = read(model="m", messages=turns)
    following = read(model="m", messages=turns + more)
    assert n_shared(last, following) == len(pages(last))
    assert following.text.startswith(last.text)
    assert following.n_tokens >= last.n_tokens


@given(prefix=TEXTS, a=TEXTS, b=TEXTS)
def test_texts_share_the_whole_pages_they_have_in_common_and_no_more(
    prefix: str, a: str, b: str
) -> None:
    one, other = (read(TEXT, model="m", prompt=prefix + rest) for rest in (a, b))
    n_bytes = 0
    for x, y in zip((prefix + a).encode(), (prefix + b).encode(), strict=False):
        if x != y:
            break
        n_bytes += 1
    assert n_shared(one, other) == n_bytes // PAGE_BYTES


@given(text=TEXTS)
def test_a_prompt_has_a_page_per_so_many_bytes_and_a_token_per_four(text: str) -> None:
    prompt, n_bytes = read(TEXT, model="m", prompt=text), len(text.encode())
    assert len(pages(prompt)) == n_bytes // PAGE_BYTES
    assert prompt.n_tokens == max(1, -(-n_bytes // 4))
    assert len(pages(prompt)) * PAGE_SIZE <= prompt.n_tokens
    assert prompt.text == text.encode()


@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"},
        {"endpoint": TEXT},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
    ids=["model", "endpoint", "tools"],
)
def test_what_is_rendered_before_the_prompt_tells_prompts_apart(other: dict[str, Any]) -> None:
    fields = {"model": "m", "messages": [said(LONG)]}
    one = read(**fields)
    assert len(pages(one)) > 10
    assert n_shared(one, read(**{**fields, **other})) == 0
    assert n_shared(one, read(**{**fields, "temperature": 0.5, "stream": True, "x": 1})) > 10


def test_tools_count_as_part_of_the_prompt() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": LONG}}]
    without = read(model="m", messages=[said(LONG)])
    assert read(model="m", messages=[said(LONG)], tools=tools).n_tokens > 1.9 * without.n_tokens


@given(ids=st.lists(st.integers(0, (1 << 32) - 1), max_size=40))
def test_token_ids_are_hashed_as_they_are(ids: list[int]) -> None:
    prompt = read(TEXT, model="m", prompt=ids)
    assert len(pages(prompt)) == len(ids) // PAGE_SIZE
    if ids:
        assert (prompt.n_tokens, prompt.text) == (len(ids), b"")
    longer = read(TEXT, model="m", prompt=[*ids, 7])
    assert n_shared(prompt, longer) == len(pages(prompt))


@given(text=st.text("abcd", min_size=PAGE_BYTES, max_size=200))
def test_a_text_shares_nothing_with_the_token_ids_that_look_like_it(text: str) -> None:
    whole = text[: len(text) // 4 * 4]
    ids = np.frombuffer(whole.encode(), "<u4").tolist()
    one, other = read(TEXT, model="m", prompt=whole), read(TEXT, model="m", prompt=ids)
    assert len(pages(one)) == len(pages(other)) > 0
    assert n_shared(one, other) == 0


@pytest.mark.parametrize("endpoint", [TEXT, EMBED])
@pytest.mark.parametrize("field", ["prompt", "input"])
def test_many_prompts_are_one_after_the_other(endpoint: str, field: str) -> None:
    one = read(endpoint, model="m", **{field: [LONG]})
    two = read(endpoint, model="m", **{field: [LONG, LONG]})
    assert n_shared(one, two) == len(pages(one))
    assert two.n_tokens >= 2 * one.n_tokens - 1
    ids = read(endpoint, model="m", **{field: [[1, 2, 3], [4, 5]]})
    assert (ids.n_tokens, pages(ids)) == (5, pages(read(endpoint, model="m", prompt=[1, 2, 3, 4])))


def test_a_prompt_goes_before_an_input() -> None:
    assert read(TEXT, model="m", prompt="a" * 64, input="b" * 64).text == b"a" * 64
    assert read(TEXT, model="m", prompt=None, input="b" * 64).text == b"b" * 64


def picture(seed: int, n_bytes: int = 3_000_000) -> dict[str, Any]:
    data = base64.b64encode(np.random.default_rng(seed).bytes(n_bytes)).decode()
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}}


def test_pictures_count_as_attachments_and_not_by_their_size() -> None:
    parts = [{"type": "text", "text": "Look:"}, picture(1), picture(2)]
    prompt = read(model="m", messages=[{"role": "user", "content": parts}])
    assert 2 * ATTACHMENT_TOKENS < prompt.n_tokens < 2 * ATTACHMENT_TOKENS + 50
    assert len(prompt.text) < 200


def test_prompts_with_other_pictures_share_only_what_comes_before() -> None:
    def of(seed: int) -> Prompt:
        shown = {"role": "user", "content": [picture(seed, 100), {"type": "text", "text": LONG}]}
        return read(model="m", messages=[said(LONG, "system"), shown])

    same, other = n_shared(of(1), of(1)), n_shared(of(1), of(2))
    assert same == len(pages(of(1)))
    before = len(read(model="m", messages=[said(LONG, "system")]).key) // 8
    assert before <= other < same


def test_who_says_what_matters() -> None:
    one = read(model="m", messages=[said(LONG), said(LONG, "assistant")])
    other = read(model="m", messages=[said(LONG), said(LONG, "user")])
    assert 0 < n_shared(one, other) < len(pages(one))


@pytest.mark.parametrize(
    ("fields", "n_output"),
    [
        ({}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -3}, None),
        ({"max_tokens": 1}, 1),
        ({"max_tokens": 5.0}, 5),
        ({"max_tokens": 1e300, "ignore_eos": True}, MOST_TOKENS),
        ({"max_tokens": SHORT_ANSWER}, SHORT_ANSWER),
        ({"max_tokens": SHORT_ANSWER + 1}, None),
        ({"max_tokens": 500, "ignore_eos": True}, 500),
        ({"max_tokens": 500, "ignore_eos": False}, None),
        ({"max_completion_tokens": 3, "max_tokens": 500}, 3),
        ({"ignore_eos": True}, None),
        ({"max_tokens": 10**300, "ignore_eos": True}, MOST_TOKENS),
    ],
)
def test_the_length_of_an_answer_is_known_where_the_client_fixes_it(
    fields: dict[str, Any], n_output: int | None
) -> None:
    assert read(model="m", messages=[said("a")], **fields).n_output == n_output


def test_answers_of_about_the_same_length_are_of_a_kind() -> None:
    def kind(model: str = "m", endpoint: str = CHAT, n_most: int | None = None) -> str:
        return read(endpoint, model=model, messages=[said("a")], max_tokens=n_most).kind

    assert kind(n_most=100) == kind(n_most=120)
    kinds = {kind(), kind("n"), kind(endpoint=TEXT), kind(n_most=100), kind(n_most=1000)}
    assert len(kinds) == 5
    # However many there are, clients cannot make more of them by writing other numbers.
    assert len({kind(n_most=1 << n) for n in range(200)}) < 30


def test_a_session_is_what_the_header_says_or_else_the_body() -> None:
    fields = {"model": "m", "messages": [said("a")]}
    assert read(**fields).session is None
    assert read(**fields, user="u").session == "u"
    assert read(**fields, user="u", prompt_cache_key="c").session == "c"
    assert read(**fields, user="u", prompt_cache_key="c", session="s").session == "s"


def test_whether_an_answer_is_to_be_streamed_is_read() -> None:
    assert [read(messages=[], stream=given).is_stream for given in (True, False, None)] == [
        True,
        False,
        False,
    ]
    assert not read(messages=[]).is_stream


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"model": "m"',
        b'{"model": "m"} x',
        b"{'model': 'm'}",
        b'\xef\xbb\xbf{"model": "m"}',
        '{"model": "m"}'.encode("utf-16"),
        b'{"model": "m\x00"}',
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b'{"model": "\\udc00\\ud800"}',
        b'{"messages": [{"content": "\\ud800"}]}',
        b'{"model": 1}',
        b'{"model": ["m"]}',
        b'{"stream": "yes"}',
        b'{"stream": 1}',
        b'{"max_tokens": "10"}',
        b'{"max_tokens": 1.5}',
        b'{"max_tokens": 1%s}' % (b"0" * 5000),
        b'{"max_tokens": 1e999}',
        b'{"user": {}}',
        b'{"prompt_cache_key": 1}',
        b"[" * 100_000,
        b'{"messages": %s}' % (b"[" * 100_000),
        b'{"messages": %s%s}' % (b"[" * 100_000, b"]" * 100_000),
        b'{"other": %s%s}' % (b'{"a":' * 100_000, b"}" * 100_000),
        b"\x1f\x8b\x08\x00",
    ],
    ids=repr,
)
def test_what_is_no_request_is_refused_in_one_clear_line(body: bytes) -> None:
    with pytest.raises(MalformedBody, match=r"^malformed body: .{5,100}$") as caught:
        read_prompt(body, endpoint=CHAT, page_size=PAGE_SIZE)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"messages": 7}',
        b'{"messages": "hello"}',
        b'{"messages": {}}',
        b'{"messages": [1, null]}',
        b'{"messages": [{"content": 1}]}',
        b'{"messages": [{"role": 1}]}',
        b'{"messages": [{"content": ["a", 1]}]}',
        b'{"messages": [{"content": "\xff\xfe"}]}',
        b'{"messages": [{"content": [{"type": "\xff"}]}]}',
        b'{"messages": [{"content": [{"x": 1%s}]}]}' % (b"0" * 5000),
        b'{"messages": [{"content": [{"x": 1e999}]}]}',
        b'{"messages": [{"content": "\\u0000"}]}',
        b'{"prompt": {}}',
        b'{"prompt": 1}',
        b'{"prompt": true}',
        b'{"prompt": [1, true]}',
        b'{"prompt": [-1]}',
        b'{"prompt": [4294967296]}',
        b'{"prompt": ["a", 1]}',
        b'{"prompt": [[1], "a"]}',
        b'{"prompt": [[]]}',
        b'{"prompt": "\xff"}',
        b'{"input": 1.5}',
        b'{"model": "m\\u0000"}',
    ],
    ids=repr,
)
def test_what_is_not_looked_at_is_for_the_worker_to_refuse(body: bytes) -> None:
    prompt = read_prompt(body, endpoint=CHAT, page_size=PAGE_SIZE)
    assert prompt.n_tokens >= 1


@pytest.mark.parametrize("depth", [10, 300, 500, 800, 900, 950, 980, 1000, 2000, 10_000])
def test_no_depth_of_nesting_is_too_deep_to_answer(depth: int) -> None:
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        nested = opened * depth + b"1" + closed * depth
        for body in (
            b'{"messages": [{"content": [{"x": %b}]}]}' % nested,
            b'{"prompt": %b}' % nested,
            b'{"tools": %b}' % nested,
        ):
            try:
                prompt = read_prompt(body, endpoint=CHAT, page_size=PAGE_SIZE)
            except MalformedBody:
                continue
            assert prompt.n_tokens >= 1


@given(body=st.binary(max_size=60))
def test_any_bytes_are_a_prompt_or_malformed(body: bytes) -> None:
    try:
        prompt = read_prompt(body, endpoint=CHAT, page_size=PAGE_SIZE)
    except MalformedBody:
        return
    assert prompt.n_tokens >= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["model", "messages", "prompt", "input", "tools", "stream", "max_tokens", "user"]


@given(fields=st.dictionaries(st.sampled_from(FIELDS), JSON | TURNS, max_size=4))
def test_any_json_is_a_prompt_or_malformed(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    try:
        prompt = read_prompt(body, endpoint=CHAT, page_size=PAGE_SIZE)
    except MalformedBody:
        return
    assert prompt.n_tokens >= 1
    assert len(prompt.key) % 8 == 0
    again = read_prompt(body, endpoint=CHAT, page_size=PAGE_SIZE)
    assert again == prompt
