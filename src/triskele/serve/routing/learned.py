"""LBGR, learning-based greedy routing: to the worker where a request costs the least time.

Of each worker a regression predicts the time to this request's first token, u_w + x_w (what is
before it, and its own prefill of the tokens that the worker does not hold), and the time per token
t_w of its answer of n expected tokens. KVRouting's router (arXiv 2601.18999) takes the smallest
latency. Taken alone that is myopic: it spreads every prefix over the fleet, and the work that this
makes is paid by others. So the choice here is the smallest

    u_w + x_w + n·t_w + x_w·[ min(λ(2u_w + x_w) / 2(1−ρ), H) + r_w + q_w + κρ/(1−ρ) ]

The bracket is how many others wait because of one second of work: λ(2u + x)/2(1−ρ) is the marginal
delay of those still to come, exact for an M/G/1 queue of arrival rate λ and load ρ (Hyytiä,
Penttinen and Aalto, 2012, on dispatching with queue-specific job sizes), and bounded by H because
no queue keeps its arrivals when others are shorter; r_w answers run and q_w requests are queued
that will run when this prefill interrupts them; κρ/(1−ρ) is a price on every second of new work,
for what the fleet loses when prefixes are computed and held twice and other pages have to go for
them. ρ is the load of prefills alone: what answers take is not in it.

A worker that is known to have no room for a prompt is not chosen while another may have, and one
that fails is dearer for a while.

The router reads no clock. Work per decision: one pass over the prompt's hashes to look its holders
up and to enter it, and a few vector operations over the workers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triskele.serve.cache import EvictionPolicy, least_recently_used
from triskele.serve.routing.accuracy import ErrorReport
from triskele.serve.routing.answer_lengths import AnswerLengths
from triskele.serve.routing.demand import Demand
from triskele.serve.routing.failures import Failures
from triskele.serve.routing.latency import Diligence, LatencyModel
from triskele.serve.routing.mirror import CacheMirror
from triskele.serve.routing.queues import RUNNING, Queues, Ticket, new_work
from triskele.serve.routing.regression import Floats
from triskele.serve.routing.roster import Roster
from triskele.serve.routing.router import Outcome, Phase, Request, Worker

# Costs that differ by a hundredth differ by less than is known of them. Without this, an idle fleet
# would send all to the one of equal workers that happened to seem the fastest.
ALIKE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What a second of work on a worker costs beside the request's own time.

    Attributes
    ----------
    followers, interrupted
        Weight of those that come later, and of those that are there.
    copies
        κ: what a second of new work costs the fleet, by the copies of prefixes that it makes.
    load
        Highest load of prefills that is believed: ρ above it counts as this.
    horizon
        Most of those that come later that a second of work is taken to delay: once a queue is that
        long, others are sent elsewhere.
    """

    followers: float = 1.0
    interrupted: float = 1.0
    copies: float = 2.0
    load: float = 0.9
    horizon: float = 30.0

    def __post_init__(self) -> None:
        """Refuse a load at which queues never end."""
        if not 0 <= self.load < 1:
            raise ValueError(f"expected a highest load from 0 to below 1, got {self.load}")
        if min(self.followers, self.interrupted, self.copies, self.horizon) < 0:
            raise ValueError(f"expected weights of at least 0, got {self}")


class LearnedGreedy:
    """LBGR.

    Parameters
    ----------
    page_size
        Tokens per page of the requests' keys.
    eviction
        Makes the eviction policy of a worker's mirror from its capacity: the workers' own.
    default_pages
        Capacity of a worker that does not say.
    pricing
        What a second of work costs; all weights 0 is the objective of the paper.
    window
        Seconds over which arrivals and load are averaged.
    diligence
        How much of its time may go into learning; all that it takes if not given.
    """

    def __init__(
        self,
        *,
        page_size: int,
        eviction: Callable[[int], EvictionPolicy] = lambda _: least_recently_used(),
        default_pages: int = 16_384,
        pricing: Pricing | None = None,
        window: float = 30.0,
        diligence: Diligence | None = None,
    ) -> None:
        if page_size < 1:
            raise ValueError(f"expected pages of at least one token, got {page_size}")
        self._page_size = page_size
        self._pricing = pricing or Pricing()
        self._roster = Roster()
        self._mirror = CacheMirror(eviction, default_pages=default_pages)
        self._queues = Queues()
        self._demand = Demand(window=window)
        self._lengths = AnswerLengths()
        self._model = LatencyModel(diligence)
        self._failures = Failures()
        self._held: Floats = np.zeros(0)
        self._n_sent = 0
        self._turns: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return the worker where the request costs the least time."""
        self._update(workers)
        self._roster.avoid(request.avoid)
        if self._queues.ticket(request.id) is not None:
            raise ValueError(f"expected a request not in flight, got id {request.id} again")
        weighed = self._weigh(request, now)
        own, latency = weighed.own, weighed.latency
        cost = self._cost(weighed, self._demand.arrive(now), now)
        slot = self._cheapest(cost, self._fitting(request))
        self._demand.add(float(own[slot]))
        ticket = Ticket(
            slot=slot,
            n_prompt=request.n_prompt,
            new=float(weighed.new[slot]),
            attended=float(weighed.attended[slot]),
            features=self._queues.features[:, slot].copy(),
            ttft=float(weighed.before[slot] + own[slot]),
            pace=float(weighed.pace[slot]),
            latency=float(latency[slot]),
            kind=request.kind,
            promised=self._mirror.send(slot, request.key, weighed.hashes),
        )
        self._queues.send(request.id, ticket, now)
        return self._roster.worker(slot)

    def expect(self, request: Request, workers: Sequence[Worker], now: float) -> float:
        """Return the seconds that a request would take where it is done soonest; sends nothing."""
        self._update(workers)
        self._roster.avoid(request.avoid)
        return float(self._weigh(request, now).latency[self._fitting(request)].min())

    def burden(self, request: Request, workers: Sequence[Worker], now: float) -> float:
        """Return the seconds that a request would cost everyone where that is least; sends nothing.

        That is the formula above: its own latency, and what others would wait longer.
        """
        self._update(workers)
        self._roster.avoid(request.avoid)
        cost = self._cost(self._weigh(request, now), self._demand.rates(now), now)
        return float(cost[self._fitting(request)].min())

    def observe(self, outcome: Outcome, now: float) -> None:
        """Learn from a first token, an end or a failure."""
        ticket = self._queues.ticket(outcome.request_id)
        if ticket is None or self._roster.names[ticket.slot] != outcome.worker:
            return
        if ticket.first_token is None:
            self._mirror.arrive(ticket.slot, ticket.promised)
        if outcome.phase is Phase.FIRST_TOKEN:
            if ticket.first_token is None:
                self._model.learn_first_token(ticket, outcome, now)
                self._queues.first_token(ticket, outcome.latency, now)
            return
        if outcome.phase is Phase.FINISHED:
            self._model.learn_answer(ticket, outcome, now)
            if outcome.n_output is not None:
                self._lengths.observe(ticket.kind, outcome.n_output)
        elif outcome.phase is Phase.FAILED and ticket.first_token is None:
            self._failures.add(ticket.slot, ticket.latency, now)
        self._queues.end(outcome.request_id, now)

    def predicted(self, request_id: int) -> tuple[float, float] | None:
        """Return what was predicted of a request in flight: TTFT and latency in seconds."""
        ticket = self._queues.ticket(request_id)
        return None if ticket is None else (ticket.ttft, ticket.latency)

    def errors(self) -> dict[str, ErrorReport | None]:
        """Return how good the last predictions were, of ``ttft`` and ``latency``."""
        return self._model.errors()

    def stored(self, worker: str, hashes: Sequence[int]) -> None:
        """Take a worker's word that it holds these pages."""
        slot = self._roster.slot(worker)
        if slot is not None:
            self._mirror.stored(slot, hashes)

    def removed(self, worker: str, hashes: Sequence[int]) -> None:
        """Take a worker's word that it has evicted these pages."""
        slot = self._roster.slot(worker)
        if slot is not None:
            self._mirror.removed(slot, hashes)

    def cleared(self, worker: str) -> None:
        """Take a worker's word that it holds nothing."""
        slot = self._roster.slot(worker)
        if slot is not None:
            self._mirror.cleared(slot)

    def state(self, *, caches: bool = True) -> dict[str, Any]:
        """Return what has been learned, as plain values that JSON can hold.

        Requests in flight are not part of it: their outcomes are ignored by who restores it.

        Parameters
        ----------
        caches
            Whether what workers hold is part of it. That is the most by far: of workers that hold
            100,000 pages together, about 10 ms of work and some MB, instead of 0.1 ms and 8 kB.
        """
        return {
            "page_size": self._page_size,
            "workers": list(self._roster.names),
            "model": self._model.state(),
            "lengths": self._lengths.state(),
            "demand": self._demand.state(),
            "turns": self._turns.tolist(),
            "caches": self._mirror.state() if caches else {},
        }

    def restore(self, state: dict[str, Any], workers: Sequence[Worker], now: float) -> None:
        """Take up what :meth:`state` returned, for the workers that are there now.

        Only into a router that has not routed yet. A worker that was not there then begins cold.
        """
        if self._roster.names:
            raise ValueError("expected a router that has not routed yet")
        if state["page_size"] != self._page_size:
            raise ValueError(
                f"expected the state of pages of {self._page_size} tokens, got {state['page_size']}"
            )
        self._roster.recall(state["workers"])
        self._model.restore(state["model"], now)
        self._lengths.restore(state["lengths"])
        self._demand.restore(state["demand"], now)
        self._update(workers)
        self._turns[: len(state["turns"])] = state["turns"]
        self._n_sent = int(self._turns.max())
        stayed = set(self._roster.present.tolist()).difference(self._roster.reused)
        self._mirror.restore(state["caches"], stayed)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self._queues.check()
        self._mirror.check()
        self._model.check()

    def _update(self, workers: Sequence[Worker]) -> None:
        """Let workers join and leave; who comes back begins cold."""
        joined, left = self._roster.update(workers)
        if not joined and not left:
            return
        n_slots = len(self._roster)
        if n_slots > len(self._held):
            self._queues.grow(n_slots)
            self._model.grow(n_slots)
            self._failures.grow(n_slots)
            self._held = np.zeros(n_slots)
            self._turns = np.pad(self._turns, (0, n_slots - len(self._turns)))
        for slot in self._roster.reused:
            self._model.forget(slot)
            self._turns[slot] = 0
        for slot in self._roster.slots(left):
            self._mirror.leave(slot)
            self._queues.drop(slot)
            self._failures.clear(slot)
        slots = self._roster.slots(worker.name for worker in joined)
        for slot, worker in zip(slots, joined, strict=True):
            self._mirror.join(slot, worker.n_pages)

    def _weigh(self, request: Request, now: float) -> "_Weighed":
        """Work out what a request would find and take on every worker."""
        hashes: list[int] = np.frombuffer(request.key, "<u8").tolist()
        self._mirror.n_pages(hashes, self._roster.mask, self._held)
        new, attended = new_work(self._held, self._page_size, request.n_prompt)
        expected = self._model.expect(
            self._queues, new, attended, n_prompt=request.n_prompt, now=now
        )
        n_output: float | None = request.n_output
        if n_output is None:
            n_output = self._lengths.expect(request.kind)
        latency = expected.before + expected.own + max(n_output - 1.0, 0.0) * expected.pace
        return _Weighed(
            hashes, new, attended, expected.before, expected.own, expected.pace, latency
        )

    def _fitting(self, request: Request) -> NDArray[np.intp]:
        return self._roster.fitting(-(-request.n_prompt // self._page_size))

    def _cost(self, weighed: "_Weighed", rates: tuple[float, float], now: float) -> Floats:
        """Return what the request costs on every worker, (n_slots,), at this demand."""
        cost = weighed.latency + weighed.own * self._price(weighed.before, weighed.own, rates)
        failures = self._failures.seconds(now)
        if failures is not None:
            cost += failures
        return cost

    def _price(self, before: Floats, own: Floats, rates: tuple[float, float]) -> Floats:
        """Return the bracket of the formula, (n_slots,)."""
        pricing, n_workers = self._pricing, len(self._roster.present)
        rate, work = rates
        load = min(pricing.load, work / n_workers)
        idle = 1.0 - load
        followers = pricing.followers * rate / n_workers / (2 * idle)
        price = np.minimum(followers * (2 * before + own), pricing.horizon)
        price += pricing.copies * load / idle
        price += pricing.interrupted * (self._queues.features[RUNNING] + self._queues.waiting)
        return np.asarray(price)

    def _cheapest(self, cost: Floats, slots: NDArray[np.intp]) -> int:
        """Return the slot of the lowest cost; of those alike, what was sent to longest ago."""
        offered = cost[slots]
        ties = slots[offered <= offered.min() * (1 + ALIKE)]
        slot = int(ties[0] if len(ties) == 1 else ties[self._turns[ties].argmin()])
        self._n_sent += 1
        self._turns[slot] = self._n_sent
        return slot


class _Weighed(NamedTuple):
    """A request on every worker, (n_slots,): work, seconds of its parts, and in all."""

    hashes: list[int]
    new: Floats
    attended: Floats
    before: Floats
    own: Floats
    pace: Floats
    latency: Floats
