"""From a client's request to a worker's answer: the path that every completion takes.

Let in, choose a worker, send, relay. A worker that fails before the client has a single byte is
replaced by another, up to a number of attempts; after the first byte an answer that breaks off is
broken off to the client as well, never patched. A client that goes away cancels all of it, which
closes the connection to the worker.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from triskele.serve.gateway.access import Access
from triskele.serve.gateway.admission import Admission, Overloaded
from triskele.serve.gateway.attempt import Attempt
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.hedging import Claim, hedged
from triskele.serve.gateway.intake import LOOK_SECONDS, Intake
from triskele.serve.gateway.journey import Journey
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.pool import Pool
from triskele.serve.gateway.prompt import Prompt
from triskele.serve.gateway.refusal import Refusal
from triskele.serve.gateway.relay import HOP_BY_HOP, Relay, passed_on
from triskele.serve.http import HttpRequest, Reply
from triskele.serve.routing import Request

# Fields of a request that are the gateway's own business.
OWN_FIELDS = HOP_BY_HOP | {b"accept-encoding", b"expect", b"host", b"x-request-id"}
EXPLAIN = b"x-triskele-explain"
REQUEST_ID_LENGTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """How requests are forwarded.

    Attributes
    ----------
    n_attempts
        Most workers that a request is sent to, one after the other.
    request_seconds
        Longest time from a request's arrival to the end of its answer.
    worker_seconds
        How long a request waits for a worker to return when there is none.
    page_size
        Tokens per page of the routers' keys; a token is four bytes of text.
    hedge_seconds
        After so long without anything for the client, another worker is asked beside the first;
        ``None`` never.
    """

    n_attempts: int = 3
    request_seconds: float = 600.0
    worker_seconds: float = 10.0
    page_size: int = 64
    hedge_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse what would serve nothing."""
        if self.n_attempts < 1 or self.page_size < 1:
            raise ValueError(f"expected at least one attempt and one token per page, got {self}")
        if not (self.request_seconds > 0 and self.worker_seconds >= 0):
            raise ValueError(f"expected seconds above 0, got {self}")
        if self.hedge_seconds is not None and not self.hedge_seconds > 0:
            raise ValueError(f"expected seconds above 0 before a second worker, got {self}")


@dataclass(slots=True)
class _Errand:
    """A request on its way from worker to worker.

    Attributes
    ----------
    tried
        Names of those that were asked, in order.
    kept
        The last answer that was kept back, which is passed on if there is no other.
    """

    number: int
    request: HttpRequest
    prompt: Prompt
    model: str
    is_explained: bool
    tried: list[str] = field(default_factory=list)
    kept: Relay | None = None


class Forwarder:
    """Forwards completions.

    Parameters
    ----------
    fleet, access, admission
        Where to, who may, and how many at once.
    settings
        How.
    intake
        What finds out what is asked, and of which model.
    policy
        Returns the name of the policy that routes now.
    ended
        Called with every journey at its end.
    """

    def __init__(
        self,
        fleet: Fleet,
        access: Access,
        admission: Admission,
        *,
        settings: Forwarding,
        intake: Intake,
        policy: Callable[[], str],
        ended: Callable[[Journey], None],
    ) -> None:
        self.journeys: set[Journey] = set()
        self._fleet = fleet
        self._access = access
        self._admission = admission
        self._settings = settings
        self._policy = policy
        self._ended = ended
        self._intake = intake
        self._now = asyncio.get_running_loop().time
        self._numbers = itertools.count(1)
        self._prefix = secrets.token_hex(4)

    def expire(self, now: float) -> None:
        """Stop the journeys whose time is over."""
        for journey in [each for each in self.journeys if each.deadline <= now]:
            journey.expire()

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Serve a request."""
        now = self._now()
        journey = Journey(
            _request_id(request) or f"{self._prefix}-{next(self._numbers):x}",
            request.path,
            reply,
            accepted=now,
            wall=time.time(),
            deadline=now + self._settings.request_seconds,
        )
        self.journeys.add(journey)
        try:
            await self._serve(request, journey)
        except Refusal as refusal:
            journey.outcome = "refused" if journey.worker is None else "failed"
            # Why workers failed, and where they are, is not for clients.
            reasons = (
                [refusal.message] if journey.error is None else [refusal.message, journey.error]
            )
            journey.error = ": ".join(reasons)
            refusal.send(reply, headers=_own_headers(journey))
        except asyncio.CancelledError:
            if journey.stopped() is None:
                journey.outcome = "cancelled"
                raise
            self._give_up(journey)
        finally:
            self.journeys.discard(journey)
            self._ended(journey)

    async def _serve(self, request: HttpRequest, journey: Journey) -> None:
        access = self._access
        key = access.identify(request)
        journey.key_name = None if key is None else key.name
        prompt, model = await self._intake.take(request, journey, key)
        access.admit(key, prompt.n_tokens, self._now())
        if not self._admission.enter():
            try:
                await self._admission.wait()
            except Overloaded as error:
                raise Refusal(
                    429, str(error), code="overloaded", retry_after=error.seconds
                ) from None
        try:
            await self._attempt(request, journey, prompt, model)
        finally:
            self._admission.leave()
            access.charge(key, journey.usage.n_output or 0, self._now())

    async def _attempt(
        self, request: HttpRequest, journey: Journey, prompt: Prompt, model: str
    ) -> None:
        """Try workers until one answers, or none is left."""
        is_explained = request.header(EXPLAIN) is not None
        errand = _Errand(next(self._numbers), request, prompt, model, is_explained)
        hedge = self._settings.hedge_seconds
        while len(errand.tried) < self._settings.n_attempts:
            # Each time anew: pools change while a request waits.
            pool = await self._pool(model)
            if pool is None:
                break
            avoided = pool.avoided(model, errand.tried)
            if errand.kept is not None and not set(errand.tried).issubset(avoided):
                # All have tried, and their answers are as good as another.
                break
            if hedge is None:
                is_answered = await self._ask(errand, pool, journey)
            else:
                is_answered = await hedged(
                    journey,
                    partial(self._ask_beside, errand),
                    seconds=hedge,
                    may_ask_another=partial(self._may_hedge, errand),
                )
            if is_answered:
                return
        if errand.kept is None:
            raise Refusal(503, "no worker could answer", code="no_worker", retry_after=1.0)
        errand.kept.pass_on()
        journey.outcome = "failed"

    async def _ask(
        self, errand: "_Errand", pool: Pool, journey: Journey, claim: Claim | None = None
    ) -> bool:
        """Ask a worker; return whether the client has its answer, which ``claim`` may forbid."""
        prompt, tried = errand.prompt, errand.tried
        journey.policy, journey.n_retries = self._policy(), len(tried)
        asked = Request(
            # Beside another it is a request of its own to the router.
            errand.number if claim is None else next(self._numbers),
            prompt.key,
            n_prompt=prompt.n_tokens,
            n_output=prompt.n_output,
            session=prompt.session,
            kind=prompt.kind,
            avoid=pool.avoided(errand.model, tried),
        )
        attempt = Attempt(journey, asked, self._fleet, pool, now=self._now)
        tried.append(attempt.member.name)
        relay = Relay(
            journey.reply,
            own_headers=_own_headers(journey, is_explained=errand.is_explained),
            now=self._now,
            first_event=attempt.first_event,
            # Who is asked beside another must not answer for both that nothing can be done.
            keeps_errors=claim is not None or len(tried) < self._settings.n_attempts,
            claim=claim,
        )
        head = self._head(errand.request, journey, attempt.member)
        is_answered = await attempt.run(head, errand.request.body, relay)
        if relay.is_kept:
            errand.kept = relay
        return is_answered

    async def _ask_beside(self, errand: "_Errand", journey: Journey, claim: Claim) -> bool:
        """Ask a worker beside another; there may be none any more."""
        pool = self._fleet.pool(errand.model)
        if pool is None or not pool.n_usable(errand.model):
            return False
        return await self._ask(errand, pool, journey, claim)

    def _may_hedge(self, errand: "_Errand") -> bool:
        """Tell whether there is another worker, and nobody who waits for one."""
        pool, tried = self._fleet.pool(errand.model), errand.tried
        if pool is None or self._admission.n_waiting or len(tried) >= self._settings.n_attempts:
            return False
        unfit = {*pool.avoided(errand.model), *tried}
        # Nobody on trial is asked for what another is at work on.
        return any(
            member.health.is_routable and member.name not in unfit for member in pool.members
        )

    async def _pool(self, model: str) -> Pool | None:
        """Return who serves a model; wait for a worker to return, if there is none."""
        until = self._now() + self._settings.worker_seconds
        while True:
            pool = self._fleet.pool(model)
            if pool is not None and pool.n_usable(model):
                return pool
            if self._now() >= until:
                return None
            await asyncio.sleep(LOOK_SECONDS)

    def _head(self, request: HttpRequest, journey: Journey, member: Member) -> bytes:
        """Return the head of the request to a worker."""
        hides = member.has_credential or not self._access.is_open
        lines = [member.head(request.target)]
        lines += [
            b"%b: %b\r\n" % field
            for field in passed_on(request.headers, OWN_FIELDS)
            if not (hides and field[0] == b"authorization")
        ]
        lines.append(
            b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n"
            % (journey.id.encode(), len(request.body))
        )
        return b"".join(lines)

    def _give_up(self, journey: Journey) -> None:
        """Answer a request whose time is over."""
        journey.outcome, journey.error = "failed", "its time was over"
        if journey.reply.started:
            journey.reply.abort()
            return
        seconds = self._settings.request_seconds
        refusal = Refusal(504, f"no answer within {seconds:g} seconds", code="timeout")
        refusal.send(journey.reply, headers=_own_headers(journey))


def _own_headers(journey: Journey, *, is_explained: bool = False) -> list[tuple[bytes, bytes]]:
    """Return the fields that the gateway adds to an answer."""
    fields = [(b"x-request-id", journey.id.encode())]
    if is_explained and journey.worker is not None:
        fields.append((b"x-triskele-worker", journey.worker.encode()))
        if journey.predicted is not None:
            ttft, latency = journey.predicted
            fields.append((b"x-triskele-predicted-ttft", b"%.6f" % ttft))
            fields.append((b"x-triskele-predicted-latency", b"%.6f" % latency))
    if is_explained and journey.decision is not None:
        fields.append((b"x-triskele-model", journey.decision.model.encode("utf-8", "replace")))
        fields.append((b"x-triskele-decision", msgspec.json.encode(journey.decision)))
    return fields


def _request_id(request: HttpRequest) -> str | None:
    """Return the identifier that a client gives its request, if it is fit to be passed on."""
    given = request.header(b"x-request-id")
    if given is None or not 0 < len(given) <= REQUEST_ID_LENGTH:
        return None
    return (
        given.decode("ascii") if given.isascii() and given.decode("ascii").isprintable() else None
    )
