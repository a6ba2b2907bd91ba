"""What a gateway costs before the same mock workers, and how it behaves when things go wrong.

CPU microseconds per request of the gateway's processes (user and system time over the measured
window), added latency, delays of server-sent events; then clients that go away and a worker that
dies and comes back. The short form measures ours against no gateway at all; ``--full`` installs
the peers from PyPI, each in an environment of its own under ``.cache/gateways``. Rounds are
interleaved, their order shuffled; figures are medians of rounds.
"""

import argparse
import random
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.gateways.client import run
from benchmarks.gateways.peers import LOGS, OURS, RIVALS, Gateway, Peer
from benchmarks.gateways.probes import DEAF, N_SEQUENTIAL, aborts, failover
from benchmarks.gateways.processes import MockWorker
from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.style import INK, MUTED, STYLE, tidy

mpl.use("Agg")
from matplotlib import pyplot

N_WORKERS = 4
DIRECT = "direct"
MAX_GAP_MS, MAX_ABORT_MS, MAX_REUSE_SECONDS = 5.0, 100.0, 2.0
REUSE_LIMIT = {True: 90.0, False: 10.0}
KINDS = ("whole", "stream", "paced")


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of load.

    ``whole`` and ``stream`` are answered at once, a stream's events in one piece; the events of
    ``paced`` come 20 ms apart, each by itself, as a worker's tokens do.
    """

    kind: str
    n_in_flight: int
    size: int

    @property
    def options(self) -> list[str]:
        """What the load client is told."""
        options = [f"--concurrency={self.n_in_flight}", f"--size={self.size}"]
        options += [] if self.kind == "whole" else ["--stream"]
        return options + (["--timed"] if self.kind == "paced" else [])

    @property
    def pace(self) -> tuple[float, float]:
        """The workers' seconds until the first token, and between events."""
        return (0.1, 0.02) if self.kind == "paced" else (0.0, 0.0)


CELLS = [Cell(kind, n, size) for kind in KINDS[:2] for n in (1, 64) for size in (2000, 16_000)]
CELLS += [Cell("paced", 1, 2000), Cell("paced", 64, 2000)]
SHORT_CELLS = [cell for cell in CELLS if cell.size == 2000]


def main() -> None:
    """Measure, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all peers, all loads, more rounds")
    parser.add_argument("--rounds", type=int, help="5 in full, else 1")
    parser.add_argument("--only", action="append", default=[], help="a gateway; may be repeated")
    options = parser.parse_args()
    full: bool = options.full
    peers = [OURS, *(RIVALS if full else ())]
    if options.only:
        peers = [peer for peer in (OURS, *RIVALS) if peer.name in options.only]
    n_rounds = options.rounds or (5 if full else 1)
    rows = probes(peers, full=full)
    rows += loads(peers, CELLS if full else SHORT_CELLS, n_rounds, 2.0 if full else 0.5)
    path = record(
        "gateway_overhead",
        list(figures_of(rows)),
        rows=rows,
        seeds=[0],
        directory=RESULTS if full else SHORT,
        notes=f"{N_WORKERS} mock workers, load client and gateway on the same machine; medians of "
        f"{n_rounds} interleaved rounds, ± is half the distance of the quartiles; "
        + ", ".join(sorted({name for peer in peers for name in peer.requirements})),
    )
    plot(rows, path.with_suffix(".png"))


def loads(
    peers: Sequence[Peer], cells: Sequence[Cell], n_rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Return one row per round, gateway and kind of load."""
    rows: list[dict[str, Any]] = []
    rng = random.Random(0)
    with ExitStack() as stack:
        workers = [stack.enter_context(MockWorker(LOGS)) for _ in range(N_WORKERS)]
        urls = [worker.url for worker in workers]
        targets = {DIRECT: (workers[0].url, workers[0].pid)}
        for peer in peers:
            gateway = stack.enter_context(Gateway(peer, urls))
            targets[peer.name] = (gateway.url, gateway.pid)
            print(f"{peer.name} is ready", flush=True)
        for number in range(n_rounds):
            for name in rng.sample(list(targets), len(targets)):
                url, pid = targets[name]
                for cell in cells:
                    for worker in workers:
                        worker.pace(*cell.pace)
                    row = {"part": "load", "round": number, "gateway": name}
                    row |= {"kind": cell.kind, "n": cell.n_in_flight, "size": cell.size}
                    try:
                        row["seen"] = run(url, [pid], *_window(cell, seconds), *cell.options)
                    except subprocess.TimeoutExpired:
                        # It has stopped to answer: it is left out from here on, and named.
                        print(f"{name} hangs: {row}", flush=True)
                        rows.append(row | {"part": "hung"})
                        del targets[name]
                        break
                    rows.append(row)
            print(f"round {number + 1} of {n_rounds}", flush=True)
    return rows


def _window(cell: Cell, seconds: float) -> list[str]:
    # One paced answer takes half a second; a slow gateway is given time for enough requests.
    slow = 2 if cell.kind == "paced" and cell.n_in_flight == 1 else 1
    n_least = 2 * cell.n_in_flight if cell.kind != "paced" else 0
    return [f"--warm={seconds / 4}", f"--seconds={seconds * slow}", f"--min-requests={n_least}"]


def probes(peers: Sequence[Peer], *, full: bool) -> list[dict[str, Any]]:
    """Return how each gateway behaves; one policy of each is enough."""
    rows: list[dict[str, Any]] = []
    for peer in peers:
        if "," in peer.name:
            continue
        with ExitStack() as stack:
            workers = [stack.enter_context(MockWorker(LOGS)) for _ in range(2)]
            gateway = stack.enter_context(Gateway(peer, [worker.url for worker in workers]))
            for stream in (False, True):
                taken = aborts(gateway.url, workers, stream=stream)
                kind = "stream" if stream else "whole"
                rows.append({"part": "abort", "gateway": peer.name, "kind": kind, "ms": taken})
        for prompt in (False, True) if peer.prompt else (False,):
            seen = failover(peer, prompt=prompt, limit=REUSE_LIMIT[full])
            rows.append({"part": "failover", "gateway": peer.name, "prompt": prompt, **seen})
        print(*(f"{row}" for row in rows if row["gateway"] == peer.name), sep="\n", flush=True)
    return rows


def figures_of(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield costs, ratios of them, added latencies and delays, and behaviour."""
    by_cell = _by_cell(rows)
    names = {name for name, _, _, _ in by_cell}
    yield from _costs(by_cell, names - {DIRECT})
    if OURS.name in names:
        yield from _ratios(by_cell, names)
        yield from _added(by_cell)
        yield from _delays(by_cell)
    for row in rows:
        if row["part"] == "hung":
            yield Figure(name=f"rounds until it hung, {row['gateway']}", value=row["round"])
    yield from _behaviour([row for row in rows if row["gateway"] == OURS.name])


ByCell = Mapping[tuple[str, str, int, int], Sequence[dict[str, Any]]]


def _by_cell(rows: Sequence[dict[str, Any]]) -> ByCell:
    """Return what was seen, round by round, of each gateway, kind, number in flight and size."""
    found: dict[tuple[str, str, int, int], list[dict[str, Any]]] = {}
    for row in rows:
        if row["part"] == "load":
            key = (row["gateway"], row["kind"], row["n"], row["size"])
            found.setdefault(key, []).append(row["seen"])
    return found


def _costs(by_cell: ByCell, names: set[str]) -> Iterator[Figure]:
    for name, kind, n, size in by_cell:
        if name in names and n == 64:
            costs = [seen["cpu_us"][0] for seen in by_cell[name, kind, n, size]]
            yield _figure(f"CPU per request, {name}, {kind}, {size:,} bytes", costs, unit=" µs")


def _ratios(by_cell: ByCell, names: set[str]) -> Iterator[Figure]:
    for peer, most in (("smg", 1.0), ("sglang-router", 1.5)):
        for name, kind, n, size in by_cell if peer in names else ():
            if name != OURS.name or n != 64:
                continue
            pairs = zip(by_cell[name, kind, n, size], by_cell[peer, kind, n, size], strict=True)
            ratios = [own["cpu_us"][0] / other["cpu_us"][0] for own, other in pairs]
            label = f"CPU per request over {peer}'s, {kind}, {size:,} bytes"
            yield _figure(label, ratios, at_most=most)


def _added(by_cell: ByCell) -> Iterator[Figure]:
    for name, kind, n, size in by_cell:
        if name != OURS.name or kind == "paced":
            continue
        pairs = list(zip(by_cell[name, kind, n, size], by_cell[DIRECT, kind, n, size], strict=True))
        for quantile in ("p50", "p99"):
            added = [own["latency"][quantile] - bare["latency"][quantile] for own, bare in pairs]
            label = f"added {quantile}, {kind}, {n} in flight, {size:,} bytes"
            yield _figure(label, added, unit=" ms")
    n_errors = sum(
        own["errors"] for key, seen in by_cell.items() if key[0] == OURS.name for own in seen
    )
    yield Figure(name="errors under load", value=n_errors, goal="0", holds=n_errors == 0)


def _delays(by_cell: ByCell) -> Iterator[Figure]:
    pairs = zip(*(by_cell[name, "stream", 1, 2000] for name in (OURS.name, DIRECT)), strict=True)
    waits = [own["ttft"]["p99"] - bare["ttft"]["p99"] for own, bare in pairs]
    label = "added time to the first event, p99, 1 in flight"
    yield _figure(label, waits, unit=" ms", at_most=MAX_GAP_MS)
    for n in (1, 64):
        seen = by_cell[OURS.name, "paced", n, 2000]
        gaps = [each["added_gap"]["p99"] for each in seen]
        label = f"added gap between events, p99, {n} in flight"
        yield _figure(label, gaps, unit=" ms", at_most=MAX_GAP_MS)
        first = [each["first_delay"]["p99"] for each in seen]
        label = f"delay of the first event, p99, {n} in flight"
        yield _figure(label, first, unit=" ms", at_most=MAX_GAP_MS)


def _behaviour(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    for row in rows:
        if row["part"] == "abort":
            slowest = max(DEAF * 1e3 if ms is None else ms for ms in row["ms"])
            yield Figure(
                name=f"abort until the worker knows, {row['kind']}, slowest of {len(row['ms'])}",
                value=slowest,
                unit=" ms",
                goal=f"< {MAX_ABORT_MS:g}",
                holds=slowest < MAX_ABORT_MS,
            )
        elif row["part"] == "failover":
            yield Figure(
                name=f"failed of {N_SEQUENTIAL} requests, one of two workers dead",
                value=row["failed"],
                goal="0",
                holds=row["failed"] == 0,
            )
            seconds = row["limit"] if row["reused"] is None else row["reused"]
            yield Figure(
                name="a worker that came back is used again after",
                value=seconds,
                unit=" s",
                goal=f"≤ {MAX_REUSE_SECONDS:g}",
                holds=seconds <= MAX_REUSE_SECONDS,
            )


def _figure(
    name: str, values: Sequence[float], *, unit: str = "", at_most: float | None = None
) -> Figure:
    """Return the median of rounds, with half the distance of the quartiles."""
    value = statistics.median(values)
    spread = None
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        spread = (high - low) / 2
    return Figure(
        name=name,
        value=round(value, 4),
        spread=spread,
        unit=unit,
        goal=None if at_most is None else f"≤ {at_most:g}",
        holds=None if at_most is None else value <= at_most,
    )


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw CPU per request at 64 in flight, and the added latency of one at a time."""
    by_cell = _by_cell(rows)
    names = list(dict.fromkeys(name for name, _, _, _ in by_cell if name != DIRECT))
    names = [name for name in names if (name, "paced", 64, 2000) in by_cell]
    cost = {name: _median(by_cell[name, "whole", 64, 2000], "cpu_us", 0) for name in names}
    names.sort(key=cost.__getitem__, reverse=True)
    colors = dict(zip(KINDS, (INK, "#2a78b5", "#d1762b"), strict=True))
    labels = {
        "whole": "answered whole",
        "stream": "stream, written at once",
        "paced": "stream, 20 ms between events",
    }
    with pyplot.rc_context(STYLE):
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(9, 1.4 + 0.42 * len(names)), layout="constrained", sharey=True
        )
        for height, name in enumerate(names):
            for shift, kind in zip((0.2, 0.0, -0.2), KINDS, strict=True):
                costs = [seen["cpu_us"][0] for seen in by_cell[name, kind, 64, 2000]]
                middle = statistics.median(costs)
                at = height + shift
                left.plot([min(costs), max(costs)], [at, at], color=colors[kind], linewidth=1)
                left.plot(middle, at, "o", ms=4, color=colors[kind])
                left.annotate(
                    f"{middle:,.0f}", (max(costs), at), (5, -3), textcoords="offset points",
                    fontsize=7, color=MUTED,
                )  # fmt: skip
                part = "first_delay" if kind == "paced" else "latency"
                bare = by_cell[DIRECT, kind, 1, 2000]
                ends = [
                    max(
                        _median(by_cell[name, kind, 1, 2000], part, q) - _median(bare, part, q),
                        0.01,
                    )
                    for q in ("p50", "p99")
                ]
                right.plot(ends, [at, at], color=colors[kind], linewidth=1)
                right.plot(ends[0], at, "o", ms=4, color=colors[kind])
        for kind in KINDS:
            left.plot([], [], "o-", ms=4, color=colors[kind], label=labels[kind])
        left.legend(frameon=False, fontsize=7.5, loc="lower left")
        left.set(xscale="log", xlabel="CPU µs per request, 64 in flight")
        left.set_yticks(range(len(names)), names)
        left.margins(x=0.15)
        right.set(xscale="log", xlabel="added ms, one at a time (p50 to p99)")
        tidy(left, axis="x")
        tidy(right, axis="x")
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def _median(seen: Sequence[dict[str, Any]], part: str, key: str | int) -> float:
    return statistics.median(each[part][key] for each in seen)


if __name__ == "__main__":
    main()
