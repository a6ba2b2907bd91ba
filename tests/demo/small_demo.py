"""Findings that were not measured, sizes that take seconds, and a gateway that only says so."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from triskele.demo.config import Hardware, Scale, Traffic, Training
from triskele.demo.driving import Answered
from triskele.demo.findings import Choices, Findings, Round, domains_of
from triskele.demo.models import Arm, Race, Trained
from triskele.demo.scoring import Scores
from triskele.demo.workload import Passage, Query, Workload
from triskele.loop import Verdict
from triskele.serve.http import HttpRequest, HttpServer, Reply
from triskele.train import BatchOptions, Curves, ModelOptions

MODELS = ("code", "english", "arithmetic")
STEPS = 6
SCALE = Scale(
    training=Training(
        model=ModelOptions(d_model=32, n_layers=1, n_heads=2),
        batch=BatchOptions(size=4, context=64),
        vocab_size=400,
        characters=200_000,
        validation_tokens=512,
        validations=3,
    ),
    traffic=Traffic(
        passages=2, turns=2, first=32, more=16, scored=8, output=2, seconds=1.0, pause=0.2
    ),
    hardware=Hardware(workers=1, cpu_share=1.0, cache_pages=32, page_tokens=8),
)


class Watched:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.said: list[str] = []
        self.shown: list[tuple[str, float, str]] = []

    def begin(self, stage: str, total: float) -> None:
        self.stages.append(stage)

    def advance(self, stage: str, done: float, figures: str = "") -> None:
        assert stage in self.stages
        self.shown.append((stage, done, figures))

    def say(self, text: str) -> None:
        self.said.append(text)


def arm(optimizer: str, losses: tuple[float, ...]) -> Arm:
    steps = tuple(range(10, 10 * len(losses) + 1, 10))
    return Arm(
        optimizer=optimizer,
        curves=Curves(steps, losses, steps, losses),
        checkpoint=Path("models") / optimizer / "checkpoint",
        sample=f"\n<{optimizer}> & co",
    )


def trained(contender: tuple[float, ...] = (5.0, 3.0, 2.4, 2.2, 2.1)) -> Trained:
    arms = {name: arm("dynmuon", contender) for name in MODELS}
    race = Race(
        domain="code",
        rival=arm("muon", (6.0, 4.0, 3.0, 2.5, 2.3)),
        contender=arms["code"],
        target=2.5,
    )
    return Trained(arms=arms, race=race, tokenizer=Path("models/tokenizer.json"))


def workload() -> Workload:
    """Return two passages of each domain, each asked about twice."""
    passages = tuple(Passage(name, tuple(range(64)), (32, 48)) for name in MODELS for _ in range(2))
    queries = tuple(
        Query(number, turn, 0.01 * (2 * number + turn), f"passage {number}" + ", more" * turn)
        for number in range(len(passages))
        for turn in range(2)
    )
    return Workload(passages, queries)


def scores(asked: Workload) -> Scores:
    """Return scores by which the model of its own domain is right, except for the first query."""
    own = np.array([MODELS.index(name) for name in domains_of(asked)])
    bits = np.full((len(own), 3), 4.0)
    bits[np.arange(len(own)), own] = 2.0
    bits[0] = 4.0, 1.0, 3.0
    return Scores(MODELS, bits)


def answered(place: int, model: str, *, ttft: float = 0.1, reason: str = "") -> Answered:
    return Answered(f"id-{place}", model, reason, ttft, 2 * ttft, 100, 40)


def choices(asked: Workload, chosen: Callable[[str], str], reason: str) -> Choices:
    names = domains_of(asked)
    answers = tuple(answered(n, chosen(name), reason=reason) for n, name in enumerate(names))
    return Choices(Round("lbgr", answers), scores(asked), names)


def findings(*, published: bool = True, contender: tuple[float, ...] | None = None) -> Findings:
    asked = workload()
    slow = {"round-robin": 0.3, "cache-aware": 0.2, "lbgr": 0.1}
    n = len(asked.queries)
    return Findings(
        trained=trained() if contender is None else trained(contender),
        workloads=(asked, asked),
        scores=(scores(asked), scores(asked)),
        rounds=tuple(
            Round(policy, tuple(answered(k, "code", ttft=time + 0.001 * k) for k in range(n)))
            for policy, time in slow.items()
        ),
        before=choices(asked, lambda name: "code", "latency"),
        after=choices(asked, lambda name: name, "capability"),
        verdict=Verdict(
            time=1.0,
            published=published,
            version=int(published),
            n_queries=12,
            candidate_loss=0.4,
            current_loss=0.69,
            gain=0.29,
            gain_error=0.02,
            reasons=("better: because <it> is",),
            seconds=0.5,
        ),
        n_comparisons=36,
        stages={"training": 100.0, "serving": 60.0},
        n_workers=6,
        machine="2 processor cores",
    )


class Gateway:
    """What a gateway would be asked; it answers all of it, and remembers."""

    def __init__(self, *, status: int = 200, auto: str = "english") -> None:
        self.status = status
        self.auto = auto
        self.policies: list[str] = []
        self.feedback: list[dict[str, str]] = []
        self.asked: list[tuple[str, dict[str, object]]] = []
        self.url = ""

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        said = json.loads(request.body)
        if request.path == "/admin/policy":
            self.policies.append(said["policy"])
            reply.send(self.status, b"{}")
        elif request.path == "/v1/feedback":
            self.feedback.append(said)
            reply.send(201 if self.status == 200 else self.status, b"{}")
        else:
            name = (request.header(b"x-request-id") or b"").decode()
            self.asked.append((name, said))
            await self._complete(said, reply)

    async def _complete(self, said: dict[str, object], reply: Reply) -> None:
        headers: list[tuple[bytes, bytes]] = [(b"content-type", b"text/event-stream")]
        if said["model"] == "auto":
            headers.append((b"x-triskele-model", self.auto.encode()))
            headers.append((b"x-triskele-decision", b'{"reason": "capability"}'))
        usage = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}
        reply.start(self.status, headers, length=None)
        reply.write(b'data: {"choices": [{"text": "a"}]}\n\n')
        reply.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        reply.write(b"data: [DONE]\n\n")
        reply.end()


@asynccontextmanager
async def listening(gateway: Gateway) -> AsyncIterator[Gateway]:
    server = HttpServer(gateway)
    await server.start("127.0.0.1", 0)
    gateway.url = f"http://127.0.0.1:{server.port}"
    try:
        yield gateway
    finally:
        await server.drain(5.0)
