"""What a request asks for, before it is sent anywhere: its prompt, and which model is to answer.

A request names a model, or leaves the choice to the gateway, or, where there is only one, says
nothing. A gateway that has just begun has not heard of every worker yet; it does not say no before.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from triskele.serve.gateway.choosing import AUTO, ModelChooser, with_model
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.health import State
from triskele.serve.gateway.journey import Journey
from triskele.serve.gateway.keys import ApiKey
from triskele.serve.gateway.prompt import MalformedBody, Prompt, read_prompt
from triskele.serve.gateway.refusal import Refusal
from triskele.serve.gateway.tokens import PromptTokens
from triskele.serve.http import HttpRequest
from triskele.serve.routing import Request

SESSION = b"x-session-id"
EMBEDDINGS = "/v1/embeddings"
# Bytes of a body whose tokens are not made in passing.
LONG_BODY = 4096
# How often a request that finds no worker looks again.
LOOK_SECONDS = 0.05


class Intake:
    """Finds out what is asked, and of which model.

    Parameters
    ----------
    fleet
        Whose models there are.
    page_size
        Tokens per page of the routers' keys.
    worker_seconds
        How long a request waits for a worker when there is none.
    now
        The clock.
    tokens
        Makes the tokens that workers will see; without it, text is hashed.
    chooser
        Chooses the model of requests for ``auto``; without it there is no such model.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        page_size: int,
        worker_seconds: float,
        now: Callable[[], float],
        tokens: PromptTokens | None = None,
        chooser: ModelChooser | None = None,
    ) -> None:
        self._fleet = fleet
        self._page_size = page_size
        self._worker_seconds = worker_seconds
        self._now = now
        self._tokens = tokens
        self._chooser = chooser

    async def take(
        self, request: HttpRequest, journey: Journey, key: ApiKey | None
    ) -> tuple[Prompt, str]:
        """Return a request's prompt and its model, and note both; the body will name the model.

        Raises
        ------
        Refusal
            400 for what cannot be read, 404 for a model that is not served, 503 while none is.
        """
        prompt = journey.prompt = await self._read(request)
        # Vectors of different models cannot be compared: of those the client names the model.
        is_chosen = prompt.model == AUTO and request.path != EMBEDDINGS
        if self._chooser is not None and is_chosen:
            prompt = journey.prompt = await self._choose(self._chooser, request, journey, key)
        journey.model = await self._model(prompt)
        return prompt, journey.model

    async def _read(self, request: HttpRequest) -> Prompt:
        """Read what routing goes by; a long prompt is tokenized beside the loop."""
        session = request.header(SESSION)
        read = partial(
            read_prompt,
            request.body,
            endpoint=request.path,
            page_size=self._page_size,
            session=None if session is None else session.decode("latin-1"),
            tokens=self._tokens,
        )
        try:
            if self._tokens is not None and len(request.body) > LONG_BODY:
                return await asyncio.to_thread(read)
            return read()
        except MalformedBody as error:
            raise Refusal(400, str(error), code="malformed_body") from None

    async def _choose(
        self, chooser: ModelChooser, request: HttpRequest, journey: Journey, key: ApiKey | None
    ) -> Prompt:
        """Let the gateway choose the model; from then on it is as if the client had named it."""
        body, prompts = request.body, dict[str, Prompt]()
        seconds: dict[str, float | None] = {}
        burden: dict[str, float] = {}
        for model in await self._usable_models():
            # Each has pages of its own in its workers' caches.
            request.body = _naming(model, body)
            prompts[model] = await self._read(request)
            seconds[model], everyone = self._expect(model, prompts[model])
            if everyone is not None:
                burden[model] = everyone
        decision = journey.decision = await chooser.choose(
            request,
            prompts[next(iter(prompts))].query,
            seconds,
            burden,
            wishes=None if key is None else key.wishes,
        )
        request.body = _naming(decision.model, body)
        return prompts[decision.model]

    def _expect(self, model: str, prompt: Prompt) -> tuple[float | None, float | None]:
        """Return the seconds that a model would take, and cost everyone, if its router can tell."""
        pool = self._fleet.pool(model)
        # Who is asked before what is remembered has been taken up cannot take it up any more.
        if pool is None or pool.memory is not None:
            return None, None
        asked = Request(
            0,
            prompt.key,
            prompt.n_tokens,
            prompt.n_output,
            kind=prompt.kind,
            avoid=pool.avoided(model),
        )
        now = self._now()
        return pool.expect(asked, now), pool.burden(asked, now)

    async def _usable_models(self) -> list[str]:
        """Return the models that somebody serves now; wait for one if there is none."""
        until = self._now() + self._worker_seconds
        while True:
            models = [
                name
                for name in self._fleet.models()
                if (pool := self._fleet.pool(name)) is not None and pool.n_usable(name)
            ]
            if models:
                return models
            if self._now() >= until:
                raise Refusal(503, "no worker is ready", code="no_worker", retry_after=1.0)
            await asyncio.sleep(LOOK_SECONDS)

    async def _model(self, prompt: Prompt) -> str:
        """Return the model that is asked for, which somebody must serve.

        A gateway that has just begun has not heard of every worker yet; it does not say no before.
        """
        until = self._now() + self._worker_seconds
        while True:
            try:
                return self._known_model(prompt)
            except Refusal:
                if not self._is_new() or self._now() >= until:
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    def _known_model(self, prompt: Prompt) -> str:
        fleet, model = self._fleet, prompt.model
        if model is not None and fleet.pool(model) is not None:
            return model
        served = fleet.models()
        if not served:
            raise Refusal(503, "no worker is ready yet", code="no_worker", retry_after=1.0)
        if model is not None:
            raise Refusal(404, f"the model {model!r} does not exist", code="model_not_found")
        if len(served) > 1:
            raise Refusal(400, "expected a model by name in the body", code="model_missing")
        return next(iter(served))

    def _is_new(self) -> bool:
        """Tell whether a worker has yet to answer its first check, well or not."""
        states = (member.health for member in self._fleet)
        return any(each.state is State.STARTING and each.error is None for each in states)


def _naming(model: str, body: bytes) -> bytes:
    """Return a body that names a model."""
    try:
        return with_model(body, model)
    except (ValueError, RecursionError) as error:
        # Names of fields that nobody has looked at need not be text.
        raise Refusal(400, f"malformed body: {error}", code="malformed_body") from None
