"""What OpenAI's API answers: pieces of answers as bodies and as events of a stream.

One object stands for one request. It is fed every piece of every choice, in any order, and makes
events of them as they come or one body at the end. It does not know who reads them.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from triskele.serve.engine.engine import Piece
from triskele.serve.engine.sampler import Logprobs

DONE = b"data: [DONE]\n\n"
Kind = Literal["chat", "completion"]
NAMES = {
    "chat": ("chatcmpl-", "chat.completion", "chat.completion.chunk"),
    "completion": ("cmpl-", "text_completion", "text_completion"),
}


class Answers:
    """The answers to one request.

    Parameters
    ----------
    kind
        Which of the two formats.
    id
        Of the request.
    created
        Unix seconds.
    model
        The name that is served.
    n_choices
        Answers to each prompt; choices are numbered prompt by prompt.
    n_prompts
        How many prompts there are.
    spell
        Turns a token into text.

    Attributes
    ----------
    n_open
        Choices that have not ended.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        id: str,
        created: int,
        model: str,
        n_choices: int,
        n_prompts: int,
        spell: Callable[[int], str],
    ) -> None:
        prefix, self._whole_name, self._chunk_name = NAMES[kind]
        n_all = n_choices * n_prompts
        self.n_open = n_all
        self._kind = kind
        self._common = {"id": prefix + id, "created": created, "model": model}
        self._n_choices = n_choices
        self._spell = spell
        self._texts: list[list[str]] = [[] for _ in range(n_all)]
        self._logprobs: list[list[dict[str, Any]]] = [[] for _ in range(n_all)]
        self._finish: list[str | None] = [None] * n_all
        self._n_chars = [0] * n_all
        self._n_answered = [0] * n_all
        self._n_prompt = [0] * n_all
        self._n_cached = [0] * n_all

    def take(self, index: int, piece: Piece) -> None:
        """Add a piece to a choice."""
        self._count(index, piece)
        self._texts[index].append(piece.text)
        if piece.logprobs is not None:
            self._logprobs[index].append(self._told(index, piece.logprobs))
        self._n_chars[index] += len(piece.text)

    def opening(self) -> bytes:
        """Return the events by which a stream begins."""
        if self._kind == "completion":
            return b""
        delta = {"role": "assistant", "content": ""}
        return b"".join(
            self._event([{"index": n, "delta": delta, "logprobs": None, "finish_reason": None}])
            for n in range(len(self._texts))
        )

    def event(self, index: int, piece: Piece) -> bytes:
        """Return a piece as an event; empty if there is nothing to tell yet."""
        self._count(index, piece)
        logprobs = None
        if piece.logprobs is not None:
            logprobs = self._listed([self._told(index, piece.logprobs)])
        self._n_chars[index] += len(piece.text)
        if not piece.text and logprobs is None and piece.finish is None:
            return b""
        choice: dict[str, Any] = {"index": index}
        if self._kind == "chat":
            choice["delta"] = {"content": piece.text} if piece.text else {}
        else:
            choice["text"] = piece.text
        choice["logprobs"] = logprobs
        choice["finish_reason"] = piece.finish
        return self._event([choice])

    def closing(self, *, tells_usage: bool) -> bytes:
        """Return the events by which a stream ends."""
        usage = self._event([], usage=self.usage()) if tells_usage else b""
        return usage + DONE

    def whole(self) -> bytes:
        """Return all of it as one body."""
        choices = []
        for n, pieces in enumerate(self._texts):
            text = "".join(pieces)
            choice: dict[str, Any] = {"index": n}
            if self._kind == "chat":
                choice["message"] = {"role": "assistant", "content": text, "refusal": None}
            else:
                choice["text"] = text
            choice["logprobs"] = self._listed(self._logprobs[n]) if self._logprobs[n] else None
            choice["finish_reason"] = self._finish[n]
            choices.append(choice)
        body = {**self._common, "object": self._whole_name, "choices": choices}
        return msgspec.json.encode({**body, "usage": self.usage()})

    def usage(self) -> dict[str, Any]:
        """Return the tokens of prompts and answers; a prompt counts once, however many answers."""
        n_prompt = sum(self._n_prompt[:: self._n_choices])
        n_answered = sum(self._n_answered)
        return {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_answered,
            "total_tokens": n_prompt + n_answered,
            "prompt_tokens_details": {"cached_tokens": sum(self._n_cached[:: self._n_choices])},
        }

    def _count(self, index: int, piece: Piece) -> None:
        self._n_prompt[index] = piece.n_prompt
        self._n_cached[index] = piece.n_cached
        self._n_answered[index] = piece.n_answered
        if piece.finish is not None:
            self._finish[index] = piece.finish
            self.n_open -= 1

    def _event(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        body = {**self._common, "object": self._chunk_name, "choices": choices, **more}
        return b"data: %b\n\n" % msgspec.json.encode(body)

    def _told(self, index: int, logprobs: Logprobs) -> dict[str, Any]:
        """Return the log-probabilities of one token in either format."""
        if self._kind == "chat":
            top = [self._spelled(token, value) for token, value in logprobs.top]
            return {**self._spelled(logprobs.token, logprobs.logprob), "top_logprobs": top}
        return {
            "tokens": self._spell(logprobs.token),
            "token_logprobs": logprobs.logprob,
            "top_logprobs": {self._spell(token): value for token, value in logprobs.top},
            "text_offset": self._n_chars[index],
        }

    def _spelled(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._spell(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    def _listed(self, told: list[dict[str, Any]]) -> dict[str, Any]:
        """Return many tokens' log-probabilities as the format groups them."""
        if self._kind == "chat":
            return {"content": told}
        return {name: [each[name] for each in told] for name in told[0]}
