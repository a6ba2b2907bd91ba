"""Routers: which worker a request goes to. LBGR, and the policies of its peers.

>>> router = LearnedGreedy(page_size=16)
>>> worker = router.choose(Request(1, hash_key(hashes), n_prompt=900), workers, now)
>>> router.observe(Outcome(1, worker.name, Phase.FINISHED, latency=0.8, n_output=40), now)
"""

from triskele.serve.routing.accuracy import ErrorReport
from triskele.serve.routing.affinity import CacheAware, PrefixAffinity
from triskele.serve.routing.baselines import (
    ConsistentHash,
    least_loaded,
    power_of_two,
    random_choice,
    round_robin,
)
from triskele.serve.routing.learned import LearnedGreedy, Pricing
from triskele.serve.routing.overlap import OverlapCost
from triskele.serve.routing.router import CacheListener, Outcome, Phase, Request, Router, Worker

__all__ = [
    "CacheAware",
    "CacheListener",
    "ConsistentHash",
    "ErrorReport",
    "LearnedGreedy",
    "Outcome",
    "OverlapCost",
    "Phase",
    "PrefixAffinity",
    "Pricing",
    "Request",
    "Router",
    "Worker",
    "least_loaded",
    "power_of_two",
    "random_choice",
    "round_robin",
]
