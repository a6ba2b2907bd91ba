"""The first message of the user in recorded conversations, column by column.

A conversation is a list of messages, each with a ``role`` and a ``content`` that is text, or a list
of parts of which those with a ``text`` count; or it is the JSON of such a list.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

USER = "user"


class _Part(msgspec.Struct):
    text: str | None = None


class _Message(msgspec.Struct):
    role: str = USER
    content: str | list[_Part] | None = None


def first_prompts(conversations: pa.Array) -> pa.Array:
    """Return what each user asked first, ``""`` where nobody did.

    Parameters
    ----------
    conversations
        A column of lists of messages, or of their JSON; text that is no JSON is taken as it is.

    Raises
    ------
    ValueError
        If the column is neither.
    """
    kind = conversations.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = [_of_json(value or "") for value in conversations.to_pylist()]
        return pa.array(texts, pa.large_string())
    if pa.types.is_null(kind):
        return pa.array([""] * len(conversations), pa.large_string())
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    names = kind.value_type.names if is_list and pa.types.is_struct(kind.value_type) else []
    if "content" not in names:
        raise ValueError(f"expected lists of messages with a content, got {kind}")
    messages = pc.list_flatten(conversations)
    number = pc.list_parent_indices(conversations).to_numpy()
    contents = pc.struct_field(messages, "content")
    if "role" in names:
        is_user = pc.equal(pc.struct_field(messages, "role"), USER).fill_null(False)
        asked = np.flatnonzero(is_user.to_numpy(zero_copy_only=False))
    else:
        asked = np.arange(len(messages))
    # The first message of each conversation that has one.
    with_any, first = np.unique(number[asked], return_index=True)
    firsts = _texts(contents.take(pa.array(asked[first])))
    place = np.full(len(conversations), -1)
    place[with_any] = np.arange(len(with_any))
    prompts = firsts.take(pa.array(place, mask=place < 0))
    return pc.fill_null(prompts, "")


def _of_json(text: str) -> str:
    try:
        messages = msgspec.json.decode(text, type=list[_Message])
    except msgspec.MsgspecError:
        return text
    content = next((message.content for message in messages if message.role == USER), None)
    return content if isinstance(content, str) else _joined(content or [])


def _joined(parts: Sequence[_Part]) -> str:
    return "\n".join(part.text for part in parts if part.text)


def _texts(contents: pa.Array) -> pa.Array:
    kind = contents.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        parts = contents.to_pylist()
        texts = [
            "\n".join(part["text"] for part in of_one or [] if part and part.get("text"))
            for of_one in parts
        ]
        return pa.array(texts, pa.large_string())
    return contents.cast(pa.large_string())
