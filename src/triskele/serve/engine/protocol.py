"""What OpenAI's API asks: requests as records, and what they mean for sampling.

Unknown fields are ignored, as OpenAI's and vLLM's servers do, except those whose silence would
change the answer: tools, images, echo and the like are refused by name.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from triskele.serve.engine.sampling import SamplingParams

MAX_CHOICES = 128
DEFAULT_COMPLETION_TOKENS = 16
"""As OpenAI's; a conversation's answer may fill the context."""


class BadRequest(ValueError):
    """A request that cannot be served as it is.

    Parameters
    ----------
    message
        One sentence for a person.
    status, code, param
        Of the error answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


class StreamOptions(msgspec.Struct, frozen=True):
    """How a stream ends."""

    include_usage: bool = False


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """What both kinds of request say about sampling; ``None`` means the default."""

    model: str | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False

    @property
    def n_choices(self) -> int:
        """Answers to each prompt."""
        return 1 if self.n is None else self.n

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Sampled, frozen=True, kw_only=True):
    """The body of ``/v1/chat/completions``."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None


class CompletionRequest(Sampled, frozen=True, kw_only=True):
    """The body of ``/v1/completions``."""

    prompt: str | list[str | int | list[int]]
    logprobs: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def prompts(self) -> list[str | list[int]]:
        """Return every prompt, as text or as tokens.

        Raises
        ------
        BadRequest
            When there is none, or texts and tokens are mixed.
        """
        prompt = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        if prompt and all(isinstance(each, int) for each in prompt):
            return [[each for each in prompt if isinstance(each, int)]]
        several = [each for each in prompt if not isinstance(each, int)]
        if not prompt or len(several) < len(prompt) or len({type(each) for each in several}) > 1:
            raise BadRequest(
                "prompt must be a text, token ids, or a list of texts or of token ids",
                param="prompt",
            )
        return several


Request = TypeVar("Request", bound=Sampled)


def read_chat(body: bytes) -> ChatRequest:
    """Return a chat request.

    Raises
    ------
    BadRequest
        When the body is something else, or asks what is not offered.
    """
    request = _read(body, ChatRequest)
    if not request.messages:
        raise BadRequest("messages must not be empty", param="messages")
    for name in ("tools", "functions"):
        if getattr(request, name):
            raise BadRequest(f"{name} are not supported", param=name)
    _refuse_formats(request.response_format)
    return request


def read_completion(body: bytes) -> CompletionRequest:
    """Return a completion request.

    Raises
    ------
    BadRequest
        When the body is something else, or asks what is not offered.
    """
    request = _read(body, CompletionRequest)
    for name in ("echo", "suffix"):
        if getattr(request, name):
            raise BadRequest(f"{name} is not supported", param=name)
    if request.best_of is not None and request.best_of != request.n_choices:
        raise BadRequest("best_of other than n is not supported", param="best_of")
    return request


def conversation(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages with their texts joined.

    Raises
    ------
    BadRequest
        When a message has no role, or a content other than text.
    """
    return [_message(n, message) for n, message in enumerate(messages)]


def chat_params(request: ChatRequest, *, n_left: int) -> SamplingParams:
    """Return what a chat request says of sampling; ``n_left`` tokens fit after the prompt."""
    max_tokens = request.max_completion_tokens
    if max_tokens is None:
        max_tokens = request.max_tokens
    logprobs = request.top_logprobs or 0 if request.logprobs else None
    return _params(request, max_tokens=n_left if max_tokens is None else max_tokens, told=logprobs)


def completion_params(request: CompletionRequest, *, n_left: int) -> SamplingParams:
    """Return what a completion request says of sampling; ``n_left`` tokens fit after the prompt."""
    max_tokens = request.max_tokens
    if max_tokens is None:
        max_tokens = max(1, min(DEFAULT_COMPLETION_TOKENS, n_left))
    return _params(request, max_tokens=max_tokens, told=request.logprobs)


def _read(body: bytes, kind: type[Request]) -> Request:
    try:
        request = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error), param=_param(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not 1 <= request.n_choices <= MAX_CHOICES:
        raise BadRequest(f"n must be in [1, {MAX_CHOICES}], got {request.n}", param="n")
    return request


def _params(request: Sampled, *, max_tokens: int, told: int | None) -> SamplingParams:
    stop = request.stop
    top_k = request.top_k
    given: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "min_p": request.min_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    try:
        return SamplingParams(
            max_tokens=max_tokens,
            # As vLLM and SGLang, whose -1 and 0 mean every token.
            top_k=None if top_k in (None, -1, 0) else top_k,
            seed=request.seed,
            logit_bias=_bias(request.logit_bias),
            logprobs=told,
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            stop_ids=frozenset(request.stop_token_ids or ()),
            include_stop=request.include_stop_str_in_output,
            ignore_eos=request.ignore_eos,
            **{name: value for name, value in given.items() if value is not None},
        )
    except ValueError as error:
        raise BadRequest(str(error), param=str(error).split(" ", 1)[0]) from error


def _bias(stated: Mapping[str, float] | None) -> dict[int, float]:
    try:
        return {int(token): bias for token, bias in (stated or {}).items()}
    except ValueError as error:
        raise ValueError("logit_bias must map token ids to numbers") from error


def _message(n: int, message: dict[str, Any]) -> dict[str, Any]:
    where = f"messages[{n}]"
    if not isinstance(message.get("role"), str):
        raise BadRequest(f"{where} must have a role", param=where)
    content = message.get("content")
    if content is None:
        return {**message, "content": ""}
    if isinstance(content, str):
        return message
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"{where} must have text alone as its content", param=where)
    return {**message, "content": "".join(map(str, texts))}


def _refuse_formats(stated: dict[str, Any] | None) -> None:
    if stated is not None and stated.get("type", "text") != "text":
        raise BadRequest(
            "response_format other than text is not supported", param="response_format"
        )


def _param(message: str) -> str | None:
    """Return the field that a validation error complains about."""
    _, found, path = message.partition("`$.")
    return path.split("`")[0] if found else None
