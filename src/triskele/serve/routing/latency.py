"""How long a request will take on each worker, learned online.

Two linear models over the features of ``queues``: seconds to the first token, and seconds per token
after it. The prompt's own part of the first, x, is told apart from what is before it, u, because it
is x that depends on the worker's cache and x that makes others wait.
"""

from dataclasses import dataclass
from math import hypot, inf
from typing import Any, NamedTuple

import numpy as np

from triskele.serve.routing.accuracy import ErrorReport, Errors
from triskele.serve.routing.queues import (
    ATTENDED,
    CONTEXT,
    PER_CONTEXT,
    QUEUED,
    RUNNING,
    Queues,
    Ticket,
)
from triskele.serve.routing.regression import FleetRegression, Floats
from triskele.serve.routing.router import Outcome

# Priors of the features' coefficients, in seconds: a worker of today prefills a thousand tokens in
# a tenth of a second, and gives a token of an answer in twenty milliseconds.
TTFT_PRIOR = (0.02, 0.1, 0.0, -0.5, 0.001, 0.0), (0.25, 0.5, 0.05, 2.5, 0.01, 0.1)
PACE_PRIOR = (0.02, 0.0, 0.0, 0.0, 0.0001, 0.005), (0.1, 0.025, 1e-4, 1e-4, 0.0025, 0.05)

# Seconds that a thousand new tokens take at least, a hundredth of the prior: affinity never ends.
LEAST_WORK = 1e-3
LEAST_PACE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Diligence:
    """How much of its time a router may put into learning, where there are thousands a second.

    Attributes
    ----------
    lessons
        Most first tokens, and most answers, of one worker that are learned from in a second.
    refresh
        Seconds for which what was learned is taken to stay the same.
    """

    lessons: float = inf
    refresh: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a router that never learns."""
        if not self.lessons > 0 or not 0 <= self.refresh < inf:
            raise ValueError(f"expected lessons above 0 and seconds of at least 0, got {self}")


class Expectation(NamedTuple):
    """What a request is expected to take on each worker, (n_slots,), in seconds.

    Attributes
    ----------
    before, own
        Until its prefill begins, and its prefill.
    pace
        Per token of the answer after the first.
    """

    before: Floats
    own: Floats
    pace: Floats


class LatencyModel:
    """Predicts every worker, and learns from first tokens and answers.

    Parameters
    ----------
    diligence
        How much may be learned; everything if not given.
    """

    def __init__(self, diligence: Diligence | None = None) -> None:
        diligence = diligence or Diligence()
        self._between = 1 / diligence.lessons
        self._next_first_token: list[float] = []
        self._next_answer: list[float] = []
        self.ttft = FleetRegression(*TTFT_PRIOR, refresh=diligence.refresh)
        self.pace = FleetRegression(*PACE_PRIOR, refresh=diligence.refresh)
        self._ttft_errors, self._latency_errors = Errors(), Errors()

    def grow(self, n_slots: int) -> None:
        """Make room for workers up to ``n_slots``."""
        n_new = n_slots - self.ttft.own.shape[1]
        if n_new > 0:
            self._next_first_token += [-inf] * n_new
            self._next_answer += [-inf] * n_new
            self.ttft.grow(n_slots)
            self.pace.grow(n_slots)

    def forget(self, slot: int) -> None:
        """Forget how a worker differs from the fleet."""
        self.ttft.forget(slot)
        self.pace.forget(slot)

    def expect(
        self, queues: Queues, new: Floats, attended: Floats, *, n_prompt: int, now: float
    ) -> Expectation:
        """Return what a prompt is expected to take.

        Parameters
        ----------
        queues
            Their features are brought up to ``now``.
        new, attended
            Its work on each worker, as ``new_work`` returns it.
        """
        by_ttft, by_pace = self.ttft.coefficients(now), self.pace.coefficients(now)
        queues.elapse(now, by_ttft)
        own = by_ttft[QUEUED] * new + by_ttft[ATTENDED] * attended
        pace = np.einsum("fw,fw->w", by_pace, queues.features)
        pace += by_pace[RUNNING] + PER_CONTEXT * n_prompt * by_pace[CONTEXT]
        return Expectation(
            before=np.maximum(np.einsum("fw,fw->w", by_ttft, queues.features), 0.0),
            own=np.maximum(own, LEAST_WORK * new),
            pace=np.maximum(pace, LEAST_PACE),
        )

    def learn_first_token(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        """Learn how long a first token took."""
        self._ttft_errors.add(ticket.ttft, outcome.latency)
        if now < self._next_first_token[ticket.slot]:
            return
        self._next_first_token[ticket.slot] = now + self._between
        x, scale = ticket.ttft_features(outcome.n_cached), ticket.ttft_scale
        self.ttft.update(ticket.slot, x, outcome.latency, scale=scale, now=now)

    def learn_answer(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        """Learn how long an answer took, if it is known how many tokens it had."""
        self._latency_errors.add(ticket.latency, outcome.latency)
        if outcome.n_output is None or now < self._next_answer[ticket.slot]:
            return
        self._next_answer[ticket.slot] = now + self._between
        n_after = max(outcome.n_output - 1, 0)
        slot, of_pace = ticket.slot, ticket.pace_features()
        if ticket.first_token is not None:
            answer, scale = max(outcome.latency - ticket.first_token, 0.0), ticket.pace_scale
        else:
            # Nobody saw the first token: the answer came as a whole. Each part is what the other's
            # prediction leaves, and as uncertain as that is: a Kalman filter of their sum.
            of_ttft = ticket.ttft_features(outcome.n_cached)
            ttft, ttft_spread = self.ttft.predict(slot, of_ttft, now)
            pace, pace_spread = self.pace.predict(slot, of_pace, now)
            noise = hypot(ticket.ttft_scale, n_after * ticket.pace_scale)
            left = outcome.latency - n_after * pace
            spread = hypot(noise, n_after * pace_spread)
            self.ttft.update(slot, of_ttft, left, scale=spread, now=now)
            answer = outcome.latency - ttft
            scale = hypot(noise, ttft_spread) / max(n_after, 1)
        if n_after:
            self.pace.update(slot, of_pace, answer / n_after, scale=scale, now=now)

    def errors(self) -> dict[str, ErrorReport | None]:
        """Return how good the last predictions were, of ``ttft`` and ``latency``."""
        return {"ttft": self._ttft_errors.report(), "latency": self._latency_errors.report()}

    def state(self) -> dict[str, Any]:
        """Return what has been learned, as plain lists."""
        return {"ttft": self.ttft.state(), "pace": self.pace.state()}

    def restore(self, state: dict[str, Any], now: float) -> None:
        """Take up what :meth:`state` returned."""
        self.ttft.restore(state["ttft"], now)
        n_slots = self.ttft.own.shape[1]
        self._next_first_token, self._next_answer = [-inf] * n_slots, [-inf] * n_slots
        self.pace.restore(state["pace"], now)

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        self.ttft.check()
        self.pace.check()
