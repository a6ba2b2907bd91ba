"""A simulator of serving fleets: workloads, workers, and what became of every request.

>>> fleet = Fleet(costs=[COSTS["llama-8b-l40"]] * 4, eviction=lambda n_pages, _: Sieve())
>>> result = simulate(SharedPrefix(rate=12), LearnedGreedy(page_size=16), fleet)
>>> result.summary().ttft_p95
"""

from triskele.serve.simulate.cost import COSTS, CostModel, fit_cost
from triskele.serve.simulate.dialogues import Dialogues
from triskele.serve.simulate.documents import Documents
from triskele.serve.simulate.long_document import LongDocument
from triskele.serve.simulate.multi_turn import MultiTurn
from triskele.serve.simulate.replica import Batching
from triskele.serve.simulate.result import Result, Status, Summary
from triskele.serve.simulate.shared_prefix import SharedPrefix
from triskele.serve.simulate.simulator import Change, Fleet, simulate
from triskele.serve.simulate.synthetic import Synthetic
from triskele.serve.simulate.traces import AzureTrace, MooncakeTrace
from triskele.serve.simulate.workload import Job, Workload

__all__ = [
    "AzureTrace",
    "Batching",
    "COSTS",
    "Change",
    "CostModel",
    "Dialogues",
    "Documents",
    "Fleet",
    "Job",
    "LongDocument",
    "MooncakeTrace",
    "MultiTurn",
    "Result",
    "SharedPrefix",
    "Status",
    "Summary",
    "Synthetic",
    "Workload",
    "fit_cost",
    "simulate",
]
