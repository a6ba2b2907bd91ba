"""A question to a model, and how it is put into the body of a chat completion.

Models differ in what they accept: newer ones want ``max_completion_tokens`` for ``max_tokens``, and
some take no temperature. Which dialect a model speaks is found out by asking, in ``client``.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a model is asked.

    ``model`` is the name its endpoint knows; ``max_tokens`` bounds the reply; a ``temperature`` of
    None leaves it to the endpoint.
    """

    model: str
    prompt: str
    system: str | None = None
    max_tokens: int = 1024
    temperature: float | None = None

    def key(self, label: str) -> str:
        """Return what tells this request to the model of that label from all others.

        The address is not part of it: a model that moved is still the same.
        """
        parts = (label, self.model, self.system, self.prompt, self.max_tokens, self.temperature)
        return blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Which parameters a model accepts."""

    tokens_parameter: str = "max_tokens"
    takes_temperature: bool = True


def body_of(request: Request, dialect: Dialect) -> dict[str, Any]:
    """Return the body of the request, as JSON has it."""
    messages = [{"role": "user", "content": request.prompt}]
    if request.system is not None:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        dialect.tokens_parameter: request.max_tokens,
    }
    if request.temperature is not None and dialect.takes_temperature:
        body["temperature"] = request.temperature
    return body


def other_dialect(dialect: Dialect, refusal: str, request: Request) -> Dialect | None:
    """Return the dialect to try after a refusal (status 400), None if it is about something else.

    Parameters
    ----------
    dialect
        What was tried.
    refusal
        The endpoint's message and the parameter it names.
    request
        What was asked.
    """
    wanted = "max_completion_tokens"
    if dialect.tokens_parameter != wanted and wanted in refusal:
        return Dialect(tokens_parameter=wanted, takes_temperature=dialect.takes_temperature)
    if dialect.takes_temperature and request.temperature is not None and "temperature" in refusal:
        return Dialect(tokens_parameter=dialect.tokens_parameter, takes_temperature=False)
    return None
