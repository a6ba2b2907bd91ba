"""What every worker has before it, from reservations and completions: the features of a prediction.

A request is queued from the moment it is sent until its first token, and running until its end.
Nothing decays: what is queued leaves by being served or by failing. Between two first tokens the
head of a queue is being worked on; for how long is a feature of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triskele.serve.routing.regression import Floats

# Rows of the features, and the units that bring them near one.
CONSTANT, QUEUED, ATTENDED, ELAPSED, RUNNING, CONTEXT = range(6)
N_FEATURES = 6
PER_TOKEN, PER_PAIR, PER_CONTEXT = 1e-3, 1e-6, 1e-5


@dataclass(slots=True)
class Ticket:
    """A request in flight, and what was thought of it when it was sent.

    Attributes
    ----------
    new, attended
        Tokens to compute and pairs of tokens to attend, in the features' units.
    features
        Of its worker when it was sent, (N_FEATURES,), itself left out.
    ttft, pace, latency
        What was predicted: seconds to the first token, per token after it, and in all.
    promised
        What its worker's cache is said to hold because of it, until its first token.
    first_token
        Seconds it took, once it is there.
    """

    slot: int
    n_prompt: int
    new: float
    attended: float
    features: Floats
    ttft: float
    pace: float
    latency: float
    kind: str
    promised: Sequence[int]
    first_token: float | None = None

    @property
    def ttft_scale(self) -> float:
        """Error to be expected of the time to the first token."""
        return 0.02 + 0.3 * self.ttft

    @property
    def pace_scale(self) -> float:
        """Error to be expected of the time per token after it."""
        return 0.01 + 0.3 * self.pace

    def ttft_features(self, n_cached: int | None) -> Floats:
        """Return what its first token depends on, by the cached tokens that its worker names."""
        x = self.features.copy()
        new, attended = self.new, self.attended
        if n_cached is not None:
            exact = new_work(np.array([float(n_cached)]), 1, self.n_prompt)
            new, attended = float(exact[0][0]), float(exact[1][0])
        x[QUEUED] += new
        x[ATTENDED] += attended
        return x

    def pace_features(self) -> Floats:
        """Return what its pace depends on."""
        x = self.features.copy()
        x[RUNNING] += 1
        x[CONTEXT] += PER_CONTEXT * self.n_prompt
        return x


class Queues:
    """Features of every worker.

    Attributes
    ----------
    features
        (N_FEATURES, n_slots): one, thousands of tokens queued, millions of token pairs to attend
        of those, seconds since the head of the queue was begun, answers running, and hundreds of
        thousands of tokens of their context.
    waiting
        Requests queued, (n_slots,).
    """

    def __init__(self) -> None:
        self.features: Floats = np.zeros((N_FEATURES, 0))
        self.waiting: Floats = np.zeros(0)
        self._since: Floats = np.zeros(0)
        self._tickets: dict[int, Ticket] = {}

    def __len__(self) -> int:
        """Return how many requests are in flight."""
        return len(self._tickets)

    def grow(self, n_slots: int) -> None:
        """Make room for workers up to ``n_slots``."""
        n_new = n_slots - len(self.waiting)
        new = np.zeros((N_FEATURES, n_new))
        new[CONSTANT] = 1.0
        self.features = np.concatenate([self.features, new], axis=1)
        self.waiting = np.concatenate([self.waiting, np.zeros(n_new)])
        self._since = np.concatenate([self._since, np.zeros(n_new)])

    def elapse(self, now: float, coefficients: Floats) -> None:
        """Bring the seconds since the heads were begun up to date; no more than the queue takes."""
        queue = coefficients[QUEUED] * self.features[QUEUED]
        queue += coefficients[ATTENDED] * self.features[ATTENDED]
        elapsed = (now - self._since) * (self.waiting > 0)
        np.maximum(np.minimum(elapsed, queue), 0.0, out=self.features[ELAPSED])

    def send(self, request_id: int, ticket: Ticket, now: float) -> None:
        """Queue a request."""
        if request_id in self._tickets:
            raise ValueError(f"expected a request not in flight, got id {request_id} again")
        slot, features = ticket.slot, self.features
        if self.waiting[slot] == 0:
            self._since[slot] = now
        self.waiting[slot] += 1
        features[QUEUED, slot] += ticket.new
        features[ATTENDED, slot] += ticket.attended
        self._tickets[request_id] = ticket

    def ticket(self, request_id: int) -> Ticket | None:
        """Return the ticket of a request in flight."""
        return self._tickets.get(request_id)

    def first_token(self, ticket: Ticket, latency: float, now: float) -> None:
        """Let a queued request run."""
        self._leave(ticket, now)
        ticket.first_token = latency
        self.features[RUNNING, ticket.slot] += 1
        self.features[CONTEXT, ticket.slot] += PER_CONTEXT * ticket.n_prompt

    def end(self, request_id: int, now: float) -> None:
        """Let a request go, wherever it was."""
        ticket = self._tickets.pop(request_id)
        if ticket.first_token is None:
            self._leave(ticket, now)
            return
        self.features[RUNNING, ticket.slot] -= 1
        self.features[CONTEXT, ticket.slot] -= PER_CONTEXT * ticket.n_prompt
        if self.features[RUNNING, ticket.slot] == 0:
            self.features[CONTEXT, ticket.slot] = 0.0

    def drop(self, slot: int) -> None:
        """Let everything go that a worker had."""
        lost = [number for number, ticket in self._tickets.items() if ticket.slot == slot]
        for number in lost:
            self.end(number, 0.0)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        queued = np.zeros((3, len(self.waiting)))
        running = np.zeros((2, len(self.waiting)))
        for ticket in self._tickets.values():
            if ticket.first_token is None:
                queued[:, ticket.slot] += 1, ticket.new, ticket.attended
            else:
                running[:, ticket.slot] += 1, PER_CONTEXT * ticket.n_prompt
        assert np.allclose(queued, [self.waiting, *self.features[[QUEUED, ATTENDED]]], atol=1e-6)
        assert np.allclose(running, self.features[[RUNNING, CONTEXT]], atol=1e-6)

    def _leave(self, ticket: Ticket, now: float) -> None:
        slot, features = ticket.slot, self.features
        self.waiting[slot] -= 1
        self._since[slot] = now
        features[QUEUED, slot] -= ticket.new
        features[ATTENDED, slot] -= ticket.attended
        if self.waiting[slot] == 0:
            # What rounding left.
            features[QUEUED, slot] = features[ATTENDED, slot] = 0.0


def new_work(held: NDArray[np.float64], page_size: int, n_prompt: int) -> tuple[Floats, Floats]:
    """Return tokens to compute and pairs to attend of a prompt, (n_slots,), in features' units.

    ``held`` are the prompt's pages that each worker has; the last token is always computed.
    """
    new = np.maximum(n_prompt - page_size * held, 1.0)
    return PER_TOKEN * new, PER_PAIR * new * (n_prompt - 0.5 * new)
