"""The cells of the serving claims: workloads, fleets, offered loads, and the policies compared.

A load of 1 is the rate at which the fleet would be busy all the time if all its memory were one
LRU cache and no worker ever idled while there is work: an upper bound that no routing reaches.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reference import PublishedLBGR, characters
from triskele.serve.cache import EvictionPolicy, PrefixCache, least_recently_used
from triskele.serve.cache.named import EVICTIONS
from triskele.serve.cache.offline import clairvoyant_hits, unlimited_hits
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.routing import (
    CacheAware,
    ConsistentHash,
    LearnedGreedy,
    OverlapCost,
    PrefixAffinity,
    Router,
    least_loaded,
    power_of_two,
    random_choice,
    round_robin,
)
from triskele.serve.simulate import (
    COSTS,
    CostModel,
    Fleet,
    Job,
    LongDocument,
    MooncakeTrace,
    MultiTurn,
    Result,
    SharedPrefix,
    Workload,
    simulate,
)

N_WORKERS = 4
BATCH = 64
"""Answers that share the reading of the weights, in the estimate of a load of 1."""
TRACE = "mooncake-conversation.jsonl.xz"
N_SLICED = 2000
"""Requests of the trace per seed."""
TUNING_SEED = 100
"""Settings of peers are chosen on this one, which is not scored."""
GSP = [
    f"gsp {ratio} {order}"
    for ratio in (0.3, 0.5, 0.8)
    for order in ("random", "grouped", "round_robin")
]
WORKLOADS = [*GSP, "multi-turn", "multi-turn chat", "long-document", "mooncake"]
EVICTED = ("lru", "rlt", "gittins")
# KV events reach those routers that listen by default, after 10 ms.
EVENT_DELAY = 0.01

MakeRouter = Callable[[int, int, str], Router]


@dataclass(frozen=True, slots=True)
class Cell:
    """A workload at a load, one seed of it."""

    workload: str
    load: float
    seed: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A router by name and settings, with an eviction policy on the workers.

    ``settings`` are the keyword arguments of the router's class, as sorted pairs.
    """

    router: str
    eviction: str = "lru"
    settings: tuple[tuple[str, Any], ...] = ()


def router_of(policy: Policy, page_size: int, seed: int) -> Router:
    """Return a new router of a policy."""
    rng = np.random.default_rng(seed)
    settings = dict(policy.settings)
    mirrored = partial(EVICTIONS[policy.eviction], rng=random.Random(f"{seed}, mirrors"))
    make: dict[str, Callable[[], Router]] = {
        "random": lambda: random_choice(rng),
        "round robin": round_robin,
        "least loaded": lambda: least_loaded(rng),
        "power of two": lambda: power_of_two(rng),
        "consistent hash": lambda: ConsistentHash(n_pages=max(1, 256 // page_size)),
        # The project's tree counts characters, which decides where the share is the threshold.
        "cache-aware": lambda: CacheAware(
            rng, measure=partial(characters, page_size=page_size), **settings
        ),
        "prefix affinity": lambda: PrefixAffinity(rng, **settings),
        "dynamo": lambda: OverlapCost(rng, **settings),
        "published LBGR": lambda: PublishedLBGR(page_size=page_size),
        "LBGR": lambda: LearnedGreedy(page_size=page_size, eviction=mirrored, **settings),
        "LBGR, events": lambda: LearnedGreedy(page_size=page_size, **settings),
    }
    return make[policy.router]()


def run(cell: Cell, policy: Policy, data: Path) -> Result:
    """Simulate one policy on one cell."""
    workload, cost = workload_of(cell, data)
    fleet = Fleet(
        costs=[cost] * N_WORKERS,
        eviction=workers_evict(policy.eviction, cell.seed),
        event_delay=EVENT_DELAY if policy.router in ("dynamo", "LBGR, events") else None,
    )
    return simulate(workload, router_of(policy, workload.page_size, cell.seed), fleet)


def workers_evict(eviction: str, seed: int) -> Callable[[int, int], EvictionPolicy]:
    """Return what makes each worker's eviction policy, with draws of its own."""
    return lambda n_pages, number: EVICTIONS[eviction](
        n_pages, random.Random(f"{seed}, worker {number}")
    )


def workload_of(cell: Cell, data: Path) -> tuple[Workload, CostModel]:
    """Return the workload of a cell at its load, and the hardware."""
    base, cost = _base(cell.workload, cell.seed, data)
    full, n_jobs, span = _full_rate(cell.workload, cell.seed, data)
    if isinstance(base, MooncakeTrace):
        return replace(base, speed=cell.load * full * span / n_jobs), cost
    assert isinstance(base, SharedPrefix | MultiTurn | LongDocument)
    return replace(base, rate=cell.load * full), cost


def bounds(workload: str, seed: int, data: Path) -> tuple[float, float]:
    """Return what no fleet can find of the prompts' pages, and what this one could at best.

    One cache without limit that serves every request in turn, answers included; and Belady's rule
    on one cache as large as the fleet's together.
    """
    base, cost = _base(workload, seed, data)
    jobs = played(base)
    unlimited = PrefixCache(1 << 40, least_recently_used())
    n_found = 0
    for job in jobs:
        n_found += unlimited.match(job.key).n_pages
        unlimited.insert(job.key_after)
    requests = [np.frombuffer(job.key_after, "<u8").tolist() for job in jobs]
    n_pages = max(1, sum(len(job.key) // HASH_BYTES for job in jobs))
    # Belady's rule sees answers asked for, too; they are new every time.
    best = clairvoyant_hits(requests, N_WORKERS * cost.kv_tokens // base.page_size)
    assert best <= unlimited_hits(requests)
    return n_found / n_pages, best / n_pages


def played(workload: Workload, answer: float = 1.0) -> list[Job]:
    """Return all jobs in order of time if every answer takes ``answer`` seconds."""
    jobs: list[Job] = []
    coming: list[tuple[float, int, Job]] = [(job.at, job.id, job) for job in workload.arrivals()]
    while coming:
        _, _, job = heappop(coming)
        jobs.append(job)
        following = workload.follow_up(job, job.at + answer)
        if following is not None:
            heappush(coming, (following.at, following.id, following))
    return jobs


@lru_cache(maxsize=64)
def _base(workload: str, seed: int, data: Path) -> tuple[Workload, CostModel]:
    l40, a100 = COSTS["llama-8b-l40-all-in"], COSTS["llama-8b-a100"]
    kind, *rest = workload.split()
    if kind == "gsp":
        return SharedPrefix(ratio=float(rest[0]), order=rest[1], seed=seed), l40  # type: ignore[arg-type]
    if workload == "multi-turn":
        return MultiTurn(conversations=600, seed=seed), l40
    if workload == "multi-turn chat":
        return MultiTurn(conversations=600, message=256, answer=128, seed=seed), a100
    if workload == "long-document":
        return LongDocument(documents=160, questions=25, seed=seed), l40
    # A quarter of all lengths: a fleet of four then holds a share of the trace worth the name.
    # Slices do not overlap, and the one for tuning is the last.
    start = N_SLICED * (5 if seed == TUNING_SEED else seed % 5)
    trace = MooncakeTrace(data / TRACE, shrink=4, start=start, limit=N_SLICED)
    return trace, a100


@cache
def _full_rate(workload: str, seed: int, data: Path) -> tuple[float, int, float]:
    """Return the requests per second of a load of 1, the number of jobs and their span."""
    base, cost = _base(workload, seed, data)
    jobs = played(base)
    pool = PrefixCache(N_WORKERS * cost.kv_tokens // base.page_size, least_recently_used())
    work = 0.0
    for job in jobs:
        n_cached = min(pool.match(job.key).n_pages * base.page_size, job.n_prompt - 1)
        pool.insert(job.key_after)
        per_token = max(cost.token, cost.weights / BATCH) + cost.cache * job.n_prompt
        work += cost.prompt_seconds(job.n_prompt, n_cached) + 1e-3 * per_token * (job.n_output - 1)
    return N_WORKERS * len(jobs) / work, len(jobs), jobs[-1].at - jobs[0].at
