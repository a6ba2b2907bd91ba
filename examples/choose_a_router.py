"""Which router and which eviction policy would serve this traffic best? A few seconds, CPU."""

from random import Random

import numpy as np

from triskele.serve.cache import GittinsLeaves, least_recently_used
from triskele.serve.routing import CacheAware, LearnedGreedy
from triskele.serve.simulate import COSTS, Fleet, SharedPrefix, simulate

EVICTIONS = {"lru": lambda n_pages, rng: least_recently_used(), "gittins": GittinsLeaves}

traffic = SharedPrefix(groups=128, prompts_per_group=24, ratio=0.5, rate=12.0, seed=0)
print(f"{traffic.n_jobs} requests at {traffic.rate:g} per second")

for eviction, make in EVICTIONS.items():
    # Every worker draws for itself, and so does the router's mirror of each.
    fleet = Fleet(
        costs=[COSTS["llama-8b-l40"]] * 4,
        eviction=lambda n_pages, number, make=make: make(n_pages, Random(number)),
    )
    routers = {
        "cache-aware": CacheAware(np.random.default_rng(0)),
        "lbgr": LearnedGreedy(
            page_size=traffic.page_size,
            eviction=lambda n_pages, make=make: make(n_pages, Random("mirror")),
        ),
    }
    for name, router in routers.items():
        s = simulate(traffic, router, fleet).summary(slo=1.0)
        print(
            f"{name:>12} + {eviction:<8} hit {s.hit_rate:5.1%}   "
            f"TTFT P50 {s.ttft_p50:.2f} s, P95 {s.ttft_p95:.2f} s   "
            f"within 1 s: {s.goodput:.1f} of {s.throughput:.1f} per second"
        )
