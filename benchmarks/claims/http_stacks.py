"""What a proxied request costs on each HTTP stack that a gateway in Python could stand on.

Bare proxies (``benchmarks/stacks``) before one mock worker: CPU microseconds per request of 2 kB
at 64 in flight, answered whole, as a stream written at once (18 events in few reads), and as a
stream whose events come 20 ms apart, each by itself. Rounds are interleaved.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.gateways.client import run
from benchmarks.gateways.environments import PLACE, environment
from benchmarks.gateways.processes import MockWorker, Process
from benchmarks.record import RESULTS, SHORT, Figure, record

LOGS = PLACE / "logs"
REQUIREMENTS = (
    "aiohttp==3.14.5",
    "httptools==0.9.0",
    "httpx==0.28.1",
    "starlette==1.10.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
)
# What is measured, and whether it needs more than the project itself installs.
STACKS = {
    "starlette_httpx": True,
    "asgi_aiohttp": True,
    "aiohttp_both": True,
    "house": False,
    "protocols": False,
}
KINDS = {
    "whole": ((0.0, 0.0), ()),
    "stream": ((0.0, 0.0), ("--stream",)),
    "paced": ((0.05, 0.02), ("--stream", "--timed", "--min-requests=192")),
}


def main() -> None:
    """Measure, print one line per figure, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all stacks, more rounds")
    full: bool = parser.parse_args().full
    names = [name for name, foreign in STACKS.items() if full or not foreign]
    rows = measure(names, n_rounds=7 if full else 1, seconds=2.0 if full else 1.0)
    record(
        "http_stacks",
        figures_of(rows, names),
        rows=rows,
        seeds=[0],
        directory=RESULTS if full else SHORT,
        notes="64 in flight, bodies of 2 kB, one mock worker; medians of rounds, ± is half of "
        f"their range; {', '.join(REQUIREMENTS)}",
    )


def measure(names: Sequence[str], *, n_rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return one row per round, stack and kind of request."""
    rows, order = [], random.Random(0)
    with MockWorker(LOGS) as worker:
        proxies = {name: proxy(name, worker.url) for name in names}
        ports = {name: process.first_line()["port"] for name, process in proxies.items()}
        try:
            for number in range(n_rounds):
                for name in order.sample(names, len(names)):
                    for kind, (pace, options) in KINDS.items():
                        worker.pace(*pace)
                        url = f"http://127.0.0.1:{ports[name]}"
                        pids = [proxies[name].pid]
                        seen = run(url, pids, f"--seconds={seconds}", *options)
                        rows.append({"round": number, "stack": name, "kind": kind, **seen})
                        print(f"{name} {kind}: {seen['cpu_us'][0]} µs", flush=True)
        finally:
            for process in proxies.values():
                process.stop()
    return rows


def proxy(name: str, upstream: str) -> Process:
    """Start a bare proxy."""
    foreign = STACKS[name]
    python = environment("http_stacks", REQUIREMENTS) / "python" if foreign else sys.executable
    command = [str(python), "-m", f"benchmarks.stacks.{name}", upstream]
    return Process(command, LOGS / f"{name}.log")


def figures_of(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[Figure]:
    """Return the median cost of each stack and kind."""
    figures = []
    for name in names:
        for kind in KINDS:
            chosen = [row for row in rows if row["stack"] == name and row["kind"] == kind]
            costs = [row["cpu_us"][0] for row in chosen]
            figures.append(
                Figure(
                    name=f"{name}, {kind}",
                    value=statistics.median(costs),
                    spread=(max(costs) - min(costs)) / 2,
                    unit=" µs",
                )
            )
    return figures


if __name__ == "__main__":
    main()
