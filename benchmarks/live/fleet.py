"""Engine workers and a gateway before them, each a process, fresh caches in all of them.

A worker is held to a share of a processor: it computes for real, then rests. So the workers of a
small machine are as fast as each other and as they would be alone, as those of a fleet are; without
that, workers that compute would be faster for every worker that has nothing to do.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateways.processes import Process, call
from benchmarks.record import ROOT
from triskele.serve.routing.named import Policy

LOGS = ROOT / ".cache" / "live"
THREADS = {"OMP_NUM_THREADS": "1"}
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a fleet is made of.

    Attributes
    ----------
    n_workers
        Engine processes of one thread each.
    model
        Random weights by size, as the engine's command takes it.
    cpu_share
        Of a processor, for each worker.
    n_pages, page_size
        Of each worker's cache; the gateway hashes pages of the same size.
    batch_tokens, running
        Limits of an iteration.
    """

    n_workers: int
    model: str
    cpu_share: float
    n_pages: int
    page_size: int
    batch_tokens: int = 2048
    running: int = 64

    @property
    def kv_tokens(self) -> int:
        """Tokens of each worker's cache."""
        return self.n_pages * self.page_size


@dataclass(frozen=True, slots=True)
class Live:
    """A fleet that takes requests.

    Attributes
    ----------
    gateway
        Its address.
    workers
        Addresses of the workers.
    steps
        Files to which the workers write their steps.
    """

    gateway: str
    workers: list[str]
    steps: list[Path]


@contextmanager
def fleet(hardware: Hardware, policy: Policy, *, seed: int) -> Iterator[Live]:
    """Start a fleet; end all of it afterwards.

    Parameters
    ----------
    seed
        Of policies that draw.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        steps = [folder / f"steps-{number}.csv" for number in range(hardware.n_workers)]
        processes = [
            stack.enter_context(_worker(hardware, policy.eviction, number, seed, path))
            for number, path in enumerate(steps)
        ]
        workers = [f"http://127.0.0.1:{each.first_line()['port']}" for each in processes]
        command = [sys.executable, "-m", "triskele.serve", "--port", "0"]
        command += [word for url in workers for word in ("--upstream", url)]
        command += ["--router", policy.router, "--eviction", policy.eviction]
        command += ["--prefix-tokens", str(hardware.page_size)]
        process = stack.enter_context(Process(command, LOGS / "gateway.log", environment=THREADS))
        gateway = f"http://127.0.0.1:{process.first_line()['port']}"
        _wait_until_ready(gateway, hardware.n_workers)
        yield Live(gateway, workers, steps)


def _worker(hardware: Hardware, eviction: str, number: int, seed: int, steps: Path) -> Process:
    given = {
        "--random": hardware.model,
        "--device": "cpu",
        "--threads": 1,
        "--cpu-share": hardware.cpu_share,
        "--n-pages": hardware.n_pages,
        "--page-size": hardware.page_size,
        "--eviction": eviction,
        "--max-running": hardware.running,
        "--max-batch-tokens": hardware.batch_tokens,
        "--max-waiting": 1 << 16,
        "--seed": hardware.n_workers * seed + number,
        "--steps": steps,
        # Requests that a run has no time for are not waited for.
        "--drain-seconds": 0.1,
    }
    words = [str(word) for pair in given.items() for word in pair]
    command = [sys.executable, "-m", "triskele.serve.engine", *words]
    return Process(command, LOGS / f"worker-{number}.log", environment=THREADS)


def _wait_until_ready(gateway: str, n_workers: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        states = [worker["state"] for worker in call(f"{gateway}/admin/status")["workers"]]
        if states.count("ready") == n_workers:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{n_workers} workers were not ready in time; see {LOGS}")
