"""Claim: DynMuon needs fewer steps than tuned Muon to reach the same validation loss.

Every arm is swept over its own learning rates on seed 0 and then run on other seeds at the best
one: tuned Muon and the recipe on four more, the others on two. The target of a seed is tuned
Muon's validation loss at 80 % of that seed's run; an arm's saving is 1 − (steps it needed) /
(0.8 T), read off its validation curve. The strict form
gives the recipe a complete schedule of its own on fewer steps, and asks after how many it would
have Muon's final loss, on the line through the shorter run and the whole one.

    python -m benchmarks.claims.steps_to_target --data PATH            two seeds, main arms
    python -m benchmarks.claims.steps_to_target --data PATH --full     the recorded form
    python -m benchmarks.claims.steps_to_target --data PATH --setting gpu-30m --minutes 9

PATH holds docs-train.txt.xz and docs-val.txt.xz. Runs are cached, so that a benchmark that was
stopped, or cut into pieces with --minutes, goes on where it was.
"""

import argparse
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib import pyplot

from benchmarks.arms import (
    ABLATIONS,
    ARMS,
    BASELINE,
    CONTROLS,
    HEADLINE,
    LEFT_OUT,
    MAIN_ARMS,
    RECIPE,
    SETTINGS,
    STRICT,
)
from benchmarks.pretraining import Arm, Run, Setting, is_made, open_tokens, train
from benchmarks.record import RESULTS, ROOT, SHORT, Figure, record

GOAL, STRETCH = 0.22, 0.30
TARGET_AT = 0.8
AT_THE_END = "DynMuon recipe, at Muon's final loss"
Curve = list[tuple[int, float]]


def main() -> None:
    """Make the runs that are missing, then print, write and draw what they say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with docs-*.txt.xz")
    parser.add_argument("--full", action="store_true", help="all arms and seeds")
    parser.add_argument("--setting", choices=sorted(SETTINGS), default="cpu")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "steps_to_target")
    parser.add_argument("--workers", type=int, help="processes; 2 on a CPU, 1 on a GPU")
    args = parser.parse_args()
    for name in ("docs-train.txt.xz", "docs-val.txt.xz"):
        if not (args.data / name).is_file():
            parser.error(f"{args.data} holds no {name}")
    setting = SETTINGS[args.setting]
    on_gpu = torch.cuda.is_available()
    arms = ARMS if args.full else MAIN_ARMS
    n_seeds, n_headline = (3, 5) if args.full else (2, 2)
    deadline = time.monotonic() + 60 * args.minutes
    open_tokens(setting, args.data, args.cache)
    runner = Runner(setting, args.data, args.cache, deadline, args.workers or (1 if on_gpu else 2))
    seeds = {arm.name: list(range(n_headline if arm.name in HEADLINE else n_seeds)) for arm in arms}
    best: dict[str, float] = {}
    for part in (MAIN_ARMS, [arm for arm in arms if arm not in MAIN_ARMS]):
        swept = runner.make([Run(arm=arm, lr=lr, seed=0) for arm in part for lr in arm.lrs])
        best |= {arm.name: best_lr(arm, swept) for arm in part}
        runner.make(
            [
                Run(arm=arm, lr=best[arm.name], seed=seed)
                for seed in range(1, n_headline)
                for arm in part
                if seed in seeds[arm.name]
            ]
        )
    if runner.is_late:
        print(f"stopped after {args.minutes:g} minutes; the same command goes on from here")
        for arm in ABLATIONS:
            made = [
                s
                for s in seeds.get(arm.name, [])
                if (arm.name, best[arm.name], s) in runner.records
            ]
            seeds[arm.name] = made
        arms = [
            arm
            for arm in arms
            if seeds[arm.name]
            and all((arm.name, lr, 0) in runner.records for lr in arm.lrs)
            and all((arm.name, best[arm.name], s) in runner.records for s in seeds[arm.name])
        ]
        if any(arm not in arms for arm in MAIN_ARMS):
            return
    report(setting, arms, best, seeds, runner.records, full=args.full)


class Runner:
    """Makes runs in parallel until the deadline, keeping their records."""

    def __init__(
        self, setting: Setting, data: Path, cache: Path, deadline: float, n_workers: int
    ) -> None:
        self._setting, self._data, self._cache = setting, data, cache
        self._deadline, self._n_workers = deadline, n_workers
        self.records: dict[tuple[str, float, int], dict[str, Any]] = {}
        self.is_late = False

    def make(self, runs: Sequence[Run]) -> dict[tuple[str, float, int], dict[str, Any]]:
        """Make the runs, or as many as the time allows, and return all records so far."""
        pool = ProcessPoolExecutor(
            self._n_workers, mp_context=get_context("spawn"), initializer=_use_one_thread
        )
        with pool:
            waiting = iter(runs)
            pending = {}
            for _ in range(self._n_workers):
                self._submit(pool, waiting, pending)
            n_done = 0
            while pending:
                done = next(as_completed(pending))
                run = pending.pop(done)
                row = done.result()
                self.records[run.arm.name, run.lr, run.seed] = row
                n_done += 1
                print(
                    f"[{n_done}/{len(runs)}] {run.arm.name:<28} lr {run.lr:<7g} seed {run.seed}  "
                    f"loss {row['final']:.4f}  {row['seconds']:.0f} s "
                    f"({100 * row['optimizer_share']:.0f} % optimizer)",
                    flush=True,
                )
                self._submit(pool, waiting, pending)
        return self.records

    def _submit(self, pool: ProcessPoolExecutor, waiting: Iterator[Run], pending: dict) -> None:
        for run in waiting:
            if time.monotonic() > self._deadline and not is_made(self._setting, run, self._cache):
                self.is_late = True
                continue
            pending[pool.submit(train, self._setting, run, self._data, self._cache)] = run
            return


def _use_one_thread() -> None:
    torch.set_num_threads(1)


def best_lr(arm: Arm, records: dict[tuple[str, float, int], dict[str, Any]]) -> float:
    """Return the learning rate with the lowest final loss on seed 0."""
    made = [lr for lr in arm.lrs if (arm.name, lr, 0) in records]
    return min(made or arm.lrs, key=lambda lr: _final(records, arm.name, lr))


def _final(records: dict[tuple[str, float, int], dict[str, Any]], name: str, lr: float) -> float:
    return float(records[name, lr, 0]["final"]) if (name, lr, 0) in records else math.inf


def loss_at(curve: Curve, step: float) -> float:
    """Return the loss at ``step``, interpolated on the curve."""
    for (left, a), (right, b) in pairwise(curve):
        if left <= step <= right:
            return a + (b - a) * (step - left) / (right - left)
    return curve[-1][1]


def steps_to(curve: Curve, target: float) -> float:
    """Return the first step at which the curve is at ``target``; infinite if it never is."""
    for (left, a), (right, b) in pairwise(curve):
        if b <= target:
            return left if a <= target else left + (right - left) * (a - target) / (a - b)
    return math.inf


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    if len(values) < 2:
        return values[0], math.nan
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))


def report(
    setting: Setting,
    arms: Sequence[Arm],
    best: dict[str, float],
    seeds: dict[str, list[int]],
    records: dict[tuple[str, float, int], dict[str, Any]],
    *,
    full: bool,
) -> None:
    """Work out savings per arm and write figures, rows and the plot."""
    curves = {
        (arm.name, seed): records[arm.name, best[arm.name], seed]["curve"]
        for arm in arms
        for seed in seeds[arm.name]
    }
    targets = {
        seed: loss_at(curves[BASELINE, seed], TARGET_AT * setting.steps) for seed in seeds[BASELINE]
    }
    savings, finals = {}, {}
    for arm in arms:
        own = seeds[arm.name]
        needed = [steps_to(curves[arm.name, seed], targets[seed]) for seed in own]
        savings[arm.name] = [1 - steps / (TARGET_AT * setting.steps) for steps in needed]
        finals[arm.name] = [curves[arm.name, seed][-1][1] for seed in own]
    figures = [
        replace(figure, spread=None)
        if figure.spread is not None and math.isnan(figure.spread)
        else figure
        for figure in _figures(setting, arms, savings, finals)
    ]
    rows = [
        {
            "arm": name,
            "lr": lr,
            "best": lr == best[name],
            "saving": savings[name][seed] if lr == best[name] and seed in seeds[name] else None,
            **{key: row[key] for key in ("seed", "steps", "final", "curve", "seconds")},
            "optimizer_share": row["optimizer_share"],
        }
        for (name, lr, seed), row in sorted(records.items())
        if name in best
    ]
    for row in rows:
        if row["saving"] is not None and not math.isfinite(row["saving"]):
            row["saving"] = None
    claim = f"steps_to_target_{setting.name}"
    notes = (
        f"{setting.model.n_params / 1e6:.2f} M parameters, {setting.steps} steps of "
        f"{setting.batch * setting.context} tokens, ± is the standard error over seeds"
    )
    directory = RESULTS if full else SHORT
    own = seeds[BASELINE]
    path = record(claim, figures, rows=rows, seeds=own, notes=notes, directory=directory)
    plot(setting, arms, curves, seeds, savings, path.with_suffix(".png"))


def _figures(
    setting: Setting,
    arms: Sequence[Arm],
    savings: dict[str, list[float]],
    finals: dict[str, list[float]],
) -> Iterator[Figure]:
    for arm in arms:
        if arm.name in STRICT:
            continue
        reached = [value for value in savings[arm.name] if math.isfinite(value)]
        if len(reached) == len(savings[arm.name]):
            saving, error = mean_and_error(reached)
            is_recipe = arm.name == RECIPE
            yield Figure(
                name=f"steps saved, {arm.name}",
                value=100 * saving,
                spread=100 * error,
                unit=" %",
                goal=f"≥ {100 * GOAL:g} %" if is_recipe else None,
                holds=saving >= GOAL if is_recipe else None,
            )
        else:
            n_reached = len(reached)
            yield Figure(name=f"seeds that reached the target, {arm.name}", value=n_reached)
        final, error = mean_and_error(finals[arm.name])
        yield Figure(name=f"final loss, {arm.name}", value=final, spread=error, unit=" nats")
    for name, control in CONTROLS.items():
        if name in savings and control in savings:
            pairs = zip(savings[name], savings[control], strict=False)
            shape, error = mean_and_error([a - b for a, b in pairs])
            if math.isfinite(shape):
                yield Figure(
                    name=f"of it shape, {name}", value=100 * shape, spread=100 * error, unit=" %"
                )
    yield from _parts(savings, finals)
    for name, whole in STRICT.items():
        if name not in finals or whole not in finals:
            continue
        wanted = next(arm.steps_share for arm in arms if arm.name == name)
        saving, error = mean_and_error(strict_savings(setting, name, wanted, finals))
        yield Figure(
            name="steps saved at Muon's final loss, schedules complete",
            value=100 * saving,
            spread=100 * error,
            unit=" %",
            goal=f"≥ {100 * GOAL:g} %",
            holds=saving >= GOAL,
        )
        gap, error = mean_and_error(
            [short - target for short, target in zip(finals[name], finals[BASELINE], strict=True)]
        )
        yield Figure(
            name=f"final loss after {100 * wanted:g} % of the steps, minus Muon's after all",
            value=gap,
            spread=error,
            unit=" nats",
        )


def _parts(savings: dict[str, list[float]], finals: dict[str, list[float]]) -> Iterator[Figure]:
    """Yield what is lost with each part of the recipe, on the seeds that both arms have."""
    for name, part in LEFT_OUT.items():
        if name in savings:
            pairs = zip(savings[RECIPE], savings[name], strict=False)
            lost, error = mean_and_error([a - b for a, b in pairs])
            figure = f"saving lost without {part}"
            yield Figure(name=figure, value=100 * lost, spread=100 * error, unit=" %")
            pairs = zip(finals[name], finals[RECIPE], strict=False)
            lost, error = mean_and_error([a - b for a, b in pairs])
            figure = f"final loss without {part}, minus the recipe's"
            yield Figure(name=figure, value=lost, spread=error, unit=" nats")


def strict_savings(
    setting: Setting, name: str, wanted: float, finals: dict[str, list[float]]
) -> list[float]:
    """Return what each seed saves at the baseline's final loss, every schedule complete."""
    share = round(wanted * setting.steps) / setting.steps
    runs = zip(finals[name], finals[STRICT[name]], finals[BASELINE], strict=True)
    return [(1.0 - share) * (target - long) / (short - long) for short, long, target in runs]


def plot(
    setting: Setting,
    arms: Sequence[Arm],
    curves: dict[tuple[str, int], Curve],
    seeds: dict[str, list[int]],
    savings: dict[str, list[float]],
    path: Path,
) -> None:
    """Draw mean validation curves beside the savings of all arms."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    shown = {"AdamW": "#b0b0b0", BASELINE: "#444444", RECIPE: "#c44e52"}
    for name, color in shown.items():
        if (name, 0) not in curves:
            continue
        for seed in seeds[name]:
            steps, losses = zip(*curves[name, seed], strict=True)
            label = name if seed == 0 else None
            left.plot(steps, losses, color=color, linewidth=1.4, alpha=0.8, label=label)
    target = statistics.mean(
        loss_at(curves[BASELINE, seed], TARGET_AT * setting.steps) for seed in seeds[BASELINE]
    )
    left.axhline(target, color="#444444", linewidth=0.8, linestyle=":")
    left.annotate("tuned Muon at 80 %", (setting.steps * 0.31, target), va="bottom", fontsize=8)
    left.set(xlabel="step", ylabel="validation loss (nats per token)")
    low = min(curves[RECIPE, seed][-1][1] for seed in seeds[RECIPE])
    left.set_ylim(low - 0.05, target + 0.9)
    left.legend(frameon=False)
    rows = [
        (arm.name, [100 * value for value in savings[arm.name]])
        for arm in arms
        if arm.name not in STRICT
        and arm.name != BASELINE
        and all(math.isfinite(value) for value in savings[arm.name])
    ]
    finals = {arm.name: [curves[arm.name, seed][-1][1] for seed in seeds[arm.name]] for arm in arms}
    rows += [
        (AT_THE_END, [100 * value for value in strict_savings(setting, arm.name, share, finals)])
        for arm in arms
        if arm.name in STRICT and (share := arm.steps_share)
    ]
    rows.sort(key=lambda row: statistics.mean(row[1]))
    names = [name for name, _ in rows]
    means = [statistics.mean(values) for _, values in rows]
    errors = [mean_and_error(values)[1] if len(values) > 1 else 0.0 for _, values in rows]
    colors = ["#c44e52" if name in (RECIPE, AT_THE_END) else "#3b6ea5" for name in names]
    right.barh(names, means, xerr=errors, color=colors, ecolor="#222222", capsize=2)
    right.axvline(0, color="#444444", linewidth=0.8)
    right.axvline(100 * GOAL, color="#c44e52", linewidth=0.8, linestyle="--")
    right.set_xlabel("steps saved against tuned Muon (%)")
    right.tick_params(axis="y", labelsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
