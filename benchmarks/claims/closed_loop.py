"""Claim: the loop keeps up with a changing world, and with people who say what is not so.

A stream of real queries over a matrix of real scores. A router decides by the capability table
(margin 0, price 0) and explores a little; the score of the model that answered is told by one of
six keys for a share of the answers, sometimes by a second one, and wrongly now and then; the loop
turns every few hundred queries. Meanwhile the best model begins to fail half of the time, a better
one arrives and gets a small share of the queries for a while, a batch of feedback has a fifth of
it turned round, one key says the opposite of the truth, and the topics shift. The fleet is such
that these matter: its best model is the best by far, and so is the one that arrives.

Regret is against the clairvoyant chooser, who knows the scores. Most of it nobody can avoid: which
of several models gets a single question right is luck. A policy's value is the mean true score of
its choices on all queries of a phase, without exploration, and it has recovered from an event when
its value is within 0.01 of the best single model's.

    python -m benchmarks.claims.closed_loop --data PATH            one seed, a short stream; 30 s
    python -m benchmarks.claims.closed_loop --data PATH --full     five seeds; 20 minutes

PATH holds the data sets.
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray

from benchmarks.evaluating import dataset_of
from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.style import INK, MUTED, STYLE, tidy
from triskele.loop.amendment import amended
from triskele.loop.evidence import Gathering
from triskele.loop.fitting import FitConfig
from triskele.loop.forecast import odds_of
from triskele.loop.judgement import JudgementConfig, judged
from triskele.loop.verdict import History
from triskele.serve.routing.capability import CapabilityRouter, Preference
from triskele.serve.routing.capability_table import CapabilityTable

DATA = "openllm_lb2"
FLEET = (
    "Qwen/QwQ-32B-Preview",
    "alpindale/WizardLM-2-8x22B",
    "google/gemma-2-27b-it",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
)
NEWCOMER = "Qwen/Qwen2.5-72B-Instruct"
REGRESSES = FLEET[0]
FAILS = 0.5
KEYS = tuple(f"key {number}" for number in range(6))
LIAR = KEYS[0]
EXPLORE, CANARY = 0.1, 0.1
TOLD, TOLD_TWICE, WRONG, FLIPPED = 0.6, 0.2, 0.05, 0.2
RARE = 0.15
"""Share of the queries that are of the other topics."""
NEAR = 0.01
ARMS = ("poisoned", "honest", "credulous")
COLOURS = {"loop": "#1b6ca8", "never refitted": "#c8553d", "always best": "#d9a441"}
Floats = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When what happens, in queries."""

    turn: int = 800
    lies: int = 1_600
    regression: int = 4_000
    arrival: int = 7_200
    canary: int = 1_600
    bad_batch: int = 9_600
    shift: int = 12_000
    end: int = 16_000

    @property
    def phases(self) -> tuple[tuple[str, int, int], ...]:
        """Name, beginning and end of each stretch in which the world stays as it is."""
        return (
            ("start", 0, self.regression),
            ("regression", self.regression, self.arrival),
            ("arrival", self.arrival, self.shift),
            ("shift", self.shift, self.end),
        )


SHORT_TIMES = Times(
    turn=500, lies=1_000, regression=1_500, arrival=2_500, canary=500, bad_batch=3_500,
    shift=4_000, end=5_000,
)  # fmt: skip


@dataclass(slots=True)
class Stream:
    """Queries in their order, and true scores; models that are not there have NaN."""

    x: Floats
    scores: Floats
    models: tuple[str, ...]


def main() -> None:
    """Run all arms, print one line per figure, write JSON and a picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--full", action="store_true", help="five seeds, the whole stream")
    parser.add_argument("--seeds", type=int, help="how many seeds")
    parser.add_argument("--processes", type=int, default=2, help="jobs at a time")
    args = parser.parse_args()
    if not (args.data / DATA).is_dir():
        parser.error(f"{args.data} holds no {DATA}")
    times = Times() if args.full else SHORT_TIMES
    seeds = range(args.seeds or (5 if args.full else 1))
    jobs = [(seed, arm) for seed in seeds for arm in ARMS]
    rows: list[Row] = []
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        found = pool.imap_unordered(partial(run, data=args.data, times=times), jobs)
        for n_done, row in enumerate(found, 1):
            rows.append(row)
            seconds = time.monotonic() - began
            print(f"{n_done} of {len(jobs)} streams, {seconds:.0f} s", flush=True)
    rows.sort(key=lambda row: (row["seed"], row["arm"]))
    written = record(
        "closed_loop",
        list(figures_of(rows, times)),
        rows=rows,
        seeds=list(seeds),
        directory=RESULTS if args.full else SHORT,
        notes=f"{DATA}, {len(FLEET)} models and one that arrives; ± is the standard error over "
        "seeds; regret is in score per query against who knows all scores; turns of "
        f"{times.turn} queries",
    )
    plot(rows, times, written.with_suffix(".png"))


def run(job: tuple[int, str], data: Path, times: Times) -> Row:
    """Run the stream once."""
    seed, arm = job
    rng = np.random.default_rng([seed, 0])
    stream = stream_of(data, times, rng)
    world = _World(stream, times, arm, np.random.default_rng([seed, 1]))
    for begin in range(0, times.end, times.turn):
        world.serve(begin, begin + times.turn)
        world.turn(begin + times.turn, np.random.default_rng([seed, 2, begin]))
    return {"seed": seed, "arm": arm, **world.outcome()}


def stream_of(data: Path, times: Times, rng: np.random.Generator) -> Stream:
    """Return queries and what each model scores on them, as the world changes."""
    dataset = dataset_of(DATA, data)
    assert dataset.scores is not None
    assert dataset.embeddings is not None
    assert dataset.categories is not None
    models = (*FLEET, NEWCOMER)
    scores = dataset.scores[:, [dataset.models.index(name) for name in models]]
    is_late = np.array([name.startswith("bbh") for name in dataset.categories])
    early, late = (
        rng.permutation(np.flatnonzero(~is_late)),
        rng.permutation(np.flatnonzero(is_late)),
    )
    at = np.arange(times.end)
    wants_late = rng.random(times.end) < np.where(at < times.shift, RARE, 1 - RARE)
    order = np.empty(times.end, np.int64)
    order[~wants_late] = early[: (~wants_late).sum()]
    order[wants_late] = late[: wants_late.sum()]
    true = np.array(scores[order], np.float64)
    fails = (at >= times.regression) & (rng.random(times.end) < FAILS)
    true[fails, models.index(REGRESSES)] = 0.0
    true[at < times.arrival, models.index(NEWCOMER)] = np.nan
    return Stream(np.asarray(dataset.embeddings[order], np.float64), true, models)


@dataclass(slots=True)
class _World:
    """Serves queries, hears what is said, and lets the loop turn."""

    stream: Stream
    times: Times
    arm: str
    rng: np.random.Generator
    table: CapabilityTable | None = None
    first: CapabilityTable | None = None
    first_at: int = 0
    history: History = field(default_factory=History)
    gathering: Gathering = field(default_factory=Gathering)
    got: list[float] = field(default_factory=list)
    explored: list[float] = field(default_factory=list)
    turns: list[Row] = field(default_factory=list)

    def serve(self, begin: int, end: int) -> None:
        """Answer queries and hear what is said of the answers."""
        router = CapabilityRouter(self.rng)
        preference = Preference(margin=0.0, price=0.0, explore=EXPLORE)
        for at in range(begin, end):
            true = self.stream.scores[at]
            offered = [m for m, score in zip(self.stream.models, true, strict=True) if score >= 0]
            x = self.stream.x[at]
            decision = router.decide(self.table, x, offered, preference=preference)
            model = decision.model
            if decision.reason == "latency":
                model = str(self.rng.choice(offered))
            elif decision.reason == "exploration":
                self.explored.append(
                    self._score(at, self._greedy(decision)) - self._score(at, model)
                )
            is_canary = self.times.arrival <= at < self.times.arrival + self.times.canary
            if is_canary and self.rng.random() < CANARY:
                self.explored.append(self._score(at, model) - self._score(at, NEWCOMER))
                model = NEWCOMER
            self.got.append(self._score(at, model))
            self._hear(at, model)

    def turn(self, now: int, rng: np.random.Generator) -> None:
        """Let the loop turn once."""
        if now > self.times.arrival and self.table is not None:
            other = amended(self.table, models=[NEWCOMER], prices={})
            self.table = self.table if other is None else replace(other, version=self.table.version)
        evidence = self.gathering.evidence()
        x = self.stream.x[[int(text) for text in evidence.texts]]
        judgement = judged(
            evidence,
            x,
            current=self.table,
            history=self.history,
            prices={},
            embedder="from the data",
            half_life=6_000.0,
            now=float(now),
            rng=rng,
            config=JudgementConfig(
                most=3_000,
                is_credulous=self.arm == "credulous",
                fit=FitConfig(landmarks=200, folds=2),
            ),
        )
        verdict = judgement.verdict
        if judgement.candidate is not None:
            version = 1 if self.table is None else self.table.version + 1
            self.table = replace(judgement.candidate, version=version)
            if self.first is None:
                self.first, self.first_at = self.table, now
        self.history = self.history.after(verdict)
        self.turns.append(
            {
                "at": now,
                "published": verdict.published,
                "refused": verdict.refused,
                "quarantined": sorted(verdict.quarantined),
                "changed": sorted(verdict.changed),
                "drift": None if verdict.drift is None else round(verdict.drift, 2),
                "value": self._value(self.table, now),
            }
        )

    def outcome(self) -> Row:
        """Return what came of it."""
        true = self.stream.scores
        best = np.nanmax(true, axis=1)
        got = np.array(self.got)
        at = np.arange(len(true))
        fixed = true[:, self.stream.models.index(FLEET[int(np.argmax(self._start_means()))])]
        # Until there is a table, models are drawn.
        drawn = np.nanmean(true, axis=1)
        frozen = drawn if self.first is None else true[at, self._choices(self.first, true)]
        frozen = np.where(at < self.first_at, drawn, frozen)
        return {
            "regret": {
                "loop": round(float((best - got).mean()), 5),
                "never refitted": round(float((best - frozen).mean()), 5),
                "always best": round(float((best - fixed).mean()), 5),
            },
            "after": {
                "loop": self._late(best - got),
                "never refitted": self._late(best - frozen),
                "always best": self._late(best - fixed),
            },
            "curves": {
                "loop": _smooth(best - got, self.times.turn),
                "never refitted": _smooth(best - frozen, self.times.turn),
                "always best": _smooth(best - fixed, self.times.turn),
            },
            "first table": self.first_at,
            "exploration": round(sum(self.explored) / len(got), 5),
            "targets": {name: self._target(begin, end) for name, begin, end in self.times.phases},
            "turns": self.turns,
        }

    def _late(self, regret: Floats) -> float:
        return round(float(regret[self.times.regression :].mean()), 5)

    def _start_means(self) -> Floats:
        return np.asarray(self.stream.scores[: self.times.regression, :4].mean(0))

    def _target(self, begin: int, end: int) -> float:
        """Return the value of the best single model of a phase."""
        return round(float(np.nanmax(self.stream.scores[begin:end].mean(0))), 4)

    def _value(self, table: CapabilityTable | None, now: int) -> float | None:
        """Return the mean true score of a table's choices on all queries of the phase."""
        ahead = [phase for phase in self.times.phases if phase[1] <= now < phase[2]]
        if table is None or not ahead:
            return None
        _, begin, end = ahead[0]
        true = self.stream.scores[begin:end]
        chosen = self._choices(table, true, self.stream.x[begin:end])
        return round(float(true[np.arange(len(true)), chosen].mean()), 4)

    def _choices(
        self, table: CapabilityTable, true: Floats, x: Floats | None = None
    ) -> NDArray[np.int64]:
        odds = np.full(true.shape, -inf)
        places = [self.stream.models.index(name) for name in table.models]
        odds[:, places] = odds_of(table, self.stream.x if x is None else x)
        return np.asarray(np.where(np.isnan(true), -inf, odds).argmax(1))

    def _greedy(self, decision: Any) -> str:
        return str(decision.candidates[0].model)

    def _score(self, at: int, model: str) -> float:
        return float(self.stream.scores[at, self.stream.models.index(model)])

    def _hear(self, at: int, model: str) -> None:
        """Let one key or two say how good the answer was."""
        if self.rng.random() >= TOLD:
            return
        n_keys = 2 if self.rng.random() < TOLD_TWICE else 1
        for key in self.rng.choice(KEYS, n_keys, replace=False):
            said = self._score(at, model)
            is_lie = key == LIAR and at >= self.times.lies and self.arm != "honest"
            if is_lie or self.rng.random() < WRONG:
                said = 1 - said
            in_batch = self.times.bad_batch <= at < self.times.bad_batch + self.times.turn
            if in_batch and self.rng.random() < FLIPPED:
                said = 1 - said
            self.gathering.score(
                str(at), model, said, answered=float(at), arrived=float(at), source=str(key)
            )


def figures_of(rows: list[Row], times: Times) -> Iterator[Figure]:
    """Yield the figures of the claim."""
    by_arm = {arm: [row for row in rows if row["arm"] == arm] for arm in ARMS}
    ours = by_arm["poisoned"]
    regret = {name: [row["regret"][name] for row in ours] for name in ours[0]["regret"]}
    for name, values in regret.items():
        mean, error = mean_and_error(values)
        yield Figure(name=f"regret, {name}", value=mean, spread=error)
    for name in ("never refitted", "always best"):
        gains = [row["after"][name] - row["after"]["loop"] for row in ours]
        mean, error = mean_and_error(gains)
        yield Figure(
            name=f"regret saved since the first event, against {name}",
            value=mean,
            spread=error,
            goal="> 2 standard errors",
            holds=mean > 2 * error and mean > 0,
        )
    for name, begin, _ in times.phases:
        waits = [_recovery(row, name, times) for row in ours]
        mean, error = mean_and_error(waits)
        goal = None if name == "start" else 3 * times.turn
        yield Figure(
            name=f"queries until the value is near the best model's, after {name}",
            value=mean - begin,
            spread=error,
            goal=None if goal is None else f"≤ {goal}",
            holds=None if goal is None else mean - begin <= goal,
        )
    mean, error = mean_and_error([row["exploration"] for row in ours])
    yield Figure(name="cost of exploration, per query", value=mean, spread=error)
    bad = times.bad_batch + times.turn
    refused = [_at(row, bad)["refused"] for row in ours + by_arm["honest"]]
    published = [_at(row, bad)["published"] for row in ours + by_arm["honest"]]
    yield _share("bad batches refused", refused, 1.0)
    yield _share("bad batches published", published, 0.0)
    good = [turn["refused"] for row in ours + by_arm["honest"] for turn in row["turns"]
            if turn["at"] != bad]  # fmt: skip
    yield _share("good batches refused", good, None)
    found = [_found(row, times) for row in ours]
    mean, error = mean_and_error(found)
    yield Figure(
        name="queries until the poisoned key is quarantined",
        value=mean,
        spread=error,
        goal=f"≤ {2 * times.turn}",
        holds=max(found) <= 2 * times.turn,
    )
    lying = [LIAR in turn["quarantined"] for row in ours for turn in row["turns"]
             if turn["at"] >= times.lies + 2 * times.turn]  # fmt: skip
    yield _share("turns in which the poisoned key is quarantined", lying, None)
    honest = [key in turn["quarantined"] for row in by_arm["honest"] for turn in row["turns"]
              for key in KEYS]  # fmt: skip
    yield _share("turns in which an honest key is quarantined", honest, None)
    for arm, name in (("honest", "with a poisoned key, above without"),
                      ("credulous", "if all are believed, above")):  # fmt: skip
        other = {row["seed"]: row["regret"]["loop"] for row in by_arm[arm]}
        sign = 1 if arm == "honest" else -1
        differences = [sign * (row["regret"]["loop"] - other[row["seed"]]) for row in ours]
        mean, error = mean_and_error(differences)
        yield Figure(name=f"regret {name}", value=mean, spread=error)


def _share(name: str, values: list[bool], goal: float | None) -> Figure:
    value = float(np.mean(values))
    return Figure(
        name=name,
        value=value,
        goal=None if goal is None else f"= {goal:g}",
        holds=None if goal is None else value == goal,
    )


def _at(row: Row, at: int) -> Row:
    return next(turn for turn in row["turns"] if turn["at"] == at)


def _recovery(row: Row, phase: str, times: Times) -> float:
    """Return the turn in which the value is near the best model's; the end if it never is."""
    _, begin, end = next(each for each in times.phases if each[0] == phase)
    target = row["targets"][phase] - NEAR
    for turn in row["turns"]:
        if begin <= turn["at"] < end and turn["value"] is not None and turn["value"] >= target:
            return float(turn["at"])
    return float(end)


def _found(row: Row, times: Times) -> float:
    for turn in row["turns"]:
        if turn["at"] > times.lies and LIAR in turn["quarantined"]:
            return float(turn["at"] - times.lies)
    return float(times.end)


def _smooth(values: Floats, width: int) -> list[float]:
    return [round(float(block.mean()), 4) for block in np.split(values, len(values) // width)]


def plot(rows: list[Row], times: Times, path: Path) -> None:
    """Draw regret over the stream."""
    ours = [row for row in rows if row["arm"] == "poisoned"]
    with pyplot.rc_context(STYLE):
        figure, axis = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
        for name, colour in COLOURS.items():
            curves = np.array([row["curves"][name] for row in ours])
            at = (np.arange(curves.shape[1]) + 0.5) * times.turn
            mean = curves.mean(0)
            axis.plot(at, mean, color=colour, linewidth=1.8)
            if len(curves) > 1:
                error = curves.std(0, ddof=1) / len(curves) ** 0.5
                axis.fill_between(at, mean - error, mean + error, color=colour, alpha=0.2)
            axis.annotate(
                name, (at[-1], mean[-1]), xytext=(5, 0), textcoords="offset points",
                color=colour, va="center",
            )  # fmt: skip
        top = axis.get_ylim()[1]
        for at_event, what in (
            (times.lies, "a key lies"),
            (times.regression, "the best model\nregresses"),
            (times.arrival, "a better one\narrives"),
            (times.bad_batch, "bad\nbatch"),
            (times.shift, "topics\nshift"),
        ):
            axis.axvline(at_event, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
            axis.text(at_event, top, f" {what}", color=INK, va="top", fontsize=8)
        axis.set_xlabel("queries")
        axis.set_ylabel("regret against the clairvoyant")
        axis.set_xlim(0, times.end * 1.13)
        tidy(axis, axis="y")
        figure.savefig(path, dpi=160)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
