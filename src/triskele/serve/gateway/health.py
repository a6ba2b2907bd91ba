"""Whether a worker may be sent requests: a state machine that is told what happened to it.

::

    starting ── good check ──────────────▶ ready ◀── good check ──┬─────────┐
                                             │                    │         │
                     bad check, or requests  ├──▶ suspect ────────┘         │
                     that go wrong           │       │ bad check, refused   │
                                             └───────┴──────▶ down ─────────┘
                     connection refused

It hears of checks, which somebody runs when :meth:`Health.next_check` says, and of requests. A
worker that is not ready is checked after 0.25 s, then after twice as long each time; but in the
first minute of its trouble never more than 1 s apart, so that one that returns is used again within
two seconds, and after that up to 30 s, or 5 s while it has never been ready. It is checked for as
long as it is listed: no worker is lost for good.

A worker that returns is on trial: one request goes to it, and only when that has gone well, or the
next check has, do others follow. If the trial fails the waits go on from where they were; they
begin anew once a worker has been ready for a while. So one that passes its checks but answers
every request with an error takes fewer and fewer requests. One that is only suspected may be asked
when there is nobody else, and returns at once with an answer: a request that breaks every worker it
is tried on must not take the whole fleet away.

Nothing here reads a clock or speaks to a worker.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import inf
from random import Random


class State(Enum):
    """What is known of a worker."""

    STARTING = "starting"
    READY = "ready"
    SUSPECT = "suspect"
    DOWN = "down"
    DRAINING = "draining"


class Fault(Enum):
    """How a request went wrong at a worker; not what the client did wrong."""

    REFUSED = "connection refused"
    RESET = "connection reset"
    TIMEOUT = "timed out"
    STATUS = "answered with an error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a worker is suspected, and how often it is checked. Times in seconds.

    Attributes
    ----------
    n_consecutive
        Faults in a row that make a worker suspect.
    n_recent, share
        Of so many last requests, this share of faults makes a worker suspect too; looked at from
        half as many on.
    check_seconds
        Between two checks of a worker that is ready or draining.
    first_seconds
        Until the first check of one that is not.
    eager_seconds, eager_wait
        In this time after its trouble began, the waits between checks are at most so long.
    longest_wait
        The most that they are ever.
    steady_seconds
        A worker that was ready for so long has no past.
    """

    n_consecutive: int = 3
    n_recent: int = 20
    share: float = 0.5
    check_seconds: float = 5.0
    first_seconds: float = 0.25
    eager_seconds: float = 60.0
    eager_wait: float = 1.0
    longest_wait: float = 30.0
    steady_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what would never suspect, or never wait."""
        if self.n_consecutive < 1 or self.n_recent < 2 or not 0 < self.share <= 1:
            raise ValueError(f"expected counts of faults that can be reached, got {self}")
        waits = (self.first_seconds, self.eager_wait, self.longest_wait)
        if not (0 < waits[0] <= waits[1] <= waits[2] < inf and self.check_seconds > 0):
            raise ValueError(f"expected waits above 0 that grow, got {self}")


class Health:
    """What is known of one worker.

    Parameters
    ----------
    rng
        Draws up to a fifth off every wait, so that many workers are not checked at once.
    now
        Any clock that does not run backwards.
    patience
        When it is suspected.

    Attributes
    ----------
    state
        ``STARTING`` first.
    since
        When it came into this state.
    error
        What last went wrong; ``None`` while ready.
    """

    def __init__(self, *, rng: Random, now: float, patience: Patience | None = None) -> None:
        self.state = State.STARTING
        self.since = now
        self.error: str | None = None
        self._rng = rng
        self._patience = patience or Patience()
        self._next_check = now
        self._n_waits = 0
        self._trouble = now
        # Counts the states: what was sent in another one says nothing of this one.
        self._epoch = 0
        self._is_on_trial = False
        self._is_tried = False
        self._n_faults = 0
        self._recent: deque[bool] = deque(maxlen=self._patience.n_recent)

    @property
    def is_routable(self) -> bool:
        """Whether the next request may go there."""
        return self.state is State.READY and not self._is_tried

    @property
    def is_on_trial(self) -> bool:
        """Whether it has returned and not shown yet that it serves."""
        return self._is_on_trial

    def next_check(self, now: float) -> float:
        """Return when to check it next, not before ``now``."""
        return max(now, self._next_check)

    def checked(self, is_good: bool, now: float, *, error: str | None = None) -> None:
        """Hear the result of a check, which the caller has bounded in time."""
        if self.state is State.DRAINING:
            self.error = None if is_good else error or "a check failed"
            self._next_check = now + self._jittered(self._patience.check_seconds)
        elif is_good:
            self._check_went_well(now)
        else:
            self.error = error or "a check failed"
            if self.state is State.READY:
                self._leave(State.SUSPECT, now)
            elif self.state is State.SUSPECT:
                self._enter(State.DOWN, now)
            self._wait(now)

    def sent(self) -> int:
        """Note a request on its way there; return the ticket to tell its end with."""
        if self._is_on_trial:
            self._is_tried = True
        return self._epoch

    def succeeded(self, ticket: int, now: float) -> None:
        """Hear that a request was answered, to its last byte."""
        if ticket != self._epoch:
            return
        if self.state is State.READY:
            self._n_faults = 0
            self._recent.append(False)
            self._end_trial()
        elif self.state is State.SUSPECT:
            self._return(now)
            self._end_trial()

    def failed(self, ticket: int, fault: Fault, now: float, *, error: str | None = None) -> None:
        """Hear that a request went wrong there."""
        if ticket != self._epoch or self.state in (State.STARTING, State.DOWN, State.DRAINING):
            return
        message = error or fault.value
        if fault is Fault.REFUSED:
            self._fall(State.DOWN, message, now)
        elif self.state is State.READY:
            self._n_faults += 1
            self._recent.append(True)
            if self._is_on_trial or self._is_too_much():
                self._fall(State.SUSPECT, message, now)

    def released(self, ticket: int) -> None:
        """Hear that a request ended in a way that says nothing of the worker."""
        if ticket == self._epoch:
            self._is_tried = False

    def drain(self, now: float) -> None:
        """Send it nothing more until :meth:`resume`."""
        if self.state is not State.DRAINING:
            self._enter(State.DRAINING, now)

    def resume(self, now: float) -> None:
        """Take it up again after draining, from a check that is due at once."""
        if self.state is State.DRAINING:
            self._enter(State.STARTING, now)
            self._trouble, self._n_waits, self._next_check = now, 0, now

    def check(self) -> None:
        """Assert what must always hold; for tests."""
        assert self.state is State.READY or not self._is_on_trial
        assert self._is_on_trial or not self._is_tried
        assert self._n_faults < self._patience.n_consecutive or self.state is not State.READY
        assert self._next_check < inf

    def _check_went_well(self, now: float) -> None:
        if self.state is State.READY:
            self._end_trial()
            self._next_check = now + self._jittered(self._patience.check_seconds)
            return
        self._return(now)

    def _return(self, now: float) -> None:
        """Enter ``READY``."""
        is_new = self.state is State.STARTING
        self._enter(State.READY, now)
        self.error = None
        if is_new:
            self._n_waits = 0
        self._is_on_trial = not is_new
        # A trial that nobody comes to is ended by the next check, so that is soon.
        seconds = self._patience.check_seconds if is_new else self._patience.eager_wait
        self._next_check = now + self._jittered(seconds)

    def _is_too_much(self) -> bool:
        patience, n = self._patience, len(self._recent)
        is_often = n >= patience.n_recent // 2 and sum(self._recent) >= patience.share * n
        return is_often or self._n_faults >= patience.n_consecutive

    def _fall(self, state: State, error: str, now: float) -> None:
        """Stop using it; it is checked after the first wait of its trouble."""
        self.error = error
        if self.state is State.READY:
            self._leave(state, now)
            self._wait(now)
        else:
            # Already being checked; a request tried there as a last resort is no check.
            self._enter(state, now)

    def _leave(self, state: State, now: float) -> None:
        """Leave ``READY``."""
        if now - self.since >= self._patience.steady_seconds or self._n_waits == 0:
            self._n_waits, self._trouble = 0, now
        self._enter(state, now)

    def _wait(self, now: float) -> None:
        patience = self._patience
        # Capped before it overflows: the worker may be away for years.
        seconds = patience.first_seconds * 2.0 ** min(self._n_waits, 64)
        is_eager = now - self._trouble < patience.eager_seconds
        longest = patience.longest_wait
        if self.state is State.STARTING:
            # It may load for minutes, and somebody waits for it.
            longest = min(longest, patience.check_seconds)
        seconds = min(seconds, patience.eager_wait if is_eager else longest)
        self._n_waits += 1
        self._next_check = now + self._jittered(seconds)

    def _enter(self, state: State, now: float) -> None:
        self.state, self.since = state, now
        self._epoch += 1
        self._n_faults = 0
        self._recent.clear()
        self._end_trial()

    def _end_trial(self) -> None:
        self._is_on_trial = self._is_tried = False

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(0.8, 1.0)
