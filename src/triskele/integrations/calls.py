"""What a call to a model's replica asks for, told to a router without knowing the model.

A call carries its prompt as text, as token ids, or inside a request in OpenAI's form, be it a
mapping or an object. The prompt is cut into pages by bytes, as many per token as English text has
under today's tokenizers, or by tokens where the call names them. What prefixes the prompt under a
chat template, tools before messages, prefixes it here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
import xxhash

from triskele.serve.cache import chained_hashes, hash_key
from triskele.serve.cache.radix import TOKEN_BYTES
from triskele.serve.routing import Request

BYTES_PER_TOKEN = 4

# Where a prompt may stand, in the order in which it is looked for.
FIELDS = ("messages", "prompt", "prompt_token_ids", "input_ids", "input", "text")


@dataclass(frozen=True, slots=True)
class Paging:
    """How prompts are cut.

    Attributes
    ----------
    page_size
        Tokens per page: the engines' own.
    bytes_per_token
        Bytes of UTF-8 that a token of text stands for.
    """

    page_size: int = 16
    bytes_per_token: int = BYTES_PER_TOKEN

    def __post_init__(self) -> None:
        """Refuse pages of nothing."""
        if self.page_size < 1 or self.bytes_per_token < 1:
            raise ValueError(f"expected pages of at least one token of one byte, got {self}")


def request_of(
    number: int,
    arguments: Iterable[Any],
    *,
    paging: Paging,
    model: str = "",
    session: str | None = None,
    kind: str = "",
) -> Request:
    """Return what a router is told of a call.

    Parameters
    ----------
    number
        The request's id.
    arguments
        Of the call; the first that holds a prompt counts. A call without one is routed by load.
    model
        What else keeps equal prompts from sharing pages, such as an adapter; the model that the
        call itself names is added to it.
    session, kind
        As in :class:`triskele.serve.routing.Request`.

    Raises
    ------
    TypeError, ValueError, OverflowError
        When what stands where a prompt should be is none.
    """
    for argument in arguments:
        prompt = _prompt(argument)
        if prompt is None:
            continue
        named = _field(argument, "model")
        above = f"{model}\0{named}" if isinstance(named, str) and named else model
        stride, n_bytes = paging.page_size * paging.bytes_per_token, paging.bytes_per_token
        if not isinstance(prompt, bytes):
            prompt = np.asarray(prompt, dtype="<u4").tobytes()
            stride, n_bytes = paging.page_size * TOKEN_BYTES, TOKEN_BYTES
        hashes = chained_hashes(prompt, stride, above=_salt(above))
        n_prompt = max(1, -(-len(prompt) // n_bytes))
        return Request(number, hash_key(hashes), n_prompt, session=session, kind=kind)
    return Request(number, b"", 1, session=session, kind=kind)


def answer_tokens(answer: Any) -> int | None:
    """Return how many tokens an answer in OpenAI's form says it has, if it says so."""
    if isinstance(answer, str | bytes):
        return None
    n_tokens = _field(_field(answer, "usage"), "completion_tokens")
    return n_tokens if isinstance(n_tokens, int) and n_tokens >= 0 else None


def _prompt(argument: Any) -> bytes | Sequence[int] | None:
    """Return the prompt of an argument as bytes or token ids, or ``None`` if it has none."""
    if isinstance(argument, str):
        return argument.encode("utf-8", "surrogatepass")
    if _are_tokens(argument):
        return cast(Sequence[int], argument)
    if isinstance(argument, list):
        return _encoded(argument) if argument and isinstance(argument[0], Mapping) else None
    if isinstance(argument, bytes | bytearray | memoryview):
        return None
    for name in FIELDS:
        value = _field(argument, name)
        if value is None or isinstance(value, bytes) or callable(value):
            continue
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        if _are_tokens(value):
            return cast(Sequence[int], value)
        tools = _field(argument, "tools")
        return (_encoded(tools) if tools else b"") + _encoded(value)
    return None


def _field(value: Any, name: str) -> Any:
    """Return an entry of a mapping or an attribute of an object; ``None`` if there is neither."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _are_tokens(value: Any) -> bool:
    """Tell token ids from lists of anything else by the first; numpy's count."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    return (
        isinstance(value, list | tuple) and bool(value) and isinstance(value[0], int | np.integer)
    )


def _encoded(value: Any) -> bytes:
    """Return JSON of messages: one that continues another begins with all but its last bytes."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Return what of an object JSON can hold, such as one of pydantic's."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(exclude_none=True)
    return getattr(value, "__dict__", None) or str(value)


def _salt(model: str) -> int:
    return xxhash.xxh3_64_intdigest(model.encode()) if model else 0
