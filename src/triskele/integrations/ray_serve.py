"""Any of our routers as the request router of a Ray Serve deployment.

Ray Serve makes one such object per deployment and process that calls it (a proxy, or a replica of
an ingress deployment with a handle). Each learns from the calls of its own process, and sees no
load but theirs; what it learns dies with its process.

A request is reserved on the replica that the router chooses, and let go when Ray says that it has
completed. Ray does not say how it went or when the first token came, so the first item of what the
replica answers is watched, not consumed: of a stream it is the first token, of a plain answer the
whole, with its count of tokens; an exception is a failure.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from ray.exceptions import TaskCancelledError
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from triskele.integrations.calls import BYTES_PER_TOKEN, Paging, answer_tokens, request_of
from triskele.serve.cache.named import EVICTIONS
from triskele.serve.routing import Outcome, Phase, Request, Worker
from triskele.serve.routing.named import ROUTERS, Surroundings

logger = logging.getLogger(__name__)

# Seconds after a completion in which the answer's first item may still arrive.
GRACE = 1.0
# Seconds after which a request that Ray has never said to have completed is let go.
LOST = 3600.0


@dataclass(slots=True, eq=False)
class _Sent:
    """A request that a router has given to a worker.

    Attributes
    ----------
    number, worker, at
        Its id, the name of its worker and the time of the choice.
    pending
        What Ray knows it by.
    replica
        Who really has it: another than ``worker`` if that was full; ``None`` before.
    is_watched, is_seen
        Whether the first item of its answer is waited for, and whether it is there.
    over
        When Ray said that it was over.
    is_failure, n_output
        Whether its replica failed it, and how many tokens the answer said it had.
    """

    number: int
    worker: str
    at: float
    pending: PendingRequest
    replica: str | None = None
    is_watched: bool = False
    is_seen: bool = False
    over: float | None = None
    is_failure: bool = False
    n_output: int | None = None


@dataclass(slots=True, eq=False)
class _Fleet:
    """The replicas that may be chosen, and the list of Ray's that says so."""

    replicas: list[RunningReplica] = field(default_factory=list)
    workers: tuple[Worker, ...] = ()
    by_name: dict[str, RunningReplica] = field(default_factory=dict)


class LearnedRequestRouter(RequestRouter):  # type: ignore[misc]
    """Routes by one of ``triskele.serve.routing.named.ROUTERS``.

    Name it in ``RequestRouterConfig(request_router_class=...)``; what
    :meth:`initialize_state` takes goes into ``request_router_kwargs``.
    """

    def initialize_state(
        self,
        *,
        policy: str = "lbgr",
        eviction: str = "lru",
        n_pages: int | None = None,
        page_size: int = 16,
        bytes_per_token: int = BYTES_PER_TOKEN,
        seed: int = 0,
    ) -> None:
        """Make the router; Ray calls this once, with ``request_router_kwargs``.

        Parameters
        ----------
        policy
            Name of a router.
        eviction
            Name of the policy by which the replicas' engines evict.
        n_pages
            Pages of a replica's key-value cache, divided by how many processes call it;
            ``None`` if nobody knows.
        page_size
            Tokens per page.
        bytes_per_token
            Bytes of text per token.
        seed
            Of all draws; each process draws alike.

        Raises
        ------
        ValueError
            For a name that nobody knows, or pages of nothing.
        """
        for kind, name, known in (
            ("policy", policy, ROUTERS.keys()),
            ("eviction", eviction, EVICTIONS.keys()),
        ):
            if name not in known:
                raise ValueError(f"no {kind} {name!r}; there are: {', '.join(known)}")
        self._paging = Paging(page_size, bytes_per_token)
        self._n_pages = n_pages
        draws = random.Random(seed)
        self._router = ROUTERS[policy](
            Surroundings(
                page_size=page_size,
                rng=np.random.default_rng(seed),
                eviction=lambda capacity: EVICTIONS[eviction](capacity, draws),
            )
        )
        self._fleet = _Fleet()
        self._numbers = itertools.count(1)
        # By the future that Ray waits on; by what Ray names at the end: the handle calls that one
        # request makes share their id.
        self._choosing: dict[asyncio.Future[RunningReplica], _Sent] = {}
        self._tasks: WeakKeyDictionary[asyncio.Task[Any], PendingRequest] = WeakKeyDictionary()
        self._sent: dict[str, list[_Sent]] = {}
        # By number, the oldest first.
        self._open: dict[int, _Sent] = {}

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Return the router's choice alone; asked again because it is full, a new one first."""
        if pending_request is None or not candidate_replicas:
            return [candidate_replicas]
        fleet = self._update(candidate_replicas)
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = pending_request
        earlier = self._choosing.pop(pending_request.future, None)
        if earlier is not None:
            # Nobody has taken it: its choice has no room.
            earlier.is_failure = True
            self._settle(earlier)
        else:
            self._fail_where_it_was(pending_request)
            pending_request.future.add_done_callback(self._assigned)
        sent = self._choose(pending_request, fleet.workers)
        self._choosing[pending_request.future] = sent
        chosen = fleet.by_name[sent.worker]
        others = [replica for replica in candidate_replicas if replica is not chosen]
        return [[chosen]] if earlier is None or not others else [[chosen], others]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """Watch for the first item of the answer; Ray calls this when a replica has accepted."""
        sent = self._latest(pending_request)
        first = _first_item(result)
        if sent is None or first is None:
            return
        sent.is_watched = True
        loop = asyncio.get_running_loop()
        first._on_completed(partial(_post, loop, self._seen, sent))

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Let go of a request, however it ended."""
        alike = self._sent.get(internal_request_id, [])
        for sent in alike:
            # What fails while it is being sent is over before its future's callbacks have run.
            if sent.replica is None and sent.pending.future.done():
                self._assigned(sent.pending.future)
        there = [s for s in alike if s.replica == replica_id.unique_id and s.over is None]
        if not there:
            return
        sent = next((each for each in there if each.is_seen), there[0])
        sent.over = time.monotonic()
        loop = asyncio.get_running_loop()
        if sent.is_watched and not sent.is_seen:
            loop.call_later(GRACE, self._settle, sent)
        else:
            # Ray tells of a replica's death only after the end of what died with it.
            loop.call_soon(self._settle, sent)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Let everything that a dead replica had fail."""
        super().on_replica_actor_died(replica_id)
        for sent in self._open.values():
            if sent.replica == replica_id.unique_id:
                sent.is_failure = True
                self._tell(sent, Phase.FAILED)

    def _fulfill_next_pending_request(
        self, replica: RunningReplica, request_metadata: Any = None
    ) -> None:
        """Give a replica to the very request that it was chosen for.

        Ray finds a request by an id that all calls made on behalf of one request share: of calls
        made at once it would find one, and leave the others waiting for ever.
        """
        task = asyncio.current_task()
        pending = None if task is None else self._tasks.get(task)
        if pending is not None:
            request_metadata = pending.metadata
            self._pending_requests_by_id[request_metadata.internal_request_id] = pending
        super()._fulfill_next_pending_request(replica, request_metadata)

    def _update(self, replicas: list[RunningReplica]) -> _Fleet:
        """Return the fleet of a list of Ray's, which is another list after each change."""
        if self._fleet.replicas is not replicas:
            by_name = {replica.replica_id.unique_id: replica for replica in replicas}
            workers = tuple(Worker(name, self._n_pages) for name in by_name)
            self._fleet = _Fleet(replicas, workers, by_name)
        return self._fleet

    def _choose(self, pending: PendingRequest, workers: tuple[Worker, ...]) -> _Sent:
        now = time.monotonic()
        self._forget_lost(now)
        request = self._request(pending)
        worker = self._router.choose(request, workers, now)
        sent = _Sent(request.id, worker.name, now, pending)
        self._sent.setdefault(pending.metadata.internal_request_id, []).append(sent)
        self._open[sent.number] = sent
        return sent

    def _request(self, pending: PendingRequest) -> Request:
        """Return what the router is told; a call that cannot be read is routed by load."""
        number, metadata = next(self._numbers), pending.metadata
        make: Callable[..., Request] = partial(
            request_of,
            number,
            paging=self._paging,
            model=metadata.multiplexed_model_id,
            session=metadata.session_id or None,
            kind=metadata.call_method,
        )
        try:
            return make([*pending.args, *pending.kwargs.values()])
        except Exception:
            # Were this raised, Ray would log it and leave the request without a replica for ever.
            logger.warning("A call's prompt could not be read; routed by load.", exc_info=True)
            return make([])

    def _assigned(self, future: "asyncio.Future[RunningReplica]") -> None:
        """Note who has got a request, or that its caller has gone."""
        sent = self._choosing.pop(future, None)
        if sent is None:
            return
        if future.cancelled():
            # No fault of the replica's.
            self._settle(sent)
            return
        sent.replica = future.result().replica_id.unique_id
        if sent.replica != sent.worker:
            self._tell(sent, Phase.FAILED)

    def _fail_where_it_was(self, pending: PendingRequest) -> None:
        """Let a request that comes back fail where it was refused, or died."""
        for sent in self._sent.get(pending.metadata.internal_request_id, ()):
            if sent.pending is pending:
                sent.is_failure = True
                self._tell(sent, Phase.FAILED)

    def _latest(self, pending: PendingRequest) -> _Sent | None:
        alike = self._sent.get(pending.metadata.internal_request_id, [])
        return next((each for each in reversed(alike) if each.pending is pending), None)

    def _seen(self, sent: _Sent, at: float, item: Any) -> None:
        """Take the first item of an answer."""
        sent.is_seen = True
        if isinstance(item, BaseException):
            sent.is_failure = not isinstance(item, TaskCancelledError)
        elif sent.pending.metadata.is_streaming:
            self._tell(sent, Phase.FIRST_TOKEN, at)
        else:
            sent.n_output = answer_tokens(item)
        if sent.over is not None:
            self._settle(sent)

    def _settle(self, sent: _Sent) -> None:
        """Tell the router of an end, and forget the request."""
        if self._open.pop(sent.number, None) is None:
            return
        self._tell(sent, Phase.FAILED if sent.is_failure else Phase.FINISHED, sent.over)
        request_id = sent.pending.metadata.internal_request_id
        self._sent[request_id].remove(sent)
        if not self._sent[request_id]:
            del self._sent[request_id]

    def _tell(self, sent: _Sent, phase: Phase, at: float | None = None) -> None:
        now = time.monotonic()
        latency = max(0.0, (now if at is None else at) - sent.at)
        outcome = Outcome(sent.number, sent.worker, phase, latency, n_output=sent.n_output)
        self._router.observe(outcome, now)

    def _forget_lost(self, now: float) -> None:
        """Let go of what Ray never tells the end of."""
        while self._open and now - (oldest := next(iter(self._open.values()))).at > LOST:
            oldest.is_failure = True
            self._settle(oldest)


def _first_item(result: Any) -> Any:
    """Return a reference to the first item that a replica answers; ``None`` where there is none.

    Ray has no public way to look without consuming. What it uses itself for plain answers is used
    here for streams, too; over gRPC there are no references.
    """
    try:
        reference = getattr(result, "_obj_ref", None)
        generator = getattr(result, "_obj_ref_gen", None)
        if reference is None and generator is not None:
            (reference,) = generator._get_next_ref_n(1)
        return reference
    except Exception:
        # Another version of Ray; the request itself is fine.
        logger.warning("A reply cannot be watched: nothing is learned from it.", exc_info=True)
        return None


def _post(
    loop: asyncio.AbstractEventLoop,
    take: Callable[[_Sent, float, Any], None],
    sent: _Sent,
    item: Any,
) -> None:
    """Hand an item from the thread in which it arrived over to the router's own."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(take, sent, time.monotonic(), item)
