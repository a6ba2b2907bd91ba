import asyncio
from collections import defaultdict

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serve.gateway.openai_worker import OpenAIWorker, Served, serving
from tests.serve.gateway.test_overview import Setting
from tests.serve.gateway.test_statistics import journey

from triskele.serve.gateway.metrics import Metrics
from triskele.serve.gateway.settings import Settings
from triskele.serve.gateway.statistics import BOUNDS

Values = dict[str, dict[tuple[str, ...], float]]


def parse(text: bytes) -> Values:
    """Return every figure by name and labels' values, in the order of the labels' names."""
    values: Values = defaultdict(dict)
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation
        assert family.name.startswith("triskele_")
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in values[sample.name], "no figure is there twice"
            values[sample.name][labels] = sample.value
    return values


def metrics(it: Setting, n_dropped: int | None = None) -> Values:
    dropped = None if n_dropped is None else lambda: n_dropped
    return parse(Metrics(it.fleet, it.admission, it.statistics, n_dropped=dropped).text())


def test_a_gateway_that_has_done_nothing_has_its_figures() -> None:
    values = metrics(Setting())
    assert values["triskele_requests_running"] == {(): 0.0}
    assert values["triskele_worker_requests_total"] == {("a",): 0.0, ("b",): 0.0}
    assert values["triskele_worker_state"]["ready", "a"] == 1.0
    assert sum(values["triskele_worker_state"].values()) == 2.0
    assert len(values["triskele_worker_state"]) == 10
    assert "triskele_journal_dropped_total" not in values


def test_histograms_are_cumulated_and_end_with_all() -> None:
    it = Setting()
    for latency in (0.001, 0.01, 0.3, 7.0, 1000.0):
        it.statistics.add(journey(), latency)
    values = metrics(it)
    buckets = values["triskele_latency_seconds_bucket"]
    assert buckets["0.01",] == 2.0
    assert buckets["10.0",] == 4.0
    assert buckets["+Inf",] == values["triskele_latency_seconds_count"][()] == 5.0
    assert len(buckets) == len(BOUNDS) + 1
    assert list(buckets.values()) == sorted(buckets.values())
    assert values["triskele_latency_seconds_sum"][()] == pytest.approx(1007.311)


def test_records_that_the_journal_drops_are_counted() -> None:
    assert metrics(Setting(), 3)["triskele_journal_dropped_total"] == {(): 3.0}


def test_hostile_names_of_workers_stay_inside_their_labels() -> None:
    it = Setting()
    it.a.name = 'a"} 7\n# HELP x\\'
    assert (it.a.name,) in metrics(it)["triskele_worker_requests_total"]


async def scrape(served: Served) -> Values:
    answer = await served.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.header(b"content-type") == b"text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.body)


def test_figures_of_a_gateway_are_right() -> None:
    async def run() -> None:
        workers = [OpenAIWorker("a"), OpenAIWorker("b")]
        async with serving(workers, Settings()) as served:
            for _ in range(4):
                assert (await served.chat()).status == 200
                assert (await served.chat(stream=True)).status == 200
            workers[0].status = workers[1].status = 500
            assert (await served.chat()).status == 500
            assert (await served.chat(model="other")).status == 404
            values = await scrape(served)
        ended = values["triskele_requests_total"]
        assert ended["/v1/chat/completions", "finished", "2xx"] == 8.0
        assert ended["/v1/chat/completions", "failed", "5xx"] == 1.0
        assert ended["/v1/chat/completions", "refused", "4xx"] == 1.0
        assert values["triskele_retries_total"][()] == 1.0
        assert sum(values["triskele_worker_requests_total"].values()) == 10.0
        assert sum(values["triskele_worker_failures_total"].values()) == 2.0
        assert sum(values["triskele_worker_cached_tokens_total"].values()) == 16.0, "of the whole"
        assert sum(values["triskele_worker_prompt_tokens_total"].values()) == 40.0
        assert values["triskele_requests_running"][()] == 0.0
        assert values["triskele_ttft_seconds_count"][()] == 4.0
        assert values["triskele_latency_seconds_count"][()] == 8.0

    asyncio.run(run())


def test_nothing_that_a_client_sends_becomes_a_label() -> None:
    async def run() -> None:
        async with serving([OpenAIWorker("a")]) as served:
            await served.chat()
            await served.ask("POST", "/v1/embeddings", {"input": "a"})
            await served.ask("POST", "/v1/completions", {"prompt": "a"})
            before = {name: set(labels) for name, labels in (await scrape(served)).items()}
            for number in range(50):
                await served.chat(model=f'm{number}"}} 1')
                await served.ask("GET", f"/v1/x{number}")
                await served.ask("POST", f"/v1/chat/completions/{number}", {})
                await served.ask("POST", f"/v1/chat/completions?x={number}", {"messages": []})
                await served.ask("BREW", "/v1/chat/completions")
            after = {name: set(labels) for name, labels in (await scrape(served)).items()}
        new = after.pop("triskele_requests_total") - before.pop("triskele_requests_total")
        assert new == {("/v1/chat/completions", "refused", "4xx")}
        assert after == before

    asyncio.run(run())
