import msgspec
from tests.serve.gateway.openai_worker import member
from tests.serve.gateway.test_openapi import accepts
from tests.serve.gateway.test_statistics import journey

from triskele.serve.gateway.admission import Admission
from triskele.serve.gateway.fleet import Fleet
from triskele.serve.gateway.overview import Overview
from triskele.serve.gateway.statistics import Statistics
from triskele.serve.gateway.usage import Usage
from triskele.serve.routing import LearnedGreedy


class Setting:
    """A fleet of one worker that is ready and one that nobody has asked."""

    def __init__(self) -> None:
        self.fleet = Fleet(lambda: LearnedGreedy(page_size=64), lambda: None)
        self.a, self.b = member("a"), member("b")
        for each in (self.a, self.b):
            self.fleet.add(each)
        self.a.health.checked(True, 10.0)
        self.fleet.describe(self.a, {"m": msgspec.Raw(b"{}"), "k": msgspec.Raw(b"{}")}, 512)
        self.statistics = Statistics()
        self.admission = Admission(n_queued=1, queue_seconds=1.0)
        self.overview = Overview(self.fleet, self.admission, self.statistics, page_size=64)


def test_a_worker_is_shown_as_it_is() -> None:
    it = Setting()
    it.a.tally.n_requests, it.a.tally.n_failures = 7, 2
    it.a.tally.n_prompt, it.a.tally.n_cached = 100, 25
    it.statistics.add(journey(worker="a", accepted=18.0, first=18.5), 20.0)
    it.statistics.add(journey(worker="b", accepted=10.0, first=19.0), 20.0)
    assert it.overview.worker(it.a, now=20.0, wall=1000.0) == {
        "name": "a",
        "url": "http://a.local:1",
        "models": ["k", "m"],
        "state": "ready",
        "in_flight": 0,
        "requests": 7,
        "failures": 2,
        "hit_rate": 0.25,
        "cache_pages": 512,
        "ttft_p50": 0.5,
        "latency_p50": 2.0,
        "error": None,
        "since": 990.0,
    }


def test_what_nobody_knows_is_not_made_up() -> None:
    it = Setting()
    shown = it.overview.worker(it.b, now=20.0, wall=1000.0)
    assert shown["state"] == "starting"
    for name in ("hit_rate", "cache_pages", "ttft_p50", "latency_p50", "error"):
        assert shown[name] is None


def test_everything_is_as_the_openapi_page_says() -> None:
    it = Setting()
    for number in range(5):
        sample = journey(
            accepted=number, first=number + 0.5, predicted=(0.4, 1.0), usage=Usage(10, 5, 2)
        )
        it.statistics.add(sample, number + 1.0)
        it.statistics.tick(1000.0 + number, 1.0)
    it.statistics.add(journey(status=429, outcome="refused", worker=None), 5.0)
    everything = it.overview.everything(now=6.0, wall=1006.0)
    gateways = {"policy": "lbgr", "policies": ["lbgr"], "uptime": 6.0, "version": "1"}
    told = msgspec.json.decode(msgspec.json.encode(gateways | everything))
    assert accepts("Status", told)
    assert told["totals"] == {
        "requests": 6,
        "failed": 0,
        "retried": 0,
        "rejected": 1,
        "in_flight": 0,
        "queued": 0,
        "rate": 1.0,
    }
    assert told["ttft"] == {"p50": 0.5, "p95": 0.5, "p99": 0.5}
    assert told["models"] == ["k", "m"]
    assert told["scatter"][0] == {"predicted": 0.4, "observed": 0.5, "worker": "a"}
    assert [point["hit_rate"] for point in told["series"]] == [0.5] * 5
    assert [worker["name"] for worker in told["workers"]] == ["a", "b"]
    assert told["workers"][0] == msgspec.json.decode(
        msgspec.json.encode(it.overview.worker(it.a, now=6.0, wall=1006.0))
    )
