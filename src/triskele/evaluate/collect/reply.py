"""What an endpoint answered: a reply, or a fault that says what to do about it.

Endpoints differ. Some answer 200 with an error inside, some leave out the usage, some send the text
in parts: all that is told apart here, from the bytes alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from triskele.evaluate.collect.faults import EndpointFault, RequestFault, TransientFault
from triskele.evaluate.collect.retry import LONGEST_PAUSE

LONGEST_QUOTE = 200
"""Characters of an endpoint's own words in a message."""
TRY_AGAIN = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A model's text, why it ended, and the tokens as the endpoint counts them, if it does."""

    text: str
    finish: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer as it came.

    ``where`` names model and address for messages; ``retry_after`` in seconds; ``hide`` takes a
    text and returns it without the key; ``has_key`` tells whether one was sent.
    """

    status: int
    content: bytes
    where: str
    retry_after: float | None = None
    has_key: bool = False
    hide: Callable[[str], str] = str


def read_reply(response: Response) -> Reply:
    """Return the reply.

    Raises
    ------
    EndpointFault, RequestFault, TransientFault
        If there is none; which one says whether to stop, to go on without it, or to ask again.
    """
    decoded = _decoded(response.content)
    if not 200 <= response.status < 300:
        raise _fault(response, decoded)
    if decoded is None:
        raise TransientFault(f"{response.where}: the answer is not JSON", may_be_billed=True)
    try:
        choice = decoded["choices"][0]
        message = choice["message"]
        text = _text(message.get("content")) or _text(message.get("refusal"))
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        quote = _quote(decoded, response.hide) or ": the answer is not a chat completion"
        raise TransientFault(f"{response.where}{quote}", may_be_billed=True) from None
    if finish == "error" or (not text and "error" in choice):
        quote = _quote(choice, response.hide) or ": it broke off with an error"
        raise TransientFault(f"{response.where}{quote}", may_be_billed=True)
    usage = decoded.get("usage")
    return Reply(
        text=response.hide(text),
        finish=response.hide(finish) if isinstance(finish, str) else None,
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
    )


def refusal_of(response: Response) -> str:
    """Return what a status of 400 says is wrong: the parameter and the message; else nothing."""
    decoded = _decoded(response.content)
    if response.status != 400 or decoded is None:
        return ""
    error = decoded.get("error")
    param = error.get("param") if isinstance(error, dict) else None
    return f"{param or ''} {_message(decoded)}"


def _fault(response: Response, decoded: dict[str, Any] | None) -> Exception:
    status, where = response.status, response.where
    if status == 401:
        # Its own words are not repeated: they tend to quote the key.
        if response.has_key:
            return EndpointFault(f"{where} refuses the key (401)")
        return EndpointFault(f"{where} asks for a key (401): --key-env or --key-file gives one")
    quote = _quote(decoded, response.hide)
    if status == 404:
        hint = "expected an address up to /v1, and a model that it serves"
        return EndpointFault(f"{where} answers 404{quote}; {hint}")
    if 300 <= status < 400:
        return EndpointFault(f"{where} redirects elsewhere ({status}); give that address instead")
    is_spent = status == 402 or (status == 429 and _code(decoded) == "insufficient_quota")
    if is_spent or status == 405:
        return EndpointFault(f"{where} answers {status}{quote}")
    if status in TRY_AGAIN or status >= 500:
        wait = response.retry_after
        if wait is not None and wait > LONGEST_PAUSE:
            return EndpointFault(f"{where} answers {status} and asks to wait for {wait:,.0f} s")
        return TransientFault(f"{where} answers {status}{quote}", retry_after=wait)
    return RequestFault(f"{where} answers {status}{quote}")


def _decoded(content: bytes) -> dict[str, Any] | None:
    try:
        decoded: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return decoded


def _text(content: object) -> str:
    """Return a message's text, which may come in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _quote(decoded: Mapping[str, Any] | None, hide: Callable[[str], str]) -> str:
    # Hidden before it is cut: half a key is too much.
    words = " ".join(hide(_message(decoded)).split())
    if len(words) > LONGEST_QUOTE:
        words = f"{words[:LONGEST_QUOTE]}…"
    return f": {words}" if words else ""


def _message(decoded: Mapping[str, Any] | None) -> str:
    error = None if decoded is None else decoded.get("error") or decoded.get("message")
    message = error.get("message") if isinstance(error, Mapping) else error
    return message if isinstance(message, str) else ""


def _code(decoded: Mapping[str, Any] | None) -> object:
    error = None if decoded is None else decoded.get("error")
    return (error.get("code") or error.get("type")) if isinstance(error, Mapping) else None


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if type(value) is int and value >= 0 else None
