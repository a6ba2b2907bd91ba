"""One policy on one workload: measured on a real fleet, and foretold by the simulator."""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
import uvloop

from benchmarks.live.fleet import Hardware, Live, fleet
from benchmarks.live.load import Answered, keep_busy, send_at
from benchmarks.live.requests import body_of
from benchmarks.live.steps import (
    Calibration,
    Steps,
    calibration_of,
    counts,
    scaled,
    seconds_of,
    since,
)
from triskele.serve.routing.named import Policy
from triskele.serve.simulate import CostModel, Fleet, Job, SharedPrefix, simulate
from triskele.serve.simulate.replica import Batching

TIMES = ("latency_p50", "latency_p95", "ttft_p50", "ttft_p95")
QUANTILES = np.linspace(0.05, 0.95, 19)
N_DRAWS = 8
# Seconds in which a run must end after its last request.
PATIENCE = 400.0
T = TypeVar("T")


def look(hardware: Hardware, workload: SharedPrefix, n: int) -> tuple[Calibration, float]:
    """Return the cost of iterations, and the seconds of a request that are outside of them.

    Parameters
    ----------
    n
        Requests of each of four parts.
    """
    bodies = [body_of(workload, job) for job in workload.arrivals()]
    with fleet(hardware, Policy("round-robin", "lru"), seed=0) as live:
        warm_up(live)
        n_before = counts(live.steps)
        for part, n_each in enumerate((1, 2, 8)):
            run(keep_busy(live.workers, bodies[part * n : (part + 1) * n], n_each=n_each))
        seen = calibration_of(since(live.steps, n_before), kv_tokens=hardware.kv_tokens)
        n_before = counts(live.steps)
        alone = [
            run(send_at(live.gateway, [0.0], [body], seconds=PATIENCE))[0] for body in bodies[-n:]
        ]
        computing = seconds_of(since(live.steps, n_before))
    taken = sum(answer.last - answer.planned for answer in alone)
    return seen, max(0.0, (taken - computing) / n)


def measure(
    policy: Policy, workload: SharedPrefix, hardware: Hardware, *, limit: int | None = None
) -> tuple[dict[str, Any], Steps]:
    """Return the figures of one run, and the iterations of its workers.

    Parameters
    ----------
    limit
        Of the requests, only so many.
    """
    jobs: list[Job] = list(workload.arrivals())[:limit]
    bodies, times = [body_of(workload, job) for job in jobs], [job.at for job in jobs]
    with fleet(hardware, policy, seed=workload.seed) as live:
        warm_up(live)
        n_before = counts(live.steps)
        load = os.getloadavg()[0]
        answers = run(send_at(live.gateway, times, bodies, seconds=PATIENCE))
        steps = since(live.steps, n_before)
    assert all(answer.n_output == workload.output for answer in answers)
    row = {
        "policy": policy.label,
        "seed": workload.seed,
        **_summary(answers),
        "late": round(max(answer.sent - answer.planned for answer in answers), 4),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
    }
    return row, steps


def foretell(
    policy: Policy, workload: SharedPrefix, hardware: Hardware, cost: CostModel, overhead: float
) -> dict[str, Any]:
    """Return what the simulator says of the same requests at the same times.

    A router's ties and a policy's draws decide which prefixes meet on which worker, and with it a
    good part of a run's figures: what is foretold is the mean over several draws, and ``chance``
    the standard deviation of single ones as a share of it.
    """
    draws = []
    for draw in range(N_DRAWS):
        # Costs differ by a thousandth, so that policies that draw nothing part ways, too.
        own = scaled(cost, 1 + 1e-3 * (draw - (N_DRAWS - 1) / 2))
        served = Fleet(
            costs=[own] * hardware.n_workers,
            eviction=policy.evict(N_DRAWS * workload.seed + draw),
            batching=Batching(hardware.batch_tokens, hardware.running),
            # Both ways at once: first tokens and ends are noted at the replica.
            network=overhead,
        )
        result = simulate(workload, policy.route(draw, page_size=workload.page_size), served)
        figures = result.summary()
        draws.append(
            _times(result.latency.tolist(), result.ttft.tolist())
            | {
                "hit_rate": figures.hit_rate,
                "throughput": figures.throughput,
                "imbalance": figures.imbalance,
            }
        )
    found: dict[str, Any] = {
        name: np.round(np.mean([draw[name] for draw in draws], 0), 4).tolist() for name in draws[0]
    }
    chance = [np.std([draw[name] for draw in draws], ddof=1) / found[name] for name in TIMES]
    return found | {"chance": np.round(chance, 3).tolist()}


def warm_up(live: Live) -> None:
    """Let every worker compute prompts of several lengths that nobody will ask again."""
    workload = SharedPrefix(
        groups=4 * len(live.workers), prompts_per_group=1, lengths=(512, 128, 1024), seed=1 << 20
    )
    bodies = [body_of(workload, job) for job in workload.arrivals()]
    run(keep_busy(live.workers, bodies, n_each=2))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _summary(answers: Sequence[Answered]) -> dict[str, Any]:
    latency = [answer.last - answer.planned for answer in answers]
    ttft = [answer.first - answer.planned for answer in answers]
    n_new: dict[str, int] = {}
    for answer in answers:
        n = answer.n_prompt - answer.n_cached
        n_new[answer.worker] = n_new.get(answer.worker, 0) + n
    n_prompt = sum(answer.n_prompt for answer in answers)
    span = max(answer.last for answer in answers) - min(answer.planned for answer in answers)
    return {
        **_times(latency, ttft),
        "hit_rate": round(1 - sum(n_new.values()) / n_prompt, 4),
        "throughput": round(len(answers) / span, 4),
        "imbalance": round(max(n_new.values()) / (sum(n_new.values()) / len(n_new)), 3),
    }


def _times(latency: Sequence[float], ttft: Sequence[float]) -> dict[str, Any]:
    """Return medians and 95th percentiles, and the distribution of latency."""
    values = [*np.quantile(latency, (0.5, 0.95)), *np.quantile(ttft, (0.5, 0.95))]
    found: dict[str, Any] = {k: round(float(v), 4) for k, v in zip(TIMES, values, strict=True)}
    return found | {"latency": np.round(np.quantile(latency, QUANTILES), 3).tolist()}
