"""Microseconds per routing decision and per evicted page.

A decision is everything between the prompt's tokens and the name of the worker: hashing the pages,
looking up their holders, predicting every worker, choosing, and entering the prompt into the
queues and the mirror. Eviction is timed by itself, in a full cache that serves a stream of prompts
with shared prefixes. Published (arXiv 2601.18999): 1,450 µs per decision, 1,050 µs per eviction.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.style import INK, MUTED, STYLE, tidy
from triskele.serve.cache import (
    EvictionPolicy,
    GittinsLeaves,
    PrefixCache,
    RandomizedLeafToken,
    RankedLeaves,
    chained_key,
    hash_key,
    least_recently_used,
)
from triskele.serve.routing import LearnedGreedy, Outcome, Phase, Request, Worker
from triskele.serve.simulate import SharedPrefix

mpl.use("Agg")
from matplotlib import pyplot

PAGE = 64
KV_TOKENS = 200_000
N_GROUPS = 64
WARM_UP = 64
PROMPTS = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)
FLEETS = (4, 16, 64, 256, 1000)
GOALS = {4: 100.0, 1000: 300.0}
POLICIES: dict[str, Callable[[int], EvictionPolicy]] = {
    "lru": lambda n_pages: least_recently_used(),
    "lru, page by page": lambda n_pages: by_page(least_recently_used()),
    "rlt": lambda n_pages: RandomizedLeafToken(n_pages, random.Random(0)),
    "gittins": lambda n_pages: GittinsLeaves(n_pages, random.Random(0)),
}


def by_page(policy: RankedLeaves) -> RankedLeaves:
    """Let a policy drop one page at a time, as RLT does."""
    policy.grain = 1
    return policy


def main() -> None:
    """Measure, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all sizes, more decisions")
    full: bool = parser.parse_args().full
    prompts = PROMPTS if full else (512, 4096, 32_768)
    fleets = FLEETS if full else (4, 1000)
    rows = []
    for n_workers in fleets:
        for n_prompt in prompts:
            rows.append(decisions(n_workers, n_prompt, 400 if full else 150))
        print(f"timed decisions among {n_workers} workers", flush=True)
    evictions = eviction_times(5 if full else 3)
    path = record(
        "decision_cost",
        [*figures_of(rows), *figures_of_evictions(evictions)],
        rows=[*rows, *evictions],
        seeds=[0],
        directory=RESULTS if full else SHORT,
        notes=f"pages of {PAGE} tokens, one thread; medians; ± is half the distance of the "
        "quartiles; evictions interleaved",
    )
    plot(rows, path.with_suffix(".png"))


def decisions(n_workers: int, n_prompt: int, n_timed: int) -> dict[str, Any]:
    """Return the times of decisions among warm workers."""
    rng = np.random.default_rng(0)
    workers = tuple(Worker(f"worker-{i}", KV_TOKENS // PAGE) for i in range(n_workers))
    router = LearnedGreedy(page_size=PAGE)
    prefixes = rng.integers(0, 1 << 17, (N_GROUPS, n_prompt // 2), dtype=np.uint32)
    fill(router, workers)
    now, waiting, times, hashing = 1e6, [], [], []
    for number in range(n_timed + WARM_UP):
        own = rng.integers(0, 1 << 17, n_prompt - n_prompt // 2, dtype=np.uint32)
        tokens = np.concatenate([prefixes[rng.integers(N_GROUPS)], own])
        now += 0.5 / n_workers
        begun = time.perf_counter_ns()
        key = chained_key(tokens, PAGE)
        hashed = time.perf_counter_ns()
        worker = router.choose(Request(number, key, n_prompt), workers, now)
        times.append((time.perf_counter_ns() - begun) / 1e3)
        hashing.append((hashed - begun) / 1e3)
        waiting.append((number, worker.name))
        if len(waiting) > 2 * n_workers:
            done, name = waiting.pop(0)
            router.observe(Outcome(done, name, Phase.FIRST_TOKEN, 0.4), now)
            router.observe(Outcome(done, name, Phase.FINISHED, 0.6, n_output=8), now)
    timed = times[-n_timed:]
    low, median, high = statistics.quantiles(timed, n=4)
    return {
        "part": "decision",
        "workers": n_workers,
        "prompt": n_prompt,
        "median": round(median, 1),
        "quartiles": [round(low, 1), round(high, 1)],
        "p95": round(float(np.quantile(timed, 0.95)), 1),
        "hashing": round(statistics.median(hashing[-n_timed:]), 1),
    }


def fill(router: LearnedGreedy, workers: Sequence[Worker]) -> None:
    """Fill every worker's mirror to the brim, so that each decision has to make room."""
    page = 0
    for number in range(len(workers) * 13):
        key = hash_key(np.arange(page, page + 256))
        page += 256
        request = Request(-1 - number, key, 256 * PAGE)
        name = router.choose(request, workers, 10.0 * number).name
        router.observe(Outcome(request.id, name, Phase.FIRST_TOKEN, 0.4), 10.0 * number + 0.4)
        done = Outcome(request.id, name, Phase.FINISHED, 0.6, n_output=8)
        router.observe(done, 10.0 * number + 0.6)


def eviction_times(n_rounds: int) -> list[dict[str, Any]]:
    """Return the time per evicted page of each policy, rounds interleaved."""
    jobs = [job.key for job in SharedPrefix(page_size=16).arrivals()]
    per_page: dict[str, list[float]] = {name: [] for name in POLICIES}
    for _ in range(n_rounds):
        for name, make in POLICIES.items():
            per_page[name].append(_time_of_evictions(jobs, make))
    return [
        {"part": "eviction", "policy": name, "median": statistics.median(v), "rounds": v}
        for name, v in per_page.items()
    ]


def _time_of_evictions(keys: Sequence[bytes], make: Callable[[int], EvictionPolicy]) -> float:
    capacity = KV_TOKENS // 16
    cache = PrefixCache(capacity, make(capacity))
    n_pages, spent = 0, 0
    for key in keys:
        pin = cache.pin(key)
        missing = len(key) // 8 - pin.n_pages - cache.n_free
        if missing > 0:
            begun = time.perf_counter_ns()
            cache.evict(missing)
            spent += time.perf_counter_ns() - begun
            n_pages += missing
        cache.insert(key, pin=pin)
        cache.unpin(pin)
    return round(spent / 1e3 / n_pages, 3)


def figures_of(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield the time of a decision at 4,096 tokens, and the extremes."""
    for row in rows:
        if row["prompt"] != 4096:
            continue
        goal = GOALS.get(row["workers"])
        low, high = row["quartiles"]
        yield Figure(
            name=f"decision at 4,096 tokens, {row['workers']} workers",
            value=row["median"],
            spread=(high - low) / 2,
            unit=" µs",
            goal=None if goal is None else f"≤ {goal:g}",
            holds=None if goal is None else row["median"] <= goal,
        )
    last = max(rows, key=lambda row: (row["prompt"], row["workers"]))
    yield Figure(
        name=f"decision at {last['prompt']} tokens, {last['workers']} workers",
        value=last["median"],
        unit=" µs",
    )


def figures_of_evictions(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield the time per evicted page, and RLT's against LRU's."""
    by_policy = {row["policy"]: row for row in rows}
    for name, row in by_policy.items():
        yield Figure(
            name=f"evicted page, {name}",
            value=row["median"],
            spread=float(np.std(row["rounds"])),
            unit=" µs",
            goal="≤ 5" if name in ("rlt", "gittins") else None,
            holds=row["median"] <= 5 if name in ("rlt", "gittins") else None,
        )
    for name in ("lru", "lru, page by page"):
        ratio = by_policy["rlt"]["median"] / by_policy[name]["median"]
        yield Figure(
            name=f"evicted page, RLT over {name}", value=ratio, goal="≤ 2", holds=ratio <= 2
        )


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the time of a decision over the prompt's length, a line per fleet."""
    with pyplot.rc_context(STYLE):
        figure, axis = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
        fleets = sorted({row["workers"] for row in rows})
        colors = pyplot.colormaps["viridis"](np.linspace(0, 0.85, len(fleets)))
        for n_workers, color in zip(fleets, colors, strict=True):
            chosen = [row for row in rows if row["workers"] == n_workers]
            x = [row["prompt"] for row in chosen]
            label = f"{n_workers:,} workers"
            axis.plot(x, [row["median"] for row in chosen], "o-", ms=3, color=color, label=label)
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.9), ncols=2)
        hashed = [row for row in rows if row["workers"] == fleets[0]]
        axis.plot(
            [row["prompt"] for row in hashed],
            [row["hashing"] for row in hashed],
            ":",
            color=MUTED,
        )
        axis.annotate(
            "hashing alone",
            (hashed[-1]["prompt"], hashed[-1]["hashing"]),
            (-70, -40),
            textcoords="offset points",
            color=MUTED,
        )
        axis.axhline(1450, color=INK, linewidth=0.8)
        axis.annotate("published", (512, 1450), (0, -11), textcoords="offset points")
        axis.set(
            xscale="log", yscale="log", xlabel="tokens of the prompt", ylabel="µs per decision"
        )
        axis.set_xticks(PROMPTS, [f"{n:,}" for n in PROMPTS])
        axis.set_xlim(450, 38_000)
        axis.set_yticks([10, 30, 100, 300, 1000], ["10", "30", "100", "300", "1,000"])
        axis.minorticks_off()
        tidy(axis)
        figure.savefig(path, dpi=140)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
