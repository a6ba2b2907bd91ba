import json

import pyarrow as pa
import pytest

from triskele.evaluate.votes.conversations import first_prompts


def said(content: object, role: str = "user") -> dict[str, object]:
    return {"role": role, "content": content}


TALKS = [
    [said("hello"), said("hi", "assistant"), said("more")],
    [said("be brief", "system"), said("what is 1 + 1?"), said("2", "assistant")],
    [said("only me", "assistant")],
    [],
    None,
]
ASKED = ["hello", "what is 1 + 1?", "", "", ""]


def test_the_first_message_of_the_user_is_the_prompt() -> None:
    assert first_prompts(pa.array(TALKS)).to_pylist() == ASKED


def test_a_slice_of_a_column_is_read_from_its_beginning() -> None:
    assert first_prompts(pa.array(TALKS)[1:3]).to_pylist() == ASKED[1:3]


def test_messages_may_be_made_of_parts() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image", "text": None}]
    talks = pa.array([[said("no", "system"), said(None)], [said(None)]]).cast(
        pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    )
    assert first_prompts(talks).to_pylist() == ["", ""]
    made_of_parts = [[said([{"type": "text", "text": "a"}], "system"), said(parts)], [said([])]]
    assert first_prompts(pa.array(made_of_parts)).to_pylist() == ["see", ""]
    several = [[said([{"text": "one"}, {"text": "two"}])]]
    assert first_prompts(pa.array(several)).to_pylist() == ["one\ntwo"]


def test_conversations_may_be_json() -> None:
    column = pa.array([None if talk is None else json.dumps(talk) for talk in TALKS])
    assert first_prompts(column).to_pylist() == ASKED
    parts = json.dumps([said([{"type": "text", "text": "see"}, {"type": "image"}])])
    assert first_prompts(pa.array([parts])).to_pylist() == ["see"]


def test_text_that_is_no_json_is_the_prompt_itself() -> None:
    assert first_prompts(pa.array(["hello", "[1]"])).to_pylist() == ["hello", "[1]"]


def test_messages_without_roles_are_the_users() -> None:
    talks = pa.array([[{"content": "hello"}, {"content": "hi"}]])
    assert first_prompts(talks).to_pylist() == ["hello"]


def test_a_column_of_nothing_asks_nothing() -> None:
    assert first_prompts(pa.nulls(2)).to_pylist() == ["", ""]


@pytest.mark.parametrize("column", [pa.array([1]), pa.array([["x"]]), pa.array([[{"a": 1}]])])
def test_what_is_no_conversation_is_refused(column: pa.Array) -> None:
    with pytest.raises(ValueError, match="expected lists of messages with a content, got"):
        first_prompts(column)
