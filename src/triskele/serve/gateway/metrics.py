"""The gateway's figures for Prometheus, read when they are scraped and not before.

Labels are names of listed workers, states and our own paths: nothing a client sends becomes one.
"""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from triskele.serve.gateway.admission import Admission
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.health import State
from triskele.serve.gateway.statistics import Histogram, Statistics
from triskele.serve.routing.capability import CapabilityRouter

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Collects from what the gateway counts anyway.

    Parameters
    ----------
    fleet, admission, statistics
        Whose figures.
    n_dropped
        Returns how many records the journal has dropped; ``None`` where there is no journal.
    chosen
        Counts how models are chosen, where they are.
    """

    def __init__(
        self,
        fleet: Fleet,
        admission: Admission,
        statistics: Statistics,
        *,
        n_dropped: Callable[[], int] | None,
        chosen: CapabilityRouter | None = None,
    ) -> None:
        self._fleet = fleet
        self._admission = admission
        self._statistics = statistics
        self._n_dropped = n_dropped
        self._chosen = chosen
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the page."""
        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterable[Metric]:
        """Yield every figure."""
        statistics, admission = self._statistics, self._admission
        requests = CounterMetricFamily(
            "triskele_requests", "Requests that ended.", labels=["endpoint", "status", "outcome"]
        )
        for labels, n in sorted(statistics.ended.items()):
            requests.add_metric(labels, n)
        yield requests
        yield CounterMetricFamily(
            "triskele_retries", "Workers tried after the first.", value=statistics.n_retries
        )
        yield GaugeMetricFamily(
            "triskele_requests_running", "Requests let in.", value=admission.n_running
        )
        yield GaugeMetricFamily(
            "triskele_requests_waiting", "Requests in the queue.", value=admission.n_waiting
        )
        yield _histogram("triskele_ttft_seconds", "Time to the first token.", statistics.ttft)
        yield _histogram("triskele_latency_seconds", "Time to the end.", statistics.latency)
        if self._n_dropped is not None:
            yield CounterMetricFamily(
                "triskele_journal_dropped", "Records not written.", value=self._n_dropped()
            )
        if self._chosen is not None:
            yield from _of_choices(self._chosen)
        yield from self._workers()

    def _workers(self) -> Iterable[Metric]:
        members = list(self._fleet)

        def family(kind: type[Any], name: str, text: str, read: Callable[[Any], float]) -> Any:
            made = kind(f"triskele_worker_{name}", text, labels=["worker"])
            for member in members:
                made.add_metric([member.name], read(member))
            return made

        counter, gauge = CounterMetricFamily, GaugeMetricFamily
        yield family(counter, "requests", "Requests sent.", lambda m: m.tally.n_requests)
        yield family(counter, "failures", "Requests that failed.", lambda m: m.tally.n_failures)
        yield family(counter, "prompt_tokens", "Of prompts.", lambda m: m.tally.n_prompt)
        yield family(counter, "cached_tokens", "Found in its cache.", lambda m: m.tally.n_cached)
        yield family(counter, "output_tokens", "Of answers.", lambda m: m.tally.n_output)
        yield family(gauge, "running", "Requests it has.", lambda m: len(m.exchanges))
        states = gauge("triskele_worker_state", "1 for its state.", labels=["worker", "state"])
        for member in members:
            for state in State:
                states.add_metric([member.name, state.value], member.health.state is state)
        yield states


def _of_choices(chosen: CapabilityRouter) -> Iterable[Metric]:
    for name, text, value in (
        ("decisions", "Requests for auto.", chosen.n_decided),
        ("explored", "Of those, the ones that tried another model.", chosen.n_explored),
        ("explored_regret", "Predicted quality that these gave up.", chosen.regret),
    ):
        yield CounterMetricFamily(f"triskele_auto_{name}", text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    n_below = 0
    for bound, n in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        n_below += n
        buckets.append(("+Inf" if bound == float("inf") else str(bound), n_below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)
