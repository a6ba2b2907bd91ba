"""What the dashboard and the admin API show: the fleet and its figures as plain values."""

from triskele.serve.gateway.admission import Admission
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.member import Member
from triskele.serve.gateway.statistics import Sample, Statistics, percentiles


class Overview:
    """Describes a fleet.

    Parameters
    ----------
    fleet, admission, statistics
        What is described.
    page_size
        Tokens per page of the routers' keys.
    """

    def __init__(
        self, fleet: Fleet, admission: Admission, statistics: Statistics, *, page_size: int
    ) -> None:
        self._fleet = fleet
        self._admission = admission
        self._statistics = statistics
        self._page_size = page_size

    def worker(self, member: Member, *, now: float, wall: float) -> dict[str, object]:
        """Return a worker; ``now`` by the loop's clock, ``wall`` by the calendar."""
        recent = [each for each in self._statistics.recent(now) if each.worker == member.name]
        return self._worker(member, recent, now=now, wall=wall)

    def _worker(
        self, member: Member, recent: list[Sample], *, now: float, wall: float
    ) -> dict[str, object]:
        health, tally = member.health, member.tally
        return {
            "name": member.name,
            "url": member.origin.url,
            "models": sorted(member.models),
            "state": health.state.value,
            "in_flight": len(member.exchanges),
            "requests": tally.n_requests,
            "failures": tally.n_failures,
            "hit_rate": tally.hit_rate,
            "cache_pages": member.worker.n_pages,
            "ttft_p50": _ttft(recent)["p50"],
            "latency_p50": _latency(recent)["p50"],
            "error": health.error,
            "since": wall - (now - health.since),
        }

    def everything(self, *, now: float, wall: float) -> dict[str, object]:
        """Return all of it but what only the gateway knows: its policy, version and age."""
        statistics, admission = self._statistics, self._admission
        recent = statistics.recent(now)
        by_worker: dict[str, list[Sample]] = {}
        for sample in recent:
            by_worker.setdefault(sample.worker, []).append(sample)
        return {
            "time": wall,
            "workers": [
                self._worker(member, by_worker.get(member.name, []), now=now, wall=wall)
                for member in self._fleet
            ],
            "totals": {
                "requests": statistics.n_ended(),
                "failed": statistics.n_ended("failed"),
                "retried": statistics.n_retries,
                "rejected": statistics.n_ended("refused"),
                "in_flight": admission.n_running,
                "queued": admission.n_waiting,
                "rate": statistics.rate,
            },
            "latency": _latency(recent),
            "ttft": _ttft(recent),
            "series": list(statistics.series),
            "scatter": [
                {"predicted": each.predicted, "observed": each.ttft, "worker": each.worker}
                for each in statistics.scattered
            ],
            "models": sorted(self._fleet.models()),
        }


def _ttft(samples: list[Sample]) -> dict[str, float | None]:
    return percentiles([each.ttft for each in samples if each.ttft is not None])


def _latency(samples: list[Sample]) -> dict[str, float | None]:
    return percentiles([each.latency for each in samples])
