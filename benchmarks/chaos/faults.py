"""The script of a run: what goes wrong, with whom, from when to when. Nothing here does it."""

import random
from dataclasses import dataclass

# What a mock worker can be told to do, and what can be done to any process.
TOLD = ("slow", "error", "sick", "reset", "half")
DONE = ("kill", "hang")
# A worker that does one of these breaks answers off after the first byte.
BREAKING = ("kill", "half", "reset")
TERMINATE, MURDER = "terminate", "murder"
GATEWAY = -1


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    ``at`` and ``seconds`` count from the beginning of the run; ``worker`` is a number, or
    ``GATEWAY``.
    """

    at: float
    kind: str
    worker: int
    seconds: float


@dataclass(slots=True)
class Mark:
    """A fault that was brought about, with the times by ``time.monotonic``."""

    kind: str
    worker: str
    began: float
    ended: float = float("inf")


def script(
    seconds: float, n_workers: int, rng: random.Random, *, kinds: tuple[str, ...], pause: float
) -> list[Fault]:
    """Return the faults of a run, in order of time.

    One follows the other after ``pause`` seconds on average, every kind in turn at a worker that is
    well; at most two workers are in trouble at once, and the last tenth is quiet. The gateway is
    terminated and killed in the first half, so that one life is long.
    """
    faults: list[Fault] = []
    busy = [0.0] * n_workers
    # The first seconds are quiet, too.
    at = min(5.0, 0.1 * seconds)
    turn: list[str] = []
    while True:
        kind = turn.pop() if turn else (turn := rng.sample(kinds, len(kinds))).pop()
        longest = min(20.0 if kind == "hang" else 10.0, 0.12 * seconds)
        lasting = rng.uniform(0.5, 1.0) * longest
        if at + lasting > 0.85 * seconds:
            break
        free = [n for n in range(n_workers) if busy[n] <= at]
        if len(free) > n_workers - 2:
            worker = rng.choice(free)
            busy[worker] = at + lasting + 3.0
            faults.append(Fault(at, kind, worker, lasting))
        else:
            turn.append(kind)
        at += rng.uniform(0.5, 1.5) * pause
    n_lives = max(1, round(seconds / 300))
    for number in range(n_lives):
        slot = 0.45 * seconds / n_lives
        begin = 0.05 * seconds + number * slot
        faults.append(Fault(begin + 0.3 * slot, TERMINATE, GATEWAY, 0.0))
        faults.append(Fault(begin + 0.8 * slot, MURDER, GATEWAY, 0.0))
    return sorted(faults, key=lambda fault: fault.at)
