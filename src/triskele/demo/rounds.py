"""What happens while the fleet is up: three policies, comparisons, a turn of the loop, and choice.

Each of the first rounds sends the same requests at the same times under another policy of routing.
The models take turns from round to round: what was asked of one is asked of the next. So a round
finds nothing in the caches that an earlier one has left there; models of one size make the rounds
alike; and in the end every query has been answered by every model.

The last two rounds send other queries, and leave the model to the gateway: before it knows anything
of the models, and after the turn of the loop.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from triskele.demo.driving import Answered, Ask, drive
from triskele.demo.evidence import learn, tell
from triskele.demo.findings import Choices, Round, domains_of
from triskele.demo.fleet import Fleet
from triskele.demo.scoring import Scores
from triskele.demo.stopwatch import Stopwatch
from triskele.demo.watching import Watcher
from triskele.demo.workload import Workload
from triskele.loop import Verdict
from triskele.serve.http import Origin, fetch

POLICIES = ("round-robin", "cache-aware", "lbgr")
AUTO = "auto"
WARM_UP = 4
"""Requests to each model before the first that count."""
SETTLE_SECONDS = 2.0
"""In which the journal is written to its end, and the gateway sees another table."""
OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the rounds came to."""

    rounds: tuple[Round, ...]
    before: Choices
    after: Choices
    verdict: Verdict
    n_comparisons: int


class Rounds:
    """Sends workloads to a fleet.

    Parameters
    ----------
    fleet
        Takes the requests.
    models
        Names of what it serves.
    n_output
        Tokens that are asked for.
    seed
        Of which passage begins with which model.
    watcher
        Shown all progress.
    """

    def __init__(
        self,
        fleet: Fleet,
        models: Sequence[str],
        *,
        n_output: int,
        seed: int,
        watcher: Watcher,
    ) -> None:
        self._fleet = fleet
        self._models = tuple(models)
        self._n_output = n_output
        self._seed = seed
        self._watcher = watcher

    async def warm_up(self) -> None:
        """Send some requests that do not count."""
        asks = [
            Ask(f"warm-up-{name}-{number}", 0.0, name, f"{name} {number}\n", self._n_output)
            for name in self._models
            for number in range(WARM_UP)
        ]
        await self._drive("warm-up", asks)

    async def compare(self, workload: Workload) -> tuple[tuple[Round, ...], list[list[str]]]:
        """Send a workload under each policy.

        Returns
        -------
        tuple
            The rounds, and the ids of the requests by which each query was asked of each model.
        """
        rng = random.Random(f"{self._seed}, turns")
        n = len(self._models)
        first = [rng.randrange(n) for _ in workload.passages]
        ids = [[""] * n for _ in workload.queries]
        rounds = []
        for number, policy in enumerate(POLICIES):
            await self._route_by(policy)
            asks = []
            for place, query in enumerate(workload.queries):
                model = (first[query.passage] + number) % n
                ids[place][model] = f"{policy}-{place}"
                name = self._models[model]
                asks.append(Ask(ids[place][model], query.at, name, query.prompt, self._n_output))
            answers = await self._drive(f"requests, {policy}", asks)
            rounds.append(Round(policy, tuple(answers)))
        return tuple(rounds), ids

    async def choose(self, workload: Workload, scores: Scores, name: str) -> Choices:
        """Send a workload whose models are for the gateway to choose."""
        asks = [
            Ask(f"{name}-{place}", query.at, AUTO, query.prompt, self._n_output)
            for place, query in enumerate(workload.queries)
        ]
        answers = tuple(await self._drive(f"the model left open, {name}", asks))
        return Choices(Round(POLICIES[-1], answers), scores, domains_of(workload))

    async def _route_by(self, policy: str) -> None:
        origin = Origin(self._fleet.url)
        try:
            answer = await fetch(
                origin,
                "PUT",
                "/admin/policy",
                headers=((b"content-type", b"application/json"),),
                body=json.dumps({"policy": policy}).encode(),
            )
        finally:
            origin.close()
        if answer.status != OK:
            raise ValueError(f"the gateway does not route by {policy}: status {answer.status}")

    async def _drive(self, stage: str, asks: Sequence[Ask]) -> list[Answered]:
        self._watcher.begin(stage, len(asks))
        return await drive(self._fleet.url, asks, on_answer=_shown(self._watcher, stage))


async def serve(
    fleet: Fleet,
    rounds: Rounds,
    workloads: tuple[Workload, Workload],
    scores: tuple[Scores, Scores],
    out: Path,
    *,
    seed: int,
    watcher: Watcher,
    watch: Stopwatch,
) -> Served:
    """Do all of it, one after the other.

    Parameters
    ----------
    fleet, rounds
        What serves, and what asks.
    workloads, scores
        Of the first rounds and of the last ones.
    out
        Where the prices go.
    seed
        Of the turn of the loop.
    watcher
        Shown all progress.
    watch
        Takes the time of each part.
    """
    await rounds.warm_up()
    watch.lap("warming up")
    compared, ids = await rounds.compare(workloads[0])
    watch.lap(f"requests in {len(compared)} rounds")
    before = await rounds.choose(workloads[1], scores[1], "before")
    watch.lap("requests for auto")
    n_comparisons = await tell(fleet, scores[0], ids, watcher=watcher)
    await asyncio.sleep(SETTLE_SECONDS)
    models = scores[0].models
    verdict = await asyncio.to_thread(
        learn, fleet, models, out, now=time.time(), seed=seed, watcher=watcher
    )
    await asyncio.sleep(SETTLE_SECONDS)
    watch.lap("telling and learning")
    after = await rounds.choose(workloads[1], scores[1], "after")
    watch.lap("requests for auto")
    return Served(
        rounds=compared,
        before=before,
        after=after,
        verdict=verdict,
        n_comparisons=n_comparisons,
    )


def _shown(watcher: Watcher, stage: str) -> Callable[[Answered], None]:
    """Return what shows answers as they come."""
    answers: list[Answered] = []

    def show(answer: Answered) -> None:
        answers.append(answer)
        so_far = Round("", tuple(answers))
        figures = f"TTFT p50 {1e3 * so_far.quantile(0.5):.0f} ms, hit rate {so_far.hit_rate:.0%}"
        watcher.advance(stage, len(answers), figures)

    return show
