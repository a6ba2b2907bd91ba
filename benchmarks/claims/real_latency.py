"""The published comparison with real compute, and how well the simulator foretells it.

Engine workers with a small model of random weights, each held to a share of a processor, behind the
real gateway over real HTTP; GSP at a prefix ratio of 0.5, scaled to lengths and to a rate that a
small machine can serve: as in the published table the fleet keeps up once a third of the prompts'
tokens are found in caches. Workers and gateway are started anew for each run. Beside each run the
simulator serves the same requests at the same times, with a cost model fitted to the iterations
that the workers measured in the run before it.
"""

import argparse
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.live.fleet import Hardware
from benchmarks.live.steps import Calibration, calibration_of, pace, scaled
from benchmarks.live.trial import QUANTILES, TIMES, foretell, look, measure
from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.style import INK, MUTED, STYLE, tidy
from triskele.serve.routing.named import Policy
from triskele.serve.simulate import CostModel, SharedPrefix

mpl.use("Agg")
from matplotlib import pyplot

BASE, OURS = Policy("cache-aware", "lru"), Policy("lbgr", "rlt")
FOUR = [BASE, Policy("cache-aware", "rlt"), Policy("lbgr", "lru"), OURS]
OTHERS = [
    Policy("lbgr", "gittins"),
    *(
        Policy(router, "lru")
        for router in (
            "lbgr-greedy",
            "prefix-affinity",
            "dynamo",
            "consistent-hash",
            "least-loaded",
            "power-of-two",
            "round-robin",
            "random",
        )
    ),
]
WORDS = dict(zip(TIMES, ("latency P50", "latency P95", "TTFT P50", "TTFT P95"), strict=True))
# 12 requests of 3,128 tokens per second before four workers of 6,400: below this it does not end.
KNEE = 0.32
MOST_ERROR = 0.15
CALIBRATION_SEED = 99
# What is foretold, and from what, was settled on seed 1.
FIRST_SEED = 11


@dataclass(frozen=True, slots=True)
class Form:
    """What is measured: on which fleet, how much, which policies, and how often.

    ``n_look`` and ``n_calibration`` are requests to find the rate, and before the first run.
    """

    hardware: Hardware
    workload: SharedPrefix
    four: list[Policy]
    n_seeds: int
    others: list[Policy]
    n_seeds_of_others: int
    n_look: int
    n_calibration: int


PAGE = 16
FULL = Form(
    # A worker's cache holds as many tokens as there are in all prefixes, as the published one did.
    hardware=Hardware(n_workers=4, model="small", cpu_share=0.25, n_pages=1588, page_size=PAGE),
    workload=SharedPrefix(
        groups=64, prompts_per_group=16, lengths=(128, 256, 512, 1024, 2048), page_size=PAGE
    ),
    four=FOUR,
    n_seeds=3,
    others=OTHERS,
    n_seeds_of_others=1,
    n_look=60,
    n_calibration=320,
)
BRIEF = Form(
    hardware=Hardware(n_workers=2, model="tiny", cpu_share=0.1, n_pages=256, page_size=PAGE),
    workload=SharedPrefix(
        groups=12, prompts_per_group=8, lengths=(128, 256, 512, 1024), page_size=PAGE
    ),
    four=[BASE, OURS],
    n_seeds=1,
    others=[],
    n_seeds_of_others=0,
    n_look=16,
    n_calibration=0,
)


def main() -> None:
    """Measure, print one line per figure, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="four workers, all policies, seeds")
    parser.add_argument("--seeds", type=int, help="of the four policies: 3 in full, else 1")
    parser.add_argument("--seeds-of-others", type=int, help="of all others: 1 in full")
    parser.add_argument("--only", action="append", default=[], help="a policy; may be repeated")
    parser.add_argument("--cpu-share", type=float, help="of each worker; 1 where cores are many")
    options = parser.parse_args()
    form = _form(options)
    # Ended from outside, too, it ends its processes first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    first = replace(form.workload, seed=CALIBRATION_SEED)
    seen, overhead = look(form.hardware, first, form.n_look)
    workload = replace(form.workload, rate=round(rate_at_knee(form, seen.cost), 3))
    print(f"{workload.n_jobs} requests at {workload.rate:.2f}/s, {1e3 * overhead:.1f} ms overhead")
    rows: list[dict[str, Any]] = []
    calibrations: list[Calibration] = []
    latest = calibrate(form, workload) if form.n_calibration else seen
    for seed, policies in _rounds(form):
        for policy in policies:
            calibrations.append(latest)
            own, cost = replace(workload, seed=seed), latest.cost
            row, steps = measure(policy, own, form.hardware)
            # For the next run: a machine is not always equally fast.
            latest = calibration_of(steps, kv_tokens=form.hardware.kv_tokens)
            row["pace"] = round(pace(steps, cost), 4)
            row["simulated"] = foretell(policy, own, form.hardware, cost, overhead)
            at_pace = scaled(cost, row["pace"])
            row["paced"] = foretell(policy, own, form.hardware, at_pace, overhead)
            rows.append(row)
            _show(row)
    about = {"rate": workload.rate, "overhead_ms": round(1e3 * overhead, 2)}
    path = record(
        "real_latency",
        list(figures_of(rows, calibrations)),
        rows=[*(each.row | about for each in calibrations), *rows],
        seeds=sorted({row["seed"] for row in rows}),
        directory=RESULTS if options.full and not options.only else SHORT,
        notes=_notes(form, workload),
    )
    plot(rows, path.with_suffix(".png"))


def _form(options: argparse.Namespace) -> Form:
    form = FULL if options.full else BRIEF
    if options.seeds:
        form = replace(form, n_seeds=options.seeds)
    if options.seeds_of_others is not None:
        form = replace(form, n_seeds_of_others=options.seeds_of_others)
    if options.cpu_share:
        form = replace(form, hardware=replace(form.hardware, cpu_share=options.cpu_share))
    if options.only:
        chosen = [Policy.parse(name, eviction="lru") for name in options.only]
        form = replace(form, four=chosen, others=[])
    return form


def _rounds(form: Form) -> Iterator[tuple[int, list[Policy]]]:
    """Yield seeds, and the policies to run with each in random order."""
    rng = random.Random(0)
    for number in range(max(form.n_seeds, form.n_seeds_of_others)):
        policies = [*(form.four if number < form.n_seeds else ())]
        policies += form.others if number < form.n_seeds_of_others else ()
        yield FIRST_SEED + number, rng.sample(policies, len(policies))


def rate_at_knee(form: Form, cost: CostModel) -> float:
    """Return the rate at which the fleet is busy all the time if a share ``KNEE`` is cached."""
    lengths = form.workload.lengths
    seconds = sum(cost.prompt_seconds(length) for length in lengths) / len(lengths)
    return form.hardware.n_workers / (seconds * (1 - KNEE))


def calibrate(form: Form, workload: SharedPrefix) -> Calibration:
    """Measure iterations under the load of the runs, with requests of a seed that is not scored."""
    own = replace(workload, seed=CALIBRATION_SEED)
    _, steps = measure(Policy("lbgr", "lru"), own, form.hardware, limit=form.n_calibration)
    return calibration_of(steps, kv_tokens=form.hardware.kv_tokens)


def figures_of(
    rows: Sequence[dict[str, Any]], calibrations: Sequence[Calibration]
) -> Iterator[Figure]:
    """Yield ours over the baseline, ours over the best of all others, and the simulator's error."""
    labels = list(dict.fromkeys(row["policy"] for row in rows))
    if {OURS.label, BASE.label} <= set(labels):
        yield from _compared(rows)
    if len(labels) > len(FOUR):
        yield from _ranked(rows, labels)
    yield from _errors(rows, labels, calibrations)


def _compared(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """Yield ours over the baseline, seeds paired."""
    pairs = list(_paired(rows, OURS.label, BASE.label))
    for name in (*TIMES, "throughput"):
        logs = [float(np.log(own[name] / other[name])) for own, other in pairs]
        mean, error = mean_and_error(logs)
        ratio = float(np.exp(mean))
        words = WORDS.get(name, name)
        goal = "< 1" if name in TIMES else None
        yield Figure(
            name=f"{words}, {OURS.label} over {BASE.label}",
            value=ratio,
            spread=ratio * error if len(pairs) > 1 else None,
            goal=goal,
            holds=None if goal is None else ratio < 1,
        )
    for label in (BASE.label, OURS.label):
        found = [100 * row["hit_rate"] for row in rows if row["policy"] == label]
        mean, error = mean_and_error(found)
        yield Figure(name=f"hit rate, {label}", value=mean, spread=error, unit=" %")


def _ranked(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Iterator[Figure]:
    """Yield ours over the best of all others by each figure, on the seeds that all have run."""
    own = {row["policy"] for row in rows if row["policy"].startswith("lbgr+")}
    common = set.intersection(*({r["seed"] for r in rows if r["policy"] == p} for p in labels))
    for name in TIMES:
        mean = {
            label: float(np.exp(np.mean([np.log(r[name]) for r in rows if _is(r, label, common)])))
            for label in labels
        }
        for chosen in (OURS.label, "lbgr+gittins"):
            best = min(mean, key=lambda p: (p in own, mean[p]))
            yield Figure(
                name=f"{WORDS[name]}, {chosen} over the best of all others, {best}",
                value=mean[chosen] / mean[best],
            )


def _is(row: dict[str, Any], label: str, seeds: set[int]) -> bool:
    return row["policy"] == label and row["seed"] in seeds


def _errors(
    rows: Sequence[dict[str, Any]], labels: Sequence[str], calibrations: Sequence[Calibration]
) -> Iterator[Figure]:
    """Yield how far the simulator is from what was measured, and how far it could have been."""
    errors = {name: [_error(rows, p, name, "simulated") for p in labels] for name in TIMES}
    mean = float(np.mean([*errors.values()]))
    yield Figure(
        name=f"simulator's mean error of {len(labels)} policies × {len(TIMES)} times",
        value=100 * mean,
        unit=" %",
        goal="< 15",
        holds=mean < MOST_ERROR,
    )
    for name, found in errors.items():
        value, error = mean_and_error(found)
        label = f"simulator's error of {WORDS[name]}"
        yield Figure(name=label, value=100 * value, spread=100 * error, unit=" %")
    paced = [_error(rows, policy, name, "paced") for policy in labels for name in TIMES]
    yield Figure(
        name="simulator's mean error, told how fast the machine was in each run",
        value=100 * float(np.mean(paced)),
        unit=" %",
    )
    chance = [value for row in rows for value in row["simulated"]["chance"]]
    yield Figure(
        name="chance in one run's times, simulated, mean", value=100 * float(np.mean(chance)),
        unit=" %",
    )  # fmt: skip
    points = [100 * abs(row["simulated"]["hit_rate"] - row["hit_rate"]) for row in rows]
    yield Figure(name="simulator's error of the hit rate", value=float(np.mean(points)), unit=" pt")
    drift = [row["pace"] for row in rows]
    yield Figure(
        name="time of a run's iterations over what the cost model says of them",
        value=float(np.mean(drift)),
        spread=float(np.std(drift)),
    )
    spread = float(np.mean([each.spread for each in calibrations]))
    yield Figure(name="error of one iteration's time, median", value=100 * spread, unit=" %")


def _error(rows: Sequence[dict[str, Any]], label: str, name: str, told: str) -> float:
    """Return the relative error of the mean over seeds."""
    chosen = [row for row in rows if row["policy"] == label]
    measured = float(np.mean([row[name] for row in chosen]))
    return abs(float(np.mean([row[told][name] for row in chosen])) / measured - 1)


def _paired(
    rows: Sequence[dict[str, Any]], first: str, second: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for row in rows:
        if row["policy"] == first:
            for other in rows:
                if other["policy"] == second and other["seed"] == row["seed"]:
                    yield row, other


def _notes(form: Form, workload: SharedPrefix) -> str:
    hardware = form.hardware
    return (
        f"{hardware.n_workers} workers ({hardware.model}, random weights, one thread), each held "
        f"to {hardware.cpu_share:g} of a processor; {workload.n_jobs} requests in "
        f"{workload.groups} groups of lengths {workload.lengths}, at {workload.rate:g}/s; ± is the "
        "standard error over seeds, of errors over policies; errors are of means over seeds"
    )


def _show(row: dict[str, Any]) -> None:
    told = " ".join(f"{name} {row[name]:.2f} ({row['simulated'][name]:.2f})" for name in TIMES)
    hits = f"{row['hit_rate']:.3f} ({row['simulated']['hit_rate']:.3f})"
    print(
        f"{row['policy']:22} seed {row['seed']}  {told}  hits {hits}  "
        f"{row['throughput']:.2f}/s ({row['simulated']['throughput']:.2f})  "
        f"pace {row['pace']:.3f}  load {row['load'][0]:.1f}-{row['load'][1]:.1f}",
        flush=True,
    )


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the distributions of the four, and every policy's times as foretold and as measured."""
    colors = dict(
        zip((p.label for p in FOUR), ("#8a929b", "#c9a227", "#2a78b5", "#b5473c"), strict=True)
    )
    labels = list(dict.fromkeys(row["policy"] for row in rows))
    with pyplot.rc_context(STYLE):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
        for label in labels:
            if label not in colors:
                continue
            chosen = [row for row in rows if row["policy"] == label]
            real = np.mean([row["latency"] for row in chosen], 0)
            told = np.mean([row["simulated"]["latency"] for row in chosen], 0)
            left.plot(real, 100 * QUANTILES, color=colors[label], label=label)
            left.plot(told, 100 * QUANTILES, ":", color=colors[label])
        left.plot([], [], ":", color=MUTED, label="simulated")
        left.legend(frameon=False, fontsize=8)
        left.set(xscale="log", xlabel="latency, seconds", ylabel="per cent of requests")
        tidy(left)
        markers = dict(zip(TIMES, ("o", "s", "^", "D"), strict=True))
        every = []
        for label in labels:
            chosen = [row for row in rows if row["policy"] == label]
            for name in TIMES:
                real = np.mean([row[name] for row in chosen])
                told = np.mean([row["simulated"][name] for row in chosen])
                every += [real, told]
                color = colors.get(label, INK)
                right.plot(told, real, markers[name], color=color, ms=4.5, alpha=0.8)
        ends = np.array([min(every) / 1.2, max(every) * 1.2])
        right.plot(ends, ends, color=MUTED, linewidth=0.8)
        right.fill_between(
            ends, ends * (1 - MOST_ERROR), ends * (1 + MOST_ERROR), color=MUTED, alpha=0.15, lw=0
        )
        for name in TIMES:
            right.plot([], [], markers[name], color=INK, ms=4.5, label=WORDS[name])
        right.legend(frameon=False, fontsize=8, loc="upper left")
        right.set(xscale="log", yscale="log", xlabel="simulated seconds", ylabel="measured seconds")
        tidy(right)
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
