"""What is learned of the answers: comparisons told to the gateway, and one turn of the loop.

Each query of the first workload was answered by every model, in one round of it or another. The
model whose likelihood of the true continuation is higher is told to be better, request by request,
by the same way by which a user or a judge would say it: ``POST /v1/feedback``.
"""

import asyncio
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from triskele.demo.fleet import Fleet
from triskele.demo.scoring import Scores
from triskele.demo.watching import Watcher
from triskele.loop import CycleConfig, Verdict, turn
from triskele.serve.http import Origin, fetch

FEEDBACK = "/v1/feedback"
AT_ONCE = 4
CREATED = 201
PRICES = "prices.json"
TELLING, TURNING = "comparisons to the gateway", "one turn of the loop"
JSON = ((b"content-type", b"application/json"),)


async def tell(
    fleet: Fleet, scores: Scores, ids: Sequence[Sequence[str]], *, watcher: Watcher
) -> int:
    """Tell the gateway which of two answers is better, for all pairs; return how many those are.

    Parameters
    ----------
    fleet
        Whose gateway has the answers in its journal.
    scores
        Of the models on the queries.
    ids
        Of the request by which each query was asked of each model, (n_queries, n_models).
    watcher
        Shown progress.

    Raises
    ------
    ValueError
        If the gateway does not take it.
    """
    said = [
        {"id": asked[better], "better_than": asked[worse]}
        for asked, bits in zip(ids, scores.bits, strict=True)
        for better, worse in (
            (left, right) if bits[left] < bits[right] else (right, left)
            for left, right in combinations(range(len(bits)), 2)
        )
    ]
    watcher.begin(TELLING, len(said))
    origin, left, done = Origin(fleet.url), iter(said), 0

    async def work() -> None:
        nonlocal done
        for each in left:
            body = json.dumps(each).encode()
            answer = await fetch(origin, "POST", FEEDBACK, headers=JSON, body=body)
            if answer.status != CREATED:
                raise ValueError(f"feedback was answered with status {answer.status}")
            done += 1
            watcher.advance(TELLING, done)

    try:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    finally:
        origin.close()
    return len(said)


def learn(
    fleet: Fleet, models: Sequence[str], out: Path, *, now: float, seed: int, watcher: Watcher
) -> Verdict:
    """Turn the loop once: harvest, fit, compare, and publish if that is better.

    All models cost the same, as they are of one size: quality alone decides.
    """
    watcher.begin(TURNING, 1)
    prices = out / PRICES
    prices.write_text(json.dumps(dict.fromkeys(models, 1.0)), encoding="utf-8")
    config = CycleConfig(journal=fleet.journal, capability=fleet.capability, prices=prices)
    verdict = turn(config, now=now, rng=np.random.default_rng(seed))
    watcher.advance(TURNING, 1, f"{verdict.n_queries} queries, {'; '.join(verdict.reasons)}")
    return verdict
