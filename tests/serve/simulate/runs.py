"""Results made by hand, for what reads results."""

import numpy as np

from triskele.serve.routing.named import Policy
from triskele.serve.simulate.experiment import Trial
from triskele.serve.simulate.report import Run
from triskele.serve.simulate.result import COLUMNS, Result, Status

NAN = float("nan")


def result(
    n: int = 200,
    *,
    slowness: float = 1.0,
    n_lost: int = 0,
    n_workers: int = 4,
    predicts: bool = False,
    seed: int = 0,
) -> Result:
    """Return ``n`` requests, the last ``n_lost`` of which failed and were rejected in turn."""
    rng = np.random.default_rng(seed)
    columns = {name: np.zeros(n) for name in COLUMNS}
    columns["id"] = np.arange(n, dtype=float)
    columns["arrived"] = np.linspace(0.0, 20.0, n)
    columns["worker"] = rng.integers(0, n_workers, n).astype(float)
    columns["admitted"] = columns["arrived"] + slowness * rng.exponential(0.1, n)
    columns["first_token"] = columns["admitted"] + slowness * 0.2
    columns["finished"] = columns["first_token"] + slowness * rng.exponential(0.5, n)
    columns["n_prompt"] = np.full(n, 100.0)
    columns["n_cached"] = rng.integers(0, 100, n).astype(float)
    columns["n_output"] = columns["n_answered"] = np.full(n, 8.0)
    ttft = columns["first_token"] - columns["arrived"]
    columns["predicted_ttft"] = ttft * rng.lognormal(0.0, 0.2, n) if predicts else np.full(n, NAN)
    columns["predicted_latency"] = np.full(n, NAN)
    lost = slice(n - n_lost, n)
    columns["status"][lost] = np.resize((Status.FAILED.value, Status.REJECTED.value), n_lost)
    columns["worker"][lost] = -1.0
    for name in ("admitted", "first_token", "finished", "predicted_ttft"):
        columns[name][lost] = NAN
    workers = [f"worker-{number}" for number in range(n_workers)]
    return Result(columns, workers, page_size=16)


def run(policy: str, of: Result, *, seed: int = 0, slo: float = 2.0) -> Run:
    return Run.of(Trial(Policy.parse(policy, eviction="lru"), seed), of, slo=slo)
