"""Which path leads where: completions to the workers, all else to the gateway's own pages."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import msgspec

from triskele.serve.gateway.access import Access
from triskele.serve.gateway.administration import PREFIX, Administration
from triskele.serve.gateway.choosing import AUTO
from triskele.serve.gateway.dashboard import CONTENT_TYPE as HTML
from triskele.serve.gateway.dashboard import Dashboard
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.forwarding import Forwarder
from triskele.serve.gateway.metrics import CONTENT_TYPE as PROMETHEUS
from triskele.serve.gateway.metrics import Metrics
from triskele.serve.gateway.openapi import openapi
from triskele.serve.gateway.refusal import Refusal
from triskele.serve.http import HttpRequest, Reply
from triskele.serve.journal.feedback import Feedback, append_feedback

logger = logging.getLogger(__name__)

COMPLETIONS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
FEEDBACK = "/v1/feedback"
POSTED = COMPLETIONS | {FEEDBACK}
MODEL = "/v1/models/"
AUTO_ENTRY = msgspec.Raw(b'{"id":"auto","object":"model","created":0,"owned_by":"triskele"}')
ANONYMOUS = "anonymous"
# Longest id of a request, and longest comment, in characters.
ID_LENGTH, COMMENT_LENGTH = 200, 2000
Id = Annotated[str, msgspec.Meta(max_length=ID_LENGTH)]


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """Feedback as clients send it."""

    id: Id
    score: float | None = None
    better_than: Id | None = None
    comment: Annotated[str, msgspec.Meta(max_length=COMMENT_LENGTH)] | None = None


class Pages:
    """The gateway's application.

    Parameters
    ----------
    forwarder, administration, fleet, metrics, access
        What answers.
    is_draining
        Whether the gateway is about to stop.
    feedback
        Folder of the journal, where feedback is kept; ``None`` if none is taken.
    has_auto
        Whether a model may be left to the gateway to choose.
    version
        Of the package.
    """

    def __init__(
        self,
        forwarder: Forwarder,
        administration: Administration,
        fleet: Fleet,
        metrics: Metrics,
        access: Access,
        *,
        is_draining: Callable[[], bool],
        feedback: Path | None,
        has_auto: bool,
        version: str,
    ) -> None:
        self._forwarder = forwarder
        self._administration = administration
        self._fleet = fleet
        self._metrics = metrics
        self._access = access
        self._is_draining = is_draining
        self._feedback = feedback
        self._has_auto = has_auto
        self._dashboard = Dashboard.packaged()
        self._openapi = msgspec.json.encode(openapi(version))
        self._pages: dict[str, Callable[[HttpRequest, Reply], None]] = {
            "/": self._welcome,
            "/dashboard": self._show_dashboard,
            "/health": self._health,
            "/metrics": self._show_metrics,
            "/openapi.json": lambda _, reply: reply.send(200, self._openapi),
            "/ready": self._ready,
            "/v1/models": self._models,
        }

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Answer a request."""
        path = request.path
        if path in COMPLETIONS and request.method == "POST":
            await self._forwarder(request, reply)
            return
        try:
            if path == FEEDBACK and request.method == "POST":
                await self._take_feedback(request, reply)
            else:
                self._answer(request, reply)
        except Refusal as refusal:
            headers = [] if refusal.status != 405 else [(b"allow", self._allowed(path))]
            refusal.send(reply, headers=headers)

    def _answer(self, request: HttpRequest, reply: Reply) -> None:
        path = request.path
        if path.startswith(PREFIX):
            self._administration(request, reply)
            return
        page = self._pages.get(path)
        if page is None and path.startswith(MODEL):
            page = self._model
        if page is None and path not in POSTED:
            raise Refusal(404, "there is no such page")
        if page is None or request.method not in ("GET", "HEAD"):
            raise Refusal(405, f"{request.method} is not for this page")
        page(request, reply)

    def _allowed(self, path: str) -> bytes:
        """Return the methods of a page that exists."""
        if path.startswith(PREFIX):
            return self._administration.allowed_methods(path)
        return b"POST" if path in POSTED else b"GET, HEAD"

    async def _take_feedback(self, request: HttpRequest, reply: Reply) -> None:
        """Write down what a client thinks of an answer."""
        key = self._access.identify(request)
        if self._feedback is None:
            raise Refusal(404, "no feedback is taken: there is no journal", code="no_journal")
        source = ANONYMOUS if key is None else key.name
        try:
            said = msgspec.json.decode(request.body, type=_Said)
            if said.id and said.id == said.better_than:
                raise Refusal(409, "no answer is better than itself", code="same_request")
            feedback = Feedback(
                id=said.id,
                time=time.time(),
                score=said.score,
                better_than=said.better_than,
                source=source,
                comment=said.comment,
            )
        except (ValueError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"malformed feedback: {error or 'nested too deeply'}") from None
        # A disk may take long to say that it has something.
        try:
            await asyncio.to_thread(append_feedback, self._feedback, feedback)
        except OSError as error:
            logger.error("feedback is lost: %s", error)
            raise Refusal(503, "the feedback could not be kept", code="not_kept") from None
        reply.send(201, msgspec.json.encode({"id": said.id, "object": "feedback"}))

    def _welcome(self, _: HttpRequest, reply: Reply) -> None:
        reply.send(307, b"", headers=[(b"location", b"/dashboard")])

    def _show_dashboard(self, _: HttpRequest, reply: Reply) -> None:
        page = self._dashboard.page(secrets.token_urlsafe(16))
        reply.send(200, page.body, content_type=HTML, headers=page.headers)

    def _health(self, _: HttpRequest, reply: Reply) -> None:
        reply.send(200, b'{"status":"ok"}')

    def _ready(self, _: HttpRequest, reply: Reply) -> None:
        if self._is_draining():
            raise Refusal(503, "the gateway is about to stop", code="draining", retry_after=1.0)
        if self._fleet.n_usable == 0:
            raise Refusal(503, "no worker is ready", code="no_worker", retry_after=1.0)
        reply.send(200, b'{"status":"ready"}')

    def _show_metrics(self, _: HttpRequest, reply: Reply) -> None:
        reply.send(200, self._metrics.text(), content_type=PROMETHEUS)

    def _models(self, request: HttpRequest, reply: Reply) -> None:
        self._access.identify(request)
        entries = list(self._catalogue().values())
        reply.send(200, msgspec.json.encode({"object": "list", "data": entries}))

    def _model(self, request: HttpRequest, reply: Reply) -> None:
        self._access.identify(request)
        # A name may have slashes, which some clients quote.
        entry = self._catalogue().get(unquote(request.path.removeprefix(MODEL)))
        if entry is None:
            raise Refusal(404, "there is no such model", code="model_not_found")
        reply.send(200, bytes(entry))

    def _catalogue(self) -> dict[str, msgspec.Raw]:
        """Return what may be asked for by name."""
        models = self._fleet.models()
        return models | {AUTO: AUTO_ENTRY} if self._has_auto else models
