"""What the gateway has served: totals, histograms, and the last minutes second by second.

Fed with journeys at their end; percentiles are taken only when somebody looks, or once a second.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from triskele.serve.gateway.journey import Journey

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0)
WINDOW_SECONDS = 60.0
N_POINTS = 120
N_SCATTERED = 400
# The most that percentiles are taken of: of the last minute, and of each second. It happens while
# requests wait, and more would tell no more.
N_RECENT = 4_000
N_PER_SECOND = 400
RATE_SECONDS = 10
# Points are of so many of the last seconds, so that little traffic still makes a line.
N_SMOOTHED = 5


class Histogram:
    """Counts of values by upper bounds, and their sum.

    Attributes
    ----------
    counts
        Per bound, and last those above all bounds; not cumulated.
    total
        Sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class Sample:
    """One good answer. Times in seconds; ``at`` by the loop's clock."""

    at: float
    worker: str
    ttft: float | None
    latency: float
    predicted: float | None
    n_prompt: int | None
    n_cached: int | None


@dataclass(frozen=True, slots=True)
class Point:
    """One second: its rate; of it and those just before, percentiles and share of cached tokens."""

    time: float
    rate: float
    ttft_p50: float | None
    ttft_p95: float | None
    latency_p50: float | None
    latency_p95: float | None
    hit_rate: float | None


class Statistics:
    """Of all requests since the start, and closely of the last.

    Attributes
    ----------
    ended
        Requests by (endpoint, status class, outcome).
    n_retries
        Workers that were tried after the first.
    ttft, latency
        Histograms of good answers.
    series
        The last seconds, the newest last.
    """

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str, str]] = Counter()
        self.n_retries = 0
        self.ttft = Histogram()
        self.latency = Histogram()
        self.series: deque[Point] = deque(maxlen=N_POINTS)
        self._recent: deque[Sample] = deque(maxlen=N_RECENT)
        self._scattered: deque[Sample] = deque(maxlen=N_SCATTERED)
        self._second: list[Sample] = []
        self._seconds: deque[list[Sample]] = deque(maxlen=N_SMOOTHED)
        self._n_ended = 0
        self._n_before = 0

    def add(self, journey: Journey, now: float) -> None:
        """Count a request that has ended."""
        self._n_ended += 1
        status = journey.reply.status
        label = "none" if status is None else f"{status // 100}xx"
        self.ended[journey.endpoint, label, journey.outcome] += 1
        self.n_retries += journey.n_retries
        if journey.outcome != "finished" or journey.worker is None:
            return
        first, usage = journey.first_event, journey.usage
        ttft = None if first is None else first - journey.accepted
        latency = now - journey.accepted
        predicted = None if journey.predicted is None else journey.predicted[0]
        sample = Sample(
            now, journey.worker, ttft, latency, predicted, usage.n_prompt, usage.n_cached
        )
        self.latency.add(latency)
        if ttft is not None:
            self.ttft.add(ttft)
            if predicted is not None:
                self._scattered.append(sample)
        self._recent.append(sample)
        self._second.append(sample)

    def tick(self, wall: float, seconds: float) -> None:
        """Close a second, or however long it has been."""
        self._seconds.append(self._second[:: -(-len(self._second) // N_PER_SECOND) or 1])
        self._second = []
        samples = [sample for second in self._seconds for sample in second]
        n_new = self._n_ended - self._n_before
        self._n_before = self._n_ended
        ttft = percentiles([s.ttft for s in samples if s.ttft is not None])
        latency = percentiles([s.latency for s in samples])
        self.series.append(
            Point(
                wall,
                n_new / max(seconds, 1e-3),
                ttft["p50"],
                ttft["p95"],
                latency["p50"],
                latency["p95"],
                hit_rate(samples),
            )
        )

    def recent(self, now: float) -> list[Sample]:
        """Return the good answers of the last minute, or the last of them, the newest first."""
        since = now - WINDOW_SECONDS
        return list(takewhile(lambda sample: sample.at >= since, reversed(self._recent)))

    @property
    def rate(self) -> float:
        """Requests per second, over the last ten."""
        points = list(self.series)[-RATE_SECONDS:]
        return sum(point.rate for point in points) / len(points) if points else 0.0

    @property
    def scattered(self) -> list[Sample]:
        """The last streams of which the first token was predicted."""
        return list(self._scattered)

    def n_ended(self, outcome: str | None = None) -> int:
        """Return how many requests have ended, in all or in one way."""
        if outcome is None:
            return self._n_ended
        return sum(n for (_, _, each), n in self.ended.items() if each == outcome)


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return the 50th, 95th and 99th percentile; ``None`` of no values."""
    if not values:
        return {"p50": None, "p95": None, "p99": None}
    p50, p95, p99 = np.percentile(np.array(values), [50, 95, 99]).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def hit_rate(samples: Sequence[Sample]) -> float | None:
    """Return the share of the prompts' tokens that were cached; ``None`` if nobody said."""
    told = [
        (s.n_prompt, s.n_cached)
        for s in samples
        if s.n_prompt is not None and s.n_cached is not None
    ]
    n_prompt = sum(prompt for prompt, _ in told)
    return sum(cached for _, cached in told) / n_prompt if n_prompt else None
