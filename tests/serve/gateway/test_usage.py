import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triskele.serve.gateway.usage import UNKNOWN, Usage, read_event_usage, read_usage

COUNTS = st.none() | st.integers(0, 1 << 40)


def whole(**usage: object) -> bytes:
    return json.dumps({"id": "x", "choices": [], "usage": usage}).encode()


@given(prompt=COUNTS, cached=COUNTS, output=COUNTS, has_details=st.booleans())
def test_what_a_whole_answer_says_is_read(
    prompt: int | None, cached: int | None, output: int | None, has_details: bool
) -> None:
    details = {"cached_tokens": cached, "audio_tokens": 0} if has_details else None
    body = whole(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=1,
        prompt_tokens_details=details,
    )
    assert read_usage(body) == Usage(prompt, cached if has_details else None, output)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"usage": null}',
        b'{"usage": 7}',
        b'{"usage": {"prompt_tokens": "many"}}',
        b'{"usage": {"prompt_tokens": 1.5}}',
        b'{"usage": {"prompt_tokens": -1}}',
        b'{"usage": {"prompt_tokens": 1, "completion_tokens": 1%s}}' % (b"0" * 300),
        b'{"usage": {"prompt_tokens": 1}',
        b"\xff\xfe",
        b'{"usage": {"prompt_tokens": 1}, "x": "\xff"',
        b"\x1f\x8b\x08 compressed",
        b"[" * 100_000,
    ],
)
def test_whatever_else_an_answer_is_nothing_is_said(body: bytes) -> None:
    assert read_usage(body) == UNKNOWN


def test_usage_without_details_is_usage_without_cached_tokens() -> None:
    assert read_usage(whole(prompt_tokens=3, completion_tokens=4)) == Usage(3, None, 4)


def test_the_last_usage_of_a_stream_counts() -> None:
    events = [
        whole(prompt_tokens=3, completion_tokens=1),
        b'{"choices":[],"usage":null}',
        whole(prompt_tokens=3, completion_tokens=2, prompt_tokens_details={"cached_tokens": 1}),
        b"[DONE]",
    ]
    for end in (b"\n\n", b"\r\n\r\n"):
        tail = b"".join(b"data: " + event + end for event in events)
        assert read_event_usage(tail, 3) == Usage(3, 1, 2)
        assert read_event_usage(tail.replace(b"data: ", b"data:"), 3) == Usage(3, 1, 2)


def test_events_count_as_tokens_where_nobody_counts_them() -> None:
    assert read_event_usage(b"", 12) == Usage(n_output=12)
    assert read_event_usage(b"", 0) == Usage(n_output=1)


def test_who_only_speaks_of_usage_does_not_tell_it() -> None:
    said = json.dumps({"choices": [{"delta": {"content": '"prompt_tokens": 9'}}]}).encode()
    assert read_event_usage(b"data: " + said + b"\n\n", 5) == Usage(n_output=5)
    assert read_event_usage(b'data: {"prompt_tokens": broken\n\n', 5) == Usage(n_output=5)
    assert read_event_usage(b': "prompt_tokens"\n\n', 5) == Usage(n_output=5)
