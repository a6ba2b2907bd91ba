"""What a request says that routing goes by: model, prompt, length of answer, session.

A prompt is hashed page by page from its rendered text: roles and contents in their order, so that
the next turn of a conversation begins with the pages of the last. Token ids are hashed as they are.
Four bytes of text count as a token; a model that learns what a token costs does not mind, and what
workers say of cached tokens is taken as a share of the prompt.

Nothing else of the body is looked at: whether it is valid is for the worker to say.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import xxhash

from triskele.serve.cache import chained_hashes, hash_key, token_key
from triskele.serve.cache.radix import TOKEN_BYTES
from triskele.serve.gateway.tokens import PromptTokens

# A fixed length of answer is known to be one only if it is this short.
SHORT_ANSWER = 16
# What a picture or a recording counts as, in tokens.
ATTACHMENT_TOKENS = 256
# No answer is taken to be longer, whatever number the client writes.
MOST_TOKENS = 1 << 24
NOTHING = (b"", b"null")
# The hash that stands before the first page of tokens.
ROOT = 0
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class MalformedBody(ValueError):
    """A body that is no request; the text says why."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is known of a request from its body.

    Attributes
    ----------
    model
        As named by the client; ``None`` if it is not.
    key
        Hashes of the whole pages, as routers take them.
    n_tokens
        Length of the prompt; of text, a quarter of its bytes.
    n_output
        Tokens of the answer, if the client fixes them.
    kind
        The class of answers of about the same length.
    session
        What ties the requests of a conversation together, if the client says.
    is_stream
        Whether the answer is to come as events.
    text
        The rendered prompt; empty for token ids.
    query
        What is asked, without what came before it: the last turn of a conversation.
    """

    model: str | None
    key: bytes
    n_tokens: int
    n_output: int | None
    kind: str
    session: str | None
    is_stream: bool
    text: bytes
    query: str


ABSENT = msgspec.Raw()


class _Body(msgspec.Struct):
    """The fields that are looked at."""

    model: str | None = None
    messages: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    stream: bool | None = None
    max_tokens: int | float | None = None
    max_completion_tokens: int | float | None = None
    ignore_eos: bool | None = None
    prompt_cache_key: str | None = None
    user: str | None = None


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[dict[str, Any]] | None = None
    tool_calls: msgspec.Raw = ABSENT


_BODY = msgspec.json.Decoder(_Body)
_MESSAGES = msgspec.json.Decoder(list[_Message])
_CHAT = msgspec.json.Decoder(list[dict[str, Any]])
_ANYTHING = msgspec.json.Decoder()


def read_prompt(
    body: bytes,
    *,
    endpoint: str,
    page_size: int,
    session: str | None = None,
    tokens: PromptTokens | None = None,
) -> Prompt:
    """Return what routing goes by.

    Parameters
    ----------
    body
        JSON, as OpenAI's API has it.
    endpoint
        The path; prompts of different endpoints share nothing.
    page_size
        Tokens per page.
    session
        From the headers; goes before what the body says.
    tokens
        Makes the tokens that workers will see; without it, text is hashed.

    Raises
    ------
    MalformedBody
        When the body is not JSON, or a field that is looked at is not what it should be.
    """
    try:
        fields = _BODY.decode(body)
    except UNREADABLE as error:
        raise MalformedBody(f"malformed body: {error or 'nested too deeply'}") from None
    model = fields.model
    tools = bytes(fields.tools)
    found = _content(fields)
    content, n_attached, is_text = found.content, found.n_attached, found.is_text
    tokenized = None if tokens is None else _tokenized(found, fields, tokens)
    if tokenized is not None:
        # Workers hash nothing but tokens, with nothing before them.
        content, above, tools = tokenized, ROOT, b""
    else:
        # Tools are rendered before everything else: prompts with others begin differently.
        before = (endpoint.encode(), _utf8(model or ""), tools, is_text)
        above = xxhash.xxh3_64_intdigest(b"%b\0%b\0%b\0%d" % before)
    n_tokens = -(-(len(content) + len(tools)) // TOKEN_BYTES) + n_attached * ATTACHMENT_TOKENS
    n_most = _most_tokens(fields)
    is_fixed = 0 < n_most <= SHORT_ANSWER or (n_most > 0 and fields.ignore_eos)
    return Prompt(
        model=model,
        key=hash_key(chained_hashes(content, TOKEN_BYTES * page_size, above=above)),
        n_tokens=max(1, n_tokens),
        n_output=n_most if is_fixed else None,
        kind=f"{endpoint} {model} {n_most.bit_length()}",
        session=session or fields.prompt_cache_key or fields.user,
        is_stream=bool(fields.stream),
        text=found.content if is_text else b"",
        query=found.query,
    )


def _most_tokens(fields: _Body) -> int:
    """Return how long the answer may be, or 0; what is below 0 is for the worker to refuse."""
    n_most = min(fields.max_completion_tokens or fields.max_tokens or 0, MOST_TOKENS)
    # Not all write a whole number as one: to JSON, 5.0 and 5 are the same.
    if n_most % 1:
        raise MalformedBody(f"malformed body: expected a whole number of tokens, got {n_most}")
    return int(n_most)


class _Content(NamedTuple):
    """A prompt as bytes; attachments that are not in them; whether they are text; what is asked."""

    content: bytes
    n_attached: int
    is_text: bool
    query: str = ""


def _content(fields: _Body) -> _Content:
    if bytes(fields.messages) not in NOTHING:
        return _render(fields.messages)
    raw = fields.prompt if bytes(fields.prompt) not in NOTHING else fields.input
    try:
        given = _ANYTHING.decode(raw)
    except UNREADABLE:
        given = None
    if isinstance(given, str):
        return _Content(_utf8(given), 0, True, given)
    parts = given if isinstance(given, list) else []
    if parts and all(isinstance(part, str) for part in parts):
        return _Content(_utf8("\n".join(parts)), 0, True, parts[0])
    ids = [n for part in parts for n in (part if isinstance(part, list) else (part,))]
    if ids and all(type(n) is int and 0 <= n < 1 << 32 for n in ids):
        return _Content(token_key(ids, 1), 0, False)
    # For the worker to refuse.
    return _Content(bytes(raw), 0, True)


def _render(messages: msgspec.Raw) -> _Content:
    """Return messages as text, roles and contents in turn, attachments by their hashes."""
    try:
        turns = _MESSAGES.decode(messages)
    except UNREADABLE:
        return _Content(bytes(messages), 0, True)
    pieces: list[str] = []
    n_attached = 0
    for turn in turns:
        pieces += ("\n<", turn.role, ">\n")
        if isinstance(turn.content, str):
            pieces.append(turn.content)
        for part in turn.content if isinstance(turn.content, list) else ():
            text = part.get("text")
            if isinstance(text, str):
                pieces.append(text)
            else:
                # Not its bytes, of which there may be millions, but what tells it from others.
                n_attached += 1
                pieces.append(f"<{xxhash.xxh3_64_hexdigest(msgspec.json.encode(part))}>")
        if bytes(turn.tool_calls) not in NOTHING:
            pieces.append(bytes(turn.tool_calls).decode("utf-8", "replace"))
    last = turns[-1].content if turns else None
    if isinstance(last, list):
        last = "\n".join(part["text"] for part in last if isinstance(part.get("text"), str))
    return _Content(_utf8("".join(pieces)), n_attached, True, last or "")


def _tokenized(found: _Content, fields: _Body, tokens: PromptTokens) -> bytes | None:
    """Return the tokens of a prompt; ``None`` where they cannot be told: its text will do."""
    if not found.is_text:
        return found.content
    try:
        if bytes(fields.messages) in NOTHING:
            return tokens.of_text(found.content.decode("utf-8", "replace"))
        # How tools are rendered is for the template, which is not given them here.
        if bytes(fields.tools) not in (*NOTHING, b"[]"):
            return None
        return tokens.of_chat(_CHAT.decode(fields.messages))
    except (ValueError, *UNREADABLE):
        return None


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
