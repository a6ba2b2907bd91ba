"""Claim: whatever happens to workers, clients and the gateway, no request is lost or doubled.

Four workers, each a process, behind the gateway with a journal, learned state and API keys, at
80 % of what they can serve, which is measured first. A seeded script kills workers and starts them
again, hangs them, slows them down, lets them answer with errors, half answers or none; clients
leave before and during answers; the gateway is terminated, killed, and started again. Clients check
every byte. ``--full`` takes half an hour; ``--engine`` has embedded engines as workers.
"""

import argparse
import asyncio
import json
import random
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.request import Request

import matplotlib as mpl
import numpy as np
import uvloop

from benchmarks.chaos.client import CONTENT, Asked, Clients, Fate
from benchmarks.chaos.faults import DONE, GATEWAY, TOLD, Fault, script
from benchmarks.chaos.site import KEY, Sample, Site
from benchmarks.chaos.verdict import Books, Judged, balance, computed_twice, growth, judge
from benchmarks.gateways.client import PATH
from benchmarks.gateways.processes import OPENER
from benchmarks.record import RESULTS, SHORT, Figure, record
from benchmarks.style import INK, MUTED, STYLE, tidy

mpl.use("Agg")
from matplotlib import pyplot

N_WORKERS = 4
SHARE = 0.8
N_SATURATING = 48
GOAL_FAILED, GOAL_GROWTH, GOAL_BLOCKS = 0.1, 1.0, 2.0
# A look inside collects garbage, which takes some milliseconds.
BLOCKS_SECONDS = 10
FULL_SECONDS, LONG_SECONDS, SHORT_SECONDS = 1800.0, 600.0, 60.0
N_ENGINE_REQUESTS, N_ENGINE_TOKENS = 64, 16
REASONS = ("worker broke off", "gateway killed", "connection closed at a drain")
POINTS = ("C1", "C3", "C4", "C8")
WORDS = ("red", "green", "blue", "black", "white", "round", "square", "and", "or", "not")


def main() -> None:
    """Run, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="half an hour")
    parser.add_argument("--engine", action="store_true", help="embedded engines as workers")
    parser.add_argument("--seconds", type=float, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of the script and the clients")
    parser.add_argument("--keep", type=Path, help="folder for logs and journal, kept")
    options = parser.parse_args()
    seconds = options.seconds or (FULL_SECONDS if options.full else SHORT_SECONDS)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = Run(folder, seconds, seed=options.seed, engine=options.engine)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run.go())
        judged = judge(run.fates, run.site.marks)
        books = balance(judged, run.site.journal, run.site.marks)
        twice = computed_twice(folder)
        if options.keep is not None:
            lines = [json.dumps({**asdict(each.fate), "reason": each.reason}) for each in judged]
            (folder / "fates.jsonl").write_text("\n".join(lines), encoding="utf-8")
            marks = [asdict(mark) for mark in run.site.marks]
            (folder / "marks.json").write_text(json.dumps(marks), encoding="utf-8")
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    rows = rows_of(run, judged)
    path = record(
        "chaos_engine" if options.engine else "chaos",
        list(figures_of(run, judged, books, twice)),
        rows=rows,
        seeds=[options.seed],
        directory=RESULTS if options.full else SHORT,
        notes=f"{seconds:g} s at {SHARE:.0%} of {run.capacity:.0f}/s, {N_WORKERS} workers, "
        f"{run.site.n_lives} lives of the gateway; "
        f"faults: {_listed(Counter(mark.kind for mark in run.site.marks))}; "
        f"outcomes: {_listed(Counter(fate.outcome for fate in run.fates))}",
    )
    plot(rows, path.with_suffix(".png"))
    for each in judged:
        if is_unexplained(each):
            print("unexplained:", each.fate)
    for name in ("missing", "twice", "unknown", "different", "taken_but_dropped"):
        if found := getattr(books, name):
            print(f"journal, {name}: {found[:10]}")


class Run:
    """One run, and all that was seen in it."""

    def __init__(self, folder: Path, seconds: float, *, seed: int, engine: bool) -> None:
        self.seconds = seconds
        self.engine = engine
        self.fates: list[Fate] = []
        self.samples: list[Sample] = []
        self.capacity = 0.0
        self.began = 0.0
        self.left_over: dict[str, float] = {}
        self.n_unasked = 0
        self.status = -1
        self._seed = seed
        self.site = Site(folder, N_WORKERS, engine=engine)

    async def go(self) -> None:
        """Measure the capacity, bring everything about, tidy up."""
        site = self.site
        try:
            await site.ready(N_WORKERS)
            idle_tasks = await asyncio.to_thread(site.tasks)
            requests = await asyncio.to_thread(self._engine_requests) if self.engine else None
            rng = random.Random(self._seed)
            clients = Clients(site.port, KEY, rng, self.fates.append, requests)
            await self._measure(clients)
            rate = SHARE * self.capacity
            print(f"capacity {self.capacity:.1f} requests/s, load {rate:.1f}", flush=True)
            self.began = time.monotonic()
            watch = asyncio.create_task(self._watch(clients))
            kinds = DONE if self.engine else (*DONE, *TOLD)
            pause = 20.0 if self.seconds >= LONG_SECONDS else 0.08 * self.seconds
            plan = script(
                self.seconds, N_WORKERS, random.Random(self._seed), kinds=kinds, pause=pause
            )
            gate = asyncio.Lock()
            async with asyncio.TaskGroup() as group:
                for fault in plan:
                    group.create_task(self._bring_about(fault, gate))
                group.create_task(clients.open_loop(rate, self.seconds))
            clients.close()
            await asyncio.sleep(2.0)
            watch.cancel()
            await asyncio.to_thread(self._look_over, idle_tasks)
            self.n_unasked = clients.n_unasked
            self.status = await asyncio.to_thread(site.finish)
        finally:
            site.stop()

    async def _measure(self, clients: Clients) -> None:
        """Find what the workers can serve, all of them busy."""
        seconds = 10.0 if self.seconds >= LONG_SECONDS else 4.0
        await clients.closed_loop(N_SATURATING, 2.0)
        n_before = len(self.fates)
        began = time.monotonic()
        await clients.closed_loop(N_SATURATING, seconds)
        self.capacity = (len(self.fates) - n_before) / (time.monotonic() - began)

    async def _bring_about(self, fault: Fault, gate: asyncio.Lock) -> None:
        await asyncio.sleep(max(0.0, self.began + fault.at - time.monotonic()))
        if fault.worker == GATEWAY:
            async with gate:
                await self.site.bring_about(fault)
        else:
            await self.site.bring_about(fault)

    async def _watch(self, clients: Clients) -> None:
        """Look at the gateway every second."""
        while True:
            rss, life, blocks = self.site.rss_bytes(), self.site.n_lives, None
            if len(self.samples) % BLOCKS_SECONDS == BLOCKS_SECONDS - 1:
                blocks = await asyncio.to_thread(self.site.blocks)
            if life == self.site.n_lives:
                now = time.monotonic()
                self.samples.append(Sample(now, life, rss, clients.n_in_flight, blocks))
            if len(self.samples) % 60 == 0:
                print(f"{len(self.samples)} s, {len(self.fates)} requests", flush=True)
            await asyncio.sleep(1.0)

    def _look_over(self, idle_tasks: list[str]) -> None:
        """See what is left over when nothing is asked any more."""
        site = self.site
        sockets = site.sockets()
        extra = Counter(site.tasks()) - Counter(idle_tasks)
        if extra:
            print("tasks left over:", dict(extra))
        self.left_over = {
            "tasks": extra.total(),
            "requests": sum(site.gauges().values()),
            "client sockets": sockets["clients"],
            "half-closed sockets": sockets["half-closed"],
            "kept sockets": sockets["workers"],
        }
        if self.engine:
            self.left_over["pages"] = site.pages()

    def _engine_requests(self) -> list[Asked]:
        """Return requests with the texts that a worker gives when it has nothing else to do."""
        rng = random.Random(self._seed)
        prefixes = [" ".join(rng.choices(WORDS, k=40)) for _ in range(8)]
        asked = []
        for number in range(N_ENGINE_REQUESTS):
            document = {
                "model": "tiny",
                "messages": [{"role": "user", "content": f"{rng.choice(prefixes)} {number}"}],
                "max_tokens": N_ENGINE_TOKENS,
                "temperature": 0,
            }
            body = json.dumps(document).encode()
            target = f"{self.site.url(0)}{PATH}"
            fields = {"content-type": "application/json"}
            with OPENER.open(Request(target, body, fields), timeout=60) as response:
                (expected,) = CONTENT.findall(response.read())
            asked.append(Asked(body, False, expected))
            body = json.dumps(document | {"stream": True}).encode()
            asked.append(Asked(body, True, expected))
        return asked


def is_unexplained(each: Judged) -> bool:
    """Tell whether a request was cut off for no reason, or went wrong."""
    outcome = each.fate.outcome
    return outcome in ("lost", "wrong") or (outcome in ("broken", "dropped") and not each.reason)


def figures_of(run: Run, judged: Sequence[Judged], books: Books, twice: int) -> Iterator[Figure]:
    """Yield what is claimed, and what explains it."""

    def none(name: str, value: float) -> Figure:
        return Figure(name=name, value=value, goal="0", holds=value == 0)

    n = Counter(each.fate.outcome for each in judged)
    reasons = Counter(each.reason for each in judged if each.reason)
    n_broken = sum(is_unexplained(each) for each in judged)
    failed = [each for each in judged if (each.fate.status or 0) >= 500]
    share = 100 * len(failed) / max(1, len(judged))
    yield Figure(name="requests", value=len(judged))
    yield none("lost", n["lost"])
    yield none("wrong answers", n["wrong"])
    yield none("answers to nobody's request", run.n_unasked)
    yield none("cut off for no reason", n_broken - n["lost"] - n["wrong"])
    yield Figure(
        name="answered 5xx although another worker was well",
        value=share,
        unit=" %",
        goal=f"≤ {GOAL_FAILED:g} %",
        holds=share <= GOAL_FAILED,
    )
    yield none("missing in the journal", len(books.missing))
    yield none("twice in the journal", len(books.twice) + len(books.unknown))
    yield none("otherwise in the journal", len(books.different) + len(books.taken_but_dropped))
    yield Figure(name="unflushed when the gateway was killed", value=len(books.unflushed))
    for what in REASONS:
        yield Figure(name=f"cut off: {what}", value=reasons[what])
    yield Figure(name="turned away with 429", value=sum(e.fate.status == 429 for e in judged))
    if not run.engine:
        yield Figure(name="computed twice by workers", value=twice)
    for what, value in run.left_over.items():
        is_bounded = what != "kept sockets"
        figure = none(f"left over: {what}", value)
        yield figure if is_bounded else Figure(name=figure.name, value=value)
    seen = run.samples
    slope, error = growth([(s.life, s.at, s.rss_bytes / 2**20) for s in seen if s.rss_bytes])
    # A life of less than some minutes is all warm-up.
    is_long = run.seconds >= LONG_SECONDS
    yield Figure(
        name="growth of the gateway's memory",
        value=slope,
        spread=error,
        unit=" MiB/h",
        goal=f"≤ {GOAL_GROWTH:g} MiB/h, or less than two standard errors" if is_long else None,
        holds=slope <= max(GOAL_GROWTH, 2 * error) if is_long else None,
    )
    if is_long:
        blocks = [(s.life, s.at, float(s.n_blocks)) for s in seen if s.n_blocks]
        slope, error = growth(blocks)
        # Of what lives, in percent: resident memory is also the allocator's and the collector's.
        scale = 100 / statistics.fmean(value for _, _, value in blocks)
        yield Figure(
            name="growth of the gateway's live blocks of memory",
            value=slope * scale,
            spread=error * scale,
            unit=" %/h",
            goal=f"≤ {GOAL_BLOCKS:g} %/h, or less than two standard errors",
            holds=slope * scale <= max(GOAL_BLOCKS, 2 * error * scale),
        )
    drains = [status for _, kind, status in run.site.deaths if kind == "terminate"]
    yield none("drains that cut requests off", sum(map(bool, [*drains, run.status])))
    waits = [each.fate.ended - each.fate.sent for each in judged if each.fate.outcome == "answered"]
    yield Figure(name="median latency", value=statistics.median(waits), unit=" s")
    yield Figure(
        name="99th percentile of latency", value=float(np.quantile(waits, 0.99)), unit=" s"
    )
    yield Figure(name="longest latency", value=max(waits), unit=" s")


def rows_of(run: Run, judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return the run second by second, and its faults."""
    width = max(1.0, run.seconds / 300)
    bins: dict[int, list[Judged]] = {}
    for each in judged:
        bins.setdefault(int((each.fate.ended - run.began) // width), []).append(each)
    rows: list[dict[str, Any]] = []
    for number, group in sorted(bins.items()):
        if number < 0:
            continue
        answered = [e.fate for e in group if e.fate.outcome == "answered"]
        waits = sorted(fate.ended - fate.sent for fate in answered)
        samples = [s for s in run.samples if (s.at - run.began) // width == number]
        rows.append(
            {
                "part": "time",
                "at": round(number * width, 1),
                "seconds": width,
                "answered": len(answered),
                **{reason: sum(e.reason == reason for e in group) for reason in REASONS},
                "refused": sum(e.fate.outcome == "refused" for e in group),
                "unexplained": sum(map(is_unexplained, group)),
                "p50": round(waits[len(waits) // 2], 4) if waits else None,
                "p99": round(waits[int(0.99 * len(waits))], 4) if waits else None,
                "rss_mib": round(max(s.rss_bytes for s in samples) / 2**20, 2) if samples else None,
                "in_flight": max((s.in_flight for s in samples), default=None),
            }
        )
    names = [run.site.name(number) for number in range(N_WORKERS)]
    for mark in run.site.marks:
        worker = names.index(mark.worker) if mark.worker in names else GATEWAY
        times = {"at": round(mark.began - run.began, 1), "until": round(mark.ended - run.began, 1)}
        rows.append({"part": "fault", "kind": mark.kind, "worker": worker, **times})
    return rows


def _listed(counts: "Counter[str]") -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.most_common())


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw answers, latency and memory over time, with the faults below."""
    times = [row for row in rows if row["part"] == "time"]
    faults = [row for row in rows if row["part"] == "fault"]
    x = [row["at"] / 60 for row in times]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            4, 1, figsize=(10, 8), layout="constrained", sharex=True, height_ratios=(1, 1, 0.6, 0.9)
        )
        rate, waits, memory, marks = axes
        rate.plot(x, [row["answered"] / row["seconds"] for row in times], color=INK, lw=1)
        for name, color in zip((*REASONS, "refused"), POINTS, strict=True):
            points = [(row["at"] / 60, row[name]) for row in times if row[name]]
            if points:
                label = f"cut off: {name}" if name in REASONS else name
                rate.plot(*zip(*points, strict=True), "o", ms=3, color=color, label=label)
        rate.set_ylabel("answers/s")
        rate.set(yscale="symlog", ylim=(0, None))
        rate.yaxis.set_major_formatter("{x:g}")
        rate.legend(frameon=False, loc="lower right", ncols=4, fontsize=8)
        for name, color in (("p50", INK), ("p99", MUTED)):
            waits.plot(x, [row[name] or np.nan for row in times], color=color, lw=1, label=name)
        waits.set(yscale="log", ylabel="latency in s")
        ticks = (0.2, 0.5, 1, 2, 5, 10, 20)
        waits.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        waits.minorticks_off()
        waits.legend(frameon=False, loc="upper right", ncols=2)
        memory.plot(x, [row["rss_mib"] or np.nan for row in times], color=INK, lw=1)
        memory.set_ylabel("gateway's MiB")
        kinds = sorted({row["kind"] for row in faults})
        colors = {kind: f"C{number}" for number, kind in enumerate(kinds)}
        for row in faults:
            span = (row["at"] / 60, max(row["until"] - row["at"], 0.4) / 60)
            marks.broken_barh([span], (row["worker"] - 0.35, 0.7), color=colors[row["kind"]])
            if row["worker"] == GATEWAY:
                for axis in axes[:3]:
                    axis.axvline(row["at"] / 60, color=MUTED, lw=0.6, ls=":")
        handles = [pyplot.Rectangle((0, 0), 1, 1, color=color) for color in colors.values()]
        figure.legend(
            handles,
            colors,
            loc="outside lower center",
            ncols=len(colors),
            frameon=False,
            fontsize=8,
        )
        marks.set_yticks(
            range(-1, N_WORKERS), ["gateway", *(f"worker {n}" for n in range(N_WORKERS))]
        )
        marks.set(ylim=(-1.5, N_WORKERS - 0.5), xlabel="minutes")
        for axis in axes:
            tidy(axis)
        figure.savefig(path, dpi=140)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
