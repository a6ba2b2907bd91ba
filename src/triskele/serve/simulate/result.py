"""What a simulation leaves: one row per request, and the figures that people compare.

Times are seconds. A request without an answer has no latency: it counts in ``n_unanswered`` and
against goodput, never in a percentile.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from triskele.serve.simulate.answers import Run
from triskele.serve.simulate.workload import Job

NAN = float("nan")
COLUMNS = (
    "id",
    "status",
    "worker",
    "arrived",
    "admitted",
    "first_token",
    "finished",
    "n_prompt",
    "n_cached",
    "n_output",
    "n_answered",
    "n_preempted",
    "n_recomputed",
    "predicted_ttft",
    "predicted_latency",
)


class Status(Enum):
    """How a request ended.

    Answered; larger than any worker could hold; failed with its workers, or without any; or never
    asked, because the turn of the conversation before it had no answer.
    """

    FINISHED = 0
    REJECTED = 1
    FAILED = 2
    ABANDONED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one run; times in seconds, rates per second.

    ``hit_rate`` is the share of prompt tokens found in a cache. ``goodput`` counts only requests
    that kept the objective on their time to first token.
    """

    n_requests: int
    n_unanswered: int
    ttft_p50: float
    ttft_p95: float
    ttft_mean: float
    latency_p50: float
    latency_p95: float
    latency_mean: float
    hit_rate: float
    throughput: float
    goodput: float
    n_preempted: int
    imbalance: float


@dataclass(frozen=True, slots=True)
class Result:
    """All requests of a run, by column.

    Attributes
    ----------
    columns
        An array (n_requests,) per name in ``COLUMNS``, in order of arrival.
    workers
        Names of the workers that the column ``worker`` counts; −1 is nobody.
    page_size
        Tokens per page.
    """

    columns: dict[str, NDArray[np.float64]]
    workers: Sequence[str]
    page_size: int

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a column."""
        return self.columns[name]

    @property
    def is_finished(self) -> NDArray[np.bool_]:
        """Which requests were answered."""
        return np.asarray(self["status"] == Status.FINISHED.value)

    @property
    def ttft(self) -> NDArray[np.float64]:
        """Seconds from arrival to the first token, of the answered requests."""
        return (self["first_token"] - self["arrived"])[self.is_finished]

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds from arrival to the last token, of the answered requests."""
        return (self["finished"] - self["arrived"])[self.is_finished]

    def summary(self, *, slo: float = 2.0) -> Summary:
        """Return the figures of the run.

        Parameters
        ----------
        slo
            Objective on the time to first token, in seconds.
        """
        done = self.is_finished
        n_prompt = self["n_prompt"][done]
        span = float(self["finished"][done].max() - self["arrived"].min()) if done.any() else 0.0
        busy = np.bincount(
            self["worker"][done].astype(np.intp),
            weights=n_prompt - self["n_cached"][done],
            minlength=len(self.workers),
        )
        ttft, latency = self.ttft, self.latency
        return Summary(
            n_requests=len(done),
            n_unanswered=int((~done).sum()),
            ttft_p50=_quantile(ttft, 0.5),
            ttft_p95=_quantile(ttft, 0.95),
            ttft_mean=float(ttft.mean()) if done.any() else float("nan"),
            latency_p50=_quantile(latency, 0.5),
            latency_p95=_quantile(latency, 0.95),
            latency_mean=float(latency.mean()) if done.any() else float("nan"),
            hit_rate=float(self["n_cached"][done].sum() / max(1.0, n_prompt.sum())),
            throughput=float(done.sum() / span) if span else 0.0,
            goodput=float((ttft <= slo).sum() / span) if span else 0.0,
            n_preempted=int(self["n_preempted"].sum()),
            imbalance=float(busy.max() / busy.mean()) if busy.sum() else 1.0,
        )


class Rows:
    """The rows of a result, written as requests end, in any order."""

    def __init__(self) -> None:
        self._values = array("d")

    def __len__(self) -> int:
        """Return how many requests have ended."""
        return len(self._values) // len(COLUMNS)

    def add(
        self,
        job: Job,
        status: Status,
        *,
        worker: int = -1,
        run: Run | None = None,
        predicted: tuple[float, float] | None = None,
    ) -> None:
        """Write what became of a job on the last worker that had it, and what was predicted."""
        ttft, latency = predicted or (NAN, NAN)
        self._values.extend(
            (
                job.id,
                status.value,
                worker,
                job.at,
                NAN if run is None or run.admitted is None else run.admitted,
                NAN if run is None or run.first_token is None else run.first_token,
                NAN if run is None or run.finished is None else run.finished,
                job.n_prompt,
                0 if run is None else run.n_cached,
                job.n_output,
                0 if run is None else run.n_answered,
                0 if run is None else run.n_preempted,
                0 if run is None else run.n_recomputed,
                ttft,
                latency,
            )
        )

    def result(self, *, workers: Sequence[str], page_size: int) -> Result:
        """Return the result of all requests that have ended."""
        rows = np.array(self._values).reshape(-1, len(COLUMNS))
        rows = rows[np.lexsort((rows[:, 0], rows[:, COLUMNS.index("arrived")]))]
        columns = {name: rows[:, i].copy() for i, name in enumerate(COLUMNS)}
        return Result(columns, workers, page_size)


def _quantile(values: NDArray[np.float64], q: float) -> float:
    return float(np.quantile(values, q)) if len(values) else float("nan")
