"""Claim: learned eviction closes a quarter of the gap between LRU and Belady on real conversations.

One worker, one request at a time: what is cached of the prompt is pinned, prompt and answer are
inserted, the pin is let go. A hit is a page of the prompt found. Belady's rule and unlimited room
bound every policy. First come exact counts on Mooncake's conversation trace, its last blocks
counted as if they were full, so that a bookkeeping error would show; then every policy

- on that trace, by capacity;
- with room for shares of the pages that are used more than once: on the same trace as a worker sees
  it (whole blocks and answers), on shared prefixes in random and in round-robin order, on
  conversations whose users think for 10 s and for 60 s, on questions on long documents, and on
  requests drawn by how recently their key was used, where nothing can be learned that LRU misses.

    python -m benchmarks.claims.eviction --data PATH            four sizes, one seed
    python -m benchmarks.claims.eviction --data PATH --full     nine sizes, three seeds; 5 minutes

PATH holds mooncake-conversation.jsonl.xz.
"""

import argparse
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.serving import played
from benchmarks.style import INK, MUTED, STYLE, tidy
from triskele.serve.cache import (
    EvictionPolicy,
    GittinsLeaves,
    PrefixCache,
    RandomizedLeafToken,
    RandomLeaf,
    Sieve,
    first_in_first_out,
    hash_key,
    least_frequently_used,
    least_recently_used,
    segmented,
)
from triskele.serve.cache.offline import clairvoyant_hits, number_prefixes, unlimited_hits
from triskele.serve.cache.radix import HASH_BYTES
from triskele.serve.simulate import LongDocument, MooncakeTrace, MultiTurn, SharedPrefix
from triskele.serve.simulate.workload import Workload

TRACE = "mooncake-conversation.jsonl.xz"
MOONCAKE = "Mooncake conversations"
# By capacity in blocks of 512 tokens: hits of 288,500 under LRU and under Belady's rule. LRU's are
# those of another program, block by block in an ordered dictionary.
REFERENCE = {
    500: (12_168, 39_459),
    1_000: (12_847, 55_019),
    2_000: (15_665, 73_563),
    5_000: (32_260, 98_448),
    10_000: (61_046, 105_710),
    20_000: (83_035, 105_710),
    30_000: (93_978, 105_710),
    50_000: (102_290, 105_710),
    100_000: (104_924, 105_710),
}
UNLIMITED = 0.3664
CLAIMED = (2_000, 5_000, 10_000)
GOAL_CLOSED, GOAL_LOSS = 0.25, -0.02
GOAL_PER_PAGE, GOAL_PER_REQUEST, GOAL_RLT = 5.0, 50.0, 2.0
SHARES = (0.05, 0.1, 0.2, 0.4)
ANSWERED_AFTER = 1.0
LRU, RLT, OURS, BELADY = "LRU", "RLT", "Gittins (ours)", "Belady"
POLICIES: dict[str, Callable[[int, int], EvictionPolicy]] = {
    LRU: lambda _, __: least_recently_used(),
    "LFU": lambda _, __: least_frequently_used(),
    "SLRU": lambda _, __: segmented(),
    "FIFO": lambda _, __: first_in_first_out(),
    "SIEVE": lambda _, __: Sieve(),
    RLT: lambda capacity, seed: RandomizedLeafToken(capacity, random.Random(seed)),
    "random leaf": lambda _, seed: RandomLeaf(random.Random(seed)),
    OURS: lambda capacity, seed: GittinsLeaves(capacity, random.Random(seed)),
}
RANDOMIZED = (RLT, "random leaf", OURS)
COLORS = {
    LRU: "#2f6690",
    "LFU": "#b9c0c7",
    "SLRU": "#7fa8a0",
    "FIFO": "#d8b9a0",
    "SIEVE": "#9d8ec1",
    RLT: "#c9952b",
    "random leaf": "#8a929b",
    OURS: "#b5473c",
}
Row = dict[str, Any]
Requests = list[tuple[bytes, bytes]]
"""Key of the prompt, and of prompt and answer."""


def main() -> None:
    """Run every policy on every workload, print one line per figure, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=f"folder with {TRACE}")
    parser.add_argument("--full", action="store_true", help="nine sizes, three seeds")
    args = parser.parse_args()
    path = args.data / TRACE
    if not path.is_file():
        parser.error(f"{args.data} holds no {TRACE}")
    seeds = (1, 2, 3) if args.full else (1,)
    trace = [(job.key, job.key) for job in MooncakeTrace(path, partial_last=True).arrivals()]
    rows: list[Row] = []
    for capacity in REFERENCE if args.full else (500, *CLAIMED):
        rows.extend(measure(MOONCAKE, trace, capacity, capacity, seeds))
        print(f"{MOONCAKE}: {capacity} blocks", flush=True)
    for name, make in workloads(path).items():
        for seed in seeds:
            requests = make(seed)
            n_reused = reused_pages(requests)
            for share in SHARES if args.full else SHARES[2:3]:
                rows.extend(measure(name, requests, int(share * n_reused), share, (seed,)))
        print(f"{name}: {n_reused} pages are used more than once", flush=True)
    written = record(
        "eviction",
        list(figures_of(rows)),
        rows=rows,
        seeds=seeds,
        directory=RESULTS if args.full else SHORT,
        notes="Mooncake's conversation trace (12,031 requests, blocks of 512 tokens) unless another"
        " workload is named; shares are of the distance from LRU to Belady's rule, means of the"
        " seeds; the worst gain is over all workloads and sizes, hits of all seeds together; times"
        " are the best of the seeds, on one core, hashing left out",
    )
    plot(rows, written.with_suffix(".png"))


def workloads(path: Path) -> dict[str, Callable[[int], Requests]]:
    """Return the other workloads by name; each is made anew from a seed."""
    return {
        "with answers, whole blocks": lambda _: served(MooncakeTrace(path)),
        "shared prefix, half": lambda seed: served(SharedPrefix(seed=seed)),
        "shared prefix, 80 %": lambda seed: served(SharedPrefix(ratio=0.8, seed=seed)),
        "shared prefix, round robin": lambda seed: served(
            SharedPrefix(order="round_robin", seed=seed)
        ),
        "multi-turn, think 10 s": lambda seed: served(MultiTurn(conversations=512, seed=seed)),
        "multi-turn, think 60 s": lambda seed: served(
            MultiTurn(conversations=512, think=60.0, seed=seed)
        ),
        "long documents": lambda seed: served(LongDocument(seed=seed)),
        "recency only": by_recency,
    }


def served(workload: Workload) -> Requests:
    """Return a workload's requests in order of time, each answered after the same time."""
    return [(job.key, job.key_after) for job in played(workload, ANSWERED_AFTER)]


def by_recency(seed: int, *, n_keys: int = 2000, n_requests: int = 6000) -> Requests:
    """Return requests whose key is drawn by a power law of how many were used since."""
    rng = random.Random(1000 + seed)
    weights = list(accumulate((place + 1) ** -1.3 for place in range(n_keys)))
    stack = list(range(n_keys))
    requests = []
    for place in rng.choices(range(n_keys), cum_weights=weights, k=n_requests):
        stack.insert(0, stack.pop(place))
        key = hash_key(range(10 * stack[0], 10 * stack[0] + 10))
        requests.append((key, key))
    return requests


def reused_pages(requests: Requests) -> int:
    """Return how many different pages are used more than once."""
    numbers = number_prefixes((after for _, after in requests), HASH_BYTES)
    n_uses = Counter(page for request in numbers for page in request)
    return sum(n > 1 for n in n_uses.values())


def measure(
    workload: str, requests: Requests, capacity: int, size: float, seeds: Sequence[int]
) -> Iterator[Row]:
    """Yield a row per policy and seed, and one each for Belady's rule and for unlimited room."""
    numbers = number_prefixes((after for _, after in requests), HASH_BYTES)
    n_asked = sum(len(key) for key, _ in requests) // HASH_BYTES
    place = {"workload": workload, "size": size, "capacity": capacity, "asked": n_asked}
    found = {BELADY: clairvoyant_hits(numbers, capacity), "unlimited": unlimited_hits(numbers)}
    for bound, n_found in found.items():
        yield {**place, "policy": bound, "seed": seeds[0], "found": n_found}
    for policy, make in POLICIES.items():
        for seed in seeds if policy in RANDOMIZED else seeds[:1]:
            cache = PrefixCache(capacity, make(capacity, seed))
            began = time.process_time()
            for key, after in requests:
                pin = cache.pin(key)
                cache.insert(after, pin=pin)
                cache.unpin(pin)
            took = 1e6 * (time.process_time() - began)
            account = cache.account
            yield {
                **place,
                "policy": policy,
                "seed": seed,
                "found": account.n_found,
                "evicted": account.n_evicted,
                "us_per_request": round(took / len(requests), 2),
                "us_per_page": round(took / max(1, account.n_evicted), 3),
            }


def figures_of(rows: list[Row]) -> Iterator[Figure]:
    """Yield the exact counts, the shares closed, the worst gain, and what a decision costs."""
    trace = [row for row in rows if row["workload"] == MOONCAKE]
    unlimited = _hit_rate(next(row for row in trace if row["policy"] == "unlimited"))
    yield Figure(
        name="hit rate with unlimited room",
        value=unlimited,
        goal=f"{UNLIMITED}",
        holds=round(unlimited, 4) == UNLIMITED,
    )
    n_wrong = sum(
        row["found"] != REFERENCE[row["capacity"]][row["policy"] == BELADY]
        for row in trace
        if row["policy"] in (LRU, BELADY)
    )
    yield Figure(
        name="counts of LRU and Belady that differ from the reference",
        value=n_wrong,
        goal="0",
        holds=n_wrong == 0,
    )
    for policy in (OURS, RLT):
        for capacity in CLAIMED:
            closed = _closed(trace, policy, capacity)
            mean = statistics.fmean(closed)
            is_ours = policy == OURS
            yield Figure(
                name=f"share of the way from LRU to Belady, {policy}, {capacity:,} blocks",
                value=100 * mean,
                unit=" %",
                spread=100 * statistics.stdev(closed) if len(closed) > 1 else None,
                goal=f"≥ {100 * GOAL_CLOSED:g} %" if is_ours else None,
                holds=mean >= GOAL_CLOSED if is_ours else None,
            )
    gains = _gains(rows)
    worst = min(gains, key=gains.__getitem__)
    yield Figure(
        name=f"worst gain in hits over LRU ({worst[0]}, size {worst[1]:g})",
        value=100 * gains[worst],
        unit=" %",
        goal=f"≥ {100 * GOAL_LOSS:g} %",
        holds=gains[worst] >= GOAL_LOSS,
    )
    for workload in dict.fromkeys(row["workload"] for row in rows):
        own = [gain for (name, _), gain in gains.items() if name == workload]
        if own:
            yield Figure(
                name=f"median gain in hits over LRU, {workload}",
                value=100 * statistics.median(own),
                unit=" %",
            )
    yield from _costs([row for row in trace if row["capacity"] == CLAIMED[1]])


def _costs(rows: list[Row]) -> Iterator[Figure]:
    """Yield what a request, and all that belongs to it, costs per evicted page."""
    per_page, per_request = (
        {name: min(row[unit] for row in rows if row["policy"] == name) for name in POLICIES}
        for unit in ("us_per_page", "us_per_request")
    )
    for policy in (RLT, OURS):
        yield Figure(
            name=f"time per evicted page, {policy}",
            value=per_page[policy],
            unit=" µs",
            goal=f"≤ {GOAL_PER_PAGE:g} µs",
            holds=per_page[policy] <= GOAL_PER_PAGE,
        )
    yield Figure(
        name="time per evicted page, RLT relative to LRU",
        value=per_page[RLT] / per_page[LRU],
        goal=f"≤ {GOAL_RLT:g}",
        holds=per_page[RLT] <= GOAL_RLT * per_page[LRU],
    )
    yield Figure(
        name=f"time per request, {OURS}",
        value=per_request[OURS],
        unit=" µs",
        goal=f"≤ {GOAL_PER_REQUEST:g} µs",
        holds=per_request[OURS] <= GOAL_PER_REQUEST,
    )
    yield Figure(name=f"time per request, {LRU}", value=per_request[LRU], unit=" µs")


def _gains(rows: list[Row]) -> dict[tuple[str, float], float]:
    """Return ours over LRU by workload and size, where LRU hits at all."""
    gains = {}
    for place in dict.fromkeys((row["workload"], row["size"]) for row in rows):
        here = [row for row in rows if (row["workload"], row["size"]) == place]
        ours, lru = _mean_found(here, OURS), _mean_found(here, LRU)
        if lru:
            gains[place] = ours / lru - 1
    return gains


def _mean_found(rows: list[Row], policy: str) -> float:
    return statistics.fmean(row["found"] for row in rows if row["policy"] == policy)


def _closed(rows: list[Row], policy: str, capacity: int) -> list[float]:
    """Return for each seed how much of the way from LRU to Belady's rule a policy goes."""
    here = [row for row in rows if row["capacity"] == capacity]
    lru, best = _mean_found(here, LRU), _mean_found(here, BELADY)
    return [(row["found"] - lru) / (best - lru) for row in here if row["policy"] == policy]


def _hit_rate(row: Row) -> float:
    return float(row["found"] / row["asked"])


def plot(rows: list[Row], path: Path) -> None:
    """Draw hit rates and shares closed over the capacity, and the shares on every workload."""
    trace = [row for row in rows if row["workload"] == MOONCAKE]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            1, 3, figsize=(13, 4.7), layout="constrained", width_ratios=(1, 1, 1.15)
        )
        _rates(axes[0], trace)
        _shares(axes[1], trace)
        _by_workload(axes[2], rows)
        for axis in axes:
            tidy(axis)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False)
        figure.savefig(path, dpi=140)
        pyplot.close(figure)


def _rates(axis: Any, trace: list[Row]) -> None:
    capacities = sorted({row["capacity"] for row in trace})
    best = [_mean_rate(trace, BELADY, capacity) for capacity in capacities]
    axis.plot(capacities, best, color=INK, linewidth=1.2, linestyle="--")
    axis.annotate("Belady", (capacities[1], best[1]), (-6, 5), ha="right", **_POINTS)
    for policy, color in COLORS.items():
        rates = [_mean_rate(trace, policy, capacity) for capacity in capacities]
        axis.plot(capacities, rates, color=color, label=policy, **_width(policy))
    axis.axhline(100 * UNLIMITED, color=MUTED, linewidth=0.8)
    axis.annotate("unlimited room", (capacities[0], 100 * UNLIMITED), (0, 3), **_POINTS)
    axis.set(xscale="log", ylim=(0, 40), xlabel="capacity in blocks of 512 tokens")
    axis.set_title("hit rate in %, Mooncake conversations", loc="left", fontsize=10)
    _sizes(axis, capacities)


def _shares(axis: Any, trace: list[Row]) -> None:
    capacities = sorted({row["capacity"] for row in trace})
    for policy, color in COLORS.items():
        closed = [100 * statistics.fmean(_closed(trace, policy, size)) for size in capacities]
        axis.plot(capacities, closed, color=color, **_width(policy))
    axis.axhline(100 * GOAL_CLOSED, color=INK, linewidth=0.8, linestyle=":")
    axis.annotate("goal", (capacities[-1], 100 * GOAL_CLOSED), (0, 3), ha="right", **_POINTS)
    axis.set(xscale="log", ylim=(-75, 40), xlabel="capacity in blocks of 512 tokens")
    axis.set_title("% of the way from LRU to Belady", loc="left", fontsize=10)
    _sizes(axis, capacities)


def _sizes(axis: Any, capacities: list[int]) -> None:
    labels = [f"{size / 1000:g}k" if size != 30_000 else "" for size in capacities]
    axis.set_xticks(capacities, labels)
    axis.minorticks_off()


def _by_workload(axis: Any, rows: list[Row]) -> None:
    names = [name for name in dict.fromkeys(row["workload"] for row in rows) if name != MOONCAKE]
    for height, name in enumerate(reversed(names)):
        own = [row for row in rows if row["workload"] == name and row["size"] == SHARES[2]]
        lru, best = _mean_found(own, LRU), _mean_found(own, BELADY)
        for policy, color in COLORS.items():
            closed = 100 * (_mean_found(own, policy) - lru) / (best - lru)
            axis.plot(
                max(closed, -75),
                height,
                marker="o" if closed >= -75 else "<",
                color=color,
                markersize=8 if policy == OURS else 5.5,
                zorder=_width(policy)["zorder"],
            )
    axis.set(xlim=(-80, 100), ylim=(-0.6, len(names) - 0.4), xlabel="% of the way (◂ beyond)")
    axis.set_yticks(range(len(names)), list(reversed(names)))
    title = f"with room for {100 * SHARES[2]:g} % of the pages used again"
    axis.set_title(title, loc="left", fontsize=10)


def _mean_rate(rows: list[Row], policy: str, capacity: int) -> float:
    here = [row for row in rows if row["policy"] == policy and row["capacity"] == capacity]
    return 100 * statistics.fmean(map(_hit_rate, here))


_POINTS = {"textcoords": "offset points", "fontsize": 8}


def _width(policy: str) -> dict[str, float]:
    if policy == OURS:
        return {"linewidth": 2.2, "zorder": 3}
    return {"linewidth": 1.3, "zorder": 2.5 if policy == LRU else 2}


if __name__ == "__main__":
    main()
