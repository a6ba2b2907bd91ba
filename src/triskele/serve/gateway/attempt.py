"""A request at one worker: everybody who has to hear of its fate hears of it here.

The router learns of the choice's outcome, the worker's health of faults, the tally of tokens. A
client that goes away is nobody's fault; a worker that answers 429 is full, not broken.
"""

import asyncio
from collections.abc import Callable

from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.health import Fault
from triskele.serve.gateway.journey import Journey, Stop
from triskele.serve.gateway.pool import Pool
from triskele.serve.gateway.relay import Relay
from triskele.serve.http import Unreachable, UpstreamError
from triskele.serve.routing import Outcome, Phase, Request

SERVER_ERROR = 500


class Attempt:
    """One request at one worker; choosing the worker is its beginning.

    Parameters
    ----------
    journey
        What is attempted.
    request
        As the router sees it.
    fleet, pool
        Of the worker; one must be offered.
    now
        The clock.

    Attributes
    ----------
    member
        The worker.
    """

    def __init__(
        self,
        journey: Journey,
        request: Request,
        fleet: Fleet,
        pool: Pool,
        *,
        now: Callable[[], float],
    ) -> None:
        self._journey = journey
        self._request = request
        self._fleet = fleet
        self._now = now
        self._began = now()
        self.member = pool.choose(request, self._began)
        # Not before: it may have been another until now.
        self._router = pool.router
        self._ticket = self.member.health.sent()
        self.member.tally.n_requests += 1
        self.member.exchanges.add(journey)
        journey.worker = self.member.name
        journey.predicted = pool.predicted(request.id)

    async def run(self, head: bytes, body: bytes, relay: Relay) -> bool:
        """Send the request and relay the answer.

        Returns
        -------
        bool
            Whether the client has its answer, whole or broken off; else another worker may be
            asked.
        """
        journey = self._journey
        try:
            try:
                await self.member.origin.exchange(head, body, relay)
            finally:
                # First of all: who finds the worker down gives up only those that still wait there.
                self.member.exchanges.discard(journey)
        except UpstreamError as error:
            fault = Fault.REFUSED if isinstance(error, Unreachable) else Fault.RESET
            self._fail(fault, str(error))
            return self._break_off(relay)
        except asyncio.CancelledError:
            if journey.stop is Stop.ABANDONED and journey.stopped() is Stop.ABANDONED:
                self._fail(None, "the worker does not answer")
                return self._break_off(relay)
            if journey.stop is Stop.EXPIRED and relay.status is None:
                self._fail(Fault.TIMEOUT, "no answer in time")
            else:
                is_slow = journey.stop is Stop.OUTRUN and relay.first_byte is None
                self._tell(Phase.FAILED if is_slow else Phase.CANCELLED)
                self.member.health.released(self._ticket)
            raise
        return self._end(relay)

    def first_event(self) -> None:
        """Hear that the first event has been sent on."""
        # Health hears only of whole answers: a worker may break off every stream that it begins.
        self._journey.first_event = self._now()
        self._tell(Phase.FIRST_TOKEN)

    def _end(self, relay: Relay) -> bool:
        """Take a whole answer."""
        assert relay.status is not None
        journey = self._journey
        if relay.status >= SERVER_ERROR:
            self._fail(Fault.STATUS, f"it answered {relay.status}")
        elif relay.status == 200:
            self._finish(relay)
            journey.outcome = "finished"
        else:
            # Too full, or the client's own fault: nothing to learn about speed.
            self._tell(Phase.CANCELLED)
            self.member.health.succeeded(self._ticket, self._now())
            self._fleet.look(self.member)
            journey.outcome, journey.error = "failed", f"it answered {relay.status}"
        if relay.is_kept:
            return False
        relay.end()
        return True

    def _finish(self, relay: Relay) -> None:
        """Learn from a good answer."""
        usage, tally = relay.usage(), self.member.tally
        self._journey.usage = usage
        self.member.health.succeeded(self._ticket, self._now())
        self._fleet.look(self.member)
        if usage.n_prompt is not None and usage.n_cached is not None:
            tally.n_prompt += usage.n_prompt
            tally.n_cached += usage.n_cached
        tally.n_output += usage.n_output or 0
        self._tell(Phase.FINISHED)

    def _fail(self, fault: Fault | None, error: str) -> None:
        self._journey.outcome, self._journey.error = "failed", error
        self._tell(Phase.FAILED)
        if fault is None:
            # Its health is known already.
            self.member.tally.n_failures += 1
        else:
            self._fleet.failed(self.member, self._ticket, fault, self._now(), error)

    def _break_off(self, relay: Relay) -> bool:
        """End an answer that cannot be made whole; a client that has none of it lost nothing."""
        relay.drop()
        if not relay.has_begun:
            return False
        self._journey.reply.abort()
        return True

    def _tell(self, phase: Phase) -> None:
        """Tell the router."""
        now, usage, request = self._now(), self._journey.usage, self._request
        n_cached = None
        if usage.n_cached is not None and usage.n_prompt:
            # Its tokens are not the router's: the share is what both agree on.
            n_cached = round(request.n_prompt * min(1.0, usage.n_cached / usage.n_prompt))
        outcome = Outcome(
            request.id,
            self.member.name,
            phase,
            max(0.0, now - self._began),
            n_cached=n_cached,
            n_output=usage.n_output,
        )
        self._router.observe(outcome, now)
