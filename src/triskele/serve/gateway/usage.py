"""What an answer says of itself: how many tokens, and how many of the prompt were cached."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

# Where events end, and what the last of them says.
DATA = b"data:"
DONE = b"[DONE]"
PROMPT_TOKENS = b'"prompt_tokens"'


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the worker counted them; ``None`` where it does not say."""

    n_prompt: int | None = None
    n_cached: int | None = None
    n_output: int | None = None


# What is no number of tokens is not told to anybody who calculates with it.
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class _Details(msgspec.Struct):
    cached_tokens: Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
UNKNOWN = Usage()


def read_usage(body: bytes) -> Usage:
    """Return what a whole answer in JSON says; of anything else, nothing."""
    try:
        said = _ANSWER.decode(body).usage
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNKNOWN
    if said is None:
        return UNKNOWN
    details = said.prompt_tokens_details
    return Usage(
        said.prompt_tokens,
        None if details is None else details.cached_tokens,
        said.completion_tokens,
    )


def read_event_usage(tail: bytes, n_events: int) -> Usage:
    """Return what a stream of events says.

    Parameters
    ----------
    tail
        Its last bytes in which tokens of the prompt were named; empty if there were none.
    n_events
        Events in all: about as many as tokens, where the worker does not count them.
    """
    for line in reversed(tail.split(b"\n")):
        if line.startswith(DATA) and PROMPT_TOKENS in line:
            said = read_usage(line[len(DATA) :])
            if said is not UNKNOWN:
                return said
    return Usage(n_output=max(1, n_events))
