"""Claim: to decide model and worker together gives more quality at every latency.

A simulated fleet of three models on four workers each serves questions whose true scores are known:
Qwen2.5-7B on H100, QwQ-32B on H200 and Qwen2.5-72B on two H200. What each model is worth for a
question is learned from two scored answers to each of 3,000 others, and published as a capability
table; prices are parameters. Within each model's workers LBGR chooses. What differs is which model:

- quality only: the best by the table;
- latency only: the one whose workers answer soonest, by LBGR;
- sequential, margin: the cheapest within a margin of the best, whatever there is to do;
- sequential, tolls: quality less a fixed toll on each model, such that the workers of neither
  larger model get more than a share of what they can do. It is the best of the rules that do not
  look at queues, and has to be told the load and what every worker can do;
- joint, by margin: the fastest within a margin of the best, by LBGR;
- joint, own seconds: the largest quality − weight · the seconds that it takes itself;
- joint: the largest quality − weight · the seconds that it costs everyone, by LBGR;
- joint, with prices: the same less a tenth of the price, that of the dearest being 1.

Each draws a frontier of mean true score over the 95th percentile of latency.

    python -m benchmarks.claims.joint --data PATH          one seed, one load; 25 s
    python -m benchmarks.claims.joint --data PATH --full   five seeds, four loads; 15 min

PATH holds a folder per data set.
"""

import argparse
import multiprocessing
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray
from scipy.optimize import linprog

from benchmarks.evaluating import dataset_of
from benchmarks.model_prices import parameters
from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.serving import BATCH, workers_evict
from benchmarks.style import INK, MUTED, STYLE, tidy
from triskele.evaluate import split_queries
from triskele.loop.evidence import Gathering
from triskele.loop.fitting import FitConfig, fit
from triskele.serve.cache import PrefixCache, least_recently_used
from triskele.serve.cache.named import EVICTIONS
from triskele.serve.routing import LearnedGreedy, Outcome, Request, Worker
from triskele.serve.routing.capability import CapabilityRouter, Preference
from triskele.serve.routing.capability_table import CapabilityTable
from triskele.serve.simulate import COSTS, Batching, CostModel, Fleet, Job, simulate
from triskele.serve.simulate.arrivals import arrival_times
from triskele.serve.simulate.prompts import Prompts, jobs

Floats = NDArray[np.float64]
Row = dict[str, Any]
DATA = "openllm_lb2"
MODELS = ("Qwen/Qwen2.5-7B-Instruct", "Qwen/QwQ-32B-Preview", "Qwen/Qwen2.5-72B-Instruct")
HARDWARE = (
    COSTS["llama-8b-h100"],
    # 31.2 G linear parameters on one H200, by the roofline that llama-70b-2xh200 is made of.
    CostModel(0.135, 15.9, 2.0, 2.8e-6, 6.4e-5, 236_000),
    COSTS["llama-70b-2xh200"],
)
N_EACH = 4
"""Workers of a model."""
CHUNK = 2048
"""Tokens of an iteration: answers go on while prompts are read."""
EVICTION = "lru"
TEST_SHARE, N_TRAIN, N_ANSWERS = 0.3, 3_000, 2
N_JOBS, PAGE = 2_000, 64
WARM_UP = 0.1
"""Share of the requests that come first and are not counted."""
QUALITY, LATENCY = "quality only", "latency only"
MARGIN, TOLLS = "sequential, margin", "sequential, tolls"
JOINT_MARGIN, OWN, JOINT = "joint, by margin", "joint, own seconds", "joint"
PRICED = "joint, with prices"
PRICE = 0.1
RIVALS = {
    "quality only, latency only and by margin": (QUALITY, LATENCY, MARGIN),
    "these and tolls": (QUALITY, LATENCY, MARGIN, TOLLS),
}
"""What the joint frontier has to dominate; the other joint rules are shown beside it."""
MARGINS = (0.13, 0.16, 0.18, 0.2, 1.0)
WEIGHTS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0, 10.0)
UTILISATIONS = (0.1, 0.3, 0.5, 0.65, 0.8, 0.95, 1.2, 2.0, 3.5)
"""Most that the workers of a larger model get of what they can do; the smallest takes the rest."""
SETTINGS: dict[str, tuple[float, ...]] = {
    QUALITY: (0.0,),
    LATENCY: (0.0,),
    MARGIN: MARGINS,
    TOLLS: UTILISATIONS,
    JOINT_MARGIN: (0.03, 0.16, 0.19, 1.0),
    OWN: (0.003, 0.01, 0.03, 0.3),
    PRICED: (0.003, 0.01, 0.03),
    JOINT: WEIGHTS,
}
LOADS, SHORT_LOADS = (0.3, 0.6, 0.9, 1.1), (0.6,)
SHORT_SETTINGS: dict[str, tuple[float, ...]] = {
    QUALITY: (0.0,),
    LATENCY: (0.0,),
    MARGIN: (0.16, 0.2, 1.0),
    TOLLS: (0.65, 0.9),
    JOINT: (0.001, 0.01, 0.1, 1.0),
}
N_LEVELS = 40
"""Latencies at which frontiers are compared."""
NOISE = 2.0
"""Standard errors that a difference has to have to count."""


@dataclass(frozen=True, slots=True)
class Case:
    """One simulation: a rule and its setting, at a load, one seed of it."""

    rule: str
    setting: float
    load: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Questions:
    """Questions as a workload: each subject has instructions and examples that its prompts share.

    Attributes
    ----------
    subject
        Of each question, an index into ``subjects``.
    rate
        Requests per second.
    seed
        Of arrivals and lengths, which are the same at every rate.
    """

    subject: NDArray[np.int64]
    subjects: tuple[str, ...]
    seed: int
    rate: float = 1.0
    page_size: int = PAGE

    @property
    def n_jobs(self) -> int:
        """How many questions there are."""
        return len(self.subject)

    def arrivals(self) -> Iterator[Job]:
        """Yield the questions in order; a job's id is its place in it."""
        rng = np.random.default_rng([self.seed, 11])
        n_jobs, n_subjects = self.n_jobs, len(self.subjects)
        at = arrival_times(n_jobs, np.random.default_rng([self.seed, 12]), rate=self.rate)
        n_shared = _lengths(1024, 0.4, n_subjects, rng)[self.subject]
        answers = _lengths(100, 0.4, n_subjects, rng)[self.subject]
        n_own = _lengths(1500, 0.8, n_jobs, rng)
        ids = np.arange(n_jobs)
        prompts = Prompts(
            ids=ids,
            at=at,
            shared=self.subject,
            n_shared=n_shared,
            own=n_subjects + ids,
            n_prompt=n_shared + n_own,
            n_output=np.maximum(1, answers * _lengths(1000, 0.6, n_jobs, rng) // 1000),
        )
        for job, subject in zip(jobs(prompts, page_size=self.page_size), self.subject, strict=True):
            yield replace(job, kind=self.subjects[subject])

    def follow_up(self, job: Job, now: float) -> Job | None:
        """Return ``None``: no question waits for another."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What one seed asks.

    Attributes
    ----------
    embeddings, truth
        Of each question, and the true score of each model on it.
    rates
        Questions per second that the workers of each model can answer.
    practice
        Expected quality on questions of training: what tolls are set by.
    """

    table: CapabilityTable
    questions: Questions
    embeddings: NDArray[np.float32]
    truth: Floats
    rates: Floats
    practice: Floats


class Desk:
    """Decides the model of a request, and lets LBGR choose among its workers."""

    def __init__(self, case: Case, world: World) -> None:
        self._case, self._world = case, world
        mirrored = partial(EVICTIONS[EVICTION], rng=random.Random(f"{case.seed}, mirrors"))
        self._pools = {name: LearnedGreedy(page_size=PAGE, eviction=mirrored) for name in MODELS}
        self._router = CapabilityRouter(np.random.default_rng(case.seed))
        table, self._preference = world.table, _preference(case)
        if case.rule == LATENCY:
            self._table = None
        elif case.rule == TOLLS:
            # A toll is a price, and a weight of the dearest is what it is paid in.
            tolls = tolls_of(world.practice, world.rates, case.load, case.setting)
            self._table = replace(table, prices=_in_order(tolls, table).astype(np.float32))
            self._preference = replace(self._preference, price=float(tolls.max()))
        else:
            self._table = table
        self._models: dict[int, str] = {}

    def choose(self, request: Request, workers: Sequence[Worker], now: float) -> Worker:
        """Return a worker of the model decided for."""
        of = {name: _workers_of(name, tuple(workers)) for name in MODELS}
        latency = burden = None
        if self._case.rule in (LATENCY, JOINT_MARGIN, OWN, PRICED, JOINT):
            latency = {m: pool.expect(request, of[m], now) for m, pool in self._pools.items()}
        if self._case.rule in (PRICED, JOINT):
            burden = {m: pool.burden(request, of[m], now) for m, pool in self._pools.items()}
        decision = self._router.decide(
            self._table,
            self._world.embeddings[request.id],
            MODELS,
            latency=latency,
            burden=burden,
            preference=self._preference,
        )
        self._models[request.id] = decision.model
        return self._pools[decision.model].choose(request, of[decision.model], now)

    def observe(self, outcome: Outcome, now: float) -> None:
        """Tell the pool that has it."""
        self._pools[self._models[outcome.request_id]].observe(outcome, now)


def main() -> None:
    """Serve by every rule, print one line per figure, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--full", action="store_true", help="five seeds, four loads, all settings")
    parser.add_argument("--seeds", type=int, help="how many seeds")
    parser.add_argument("--processes", type=int, default=2, help="simulations at once")
    args = parser.parse_args()
    if not (args.data / DATA).is_dir():
        parser.error(f"{args.data} holds no {DATA}")
    seeds = range(args.seeds or (5 if args.full else 1))
    loads = LOADS if args.full else SHORT_LOADS
    settings = SETTINGS if args.full else SHORT_SETTINGS
    cases = [
        Case(rule, setting, load, seed)
        for seed in seeds
        for load in loads
        for rule, values in settings.items()
        for setting in values
    ]
    rows: list[Row] = []
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for row in pool.imap(partial(run, data=args.data), cases):
            rows.append(row)
            if len(rows) % 20 == 0 or len(rows) == len(cases):
                minutes = (time.monotonic() - began) / 60
                print(f"{len(rows)} of {len(cases)} runs, {minutes:.1f} min", flush=True)
    write(rows, RESULTS if args.full else SHORT)


def write(rows: Sequence[Row], directory: Path) -> None:
    """Print a line per figure, write JSON and plot."""
    drawn = averaged(rows)
    path = record(
        "joint",
        list(figures_of(rows)),
        rows=[*drawn, *rows],
        seeds=sorted({row["seed"] for row in rows}),
        directory=directory,
        notes=f"{DATA}, {len(MODELS)} models on {N_EACH} simulated workers each, {N_JOBS} questions"
        " a run; ± is the standard error over seeds, of leads that of the paired difference; a load"
        " of 1 is what all workers together could do; a frontier is the highest mean score for at"
        " most a 95th percentile of latency, between settings that are neighbours on it straight"
        " over the logarithm of seconds; areas are in points of score above the smallest model,"
        " mean over the logarithm of seconds from the fastest rule to quality only",
    )
    plot(drawn, path.with_suffix(".png"))


def run(case: Case, data: Path) -> Row:
    """Simulate one case."""
    world = world_of(case.seed, data)
    questions = replace(world.questions, rate=case.load * float(world.rates.sum()))
    fleet = Fleet(
        costs=[cost for cost in HARDWARE for _ in range(N_EACH)],
        eviction=workers_evict(EVICTION, case.seed),
        batching=Batching(n_tokens=CHUNK),
    )
    result = simulate(questions, Desk(case, world), fleet)
    assert result.is_finished.all()
    counted = result["id"] >= WARM_UP * N_JOBS
    place = result["id"][counted].astype(int)
    model = result["worker"][counted].astype(int) // N_EACH
    latency = (result["finished"] - result["arrived"])[counted]
    price = parameters(MODELS) / parameters(MODELS).max()
    return {
        "rule": case.rule,
        "setting": case.setting,
        "load": case.load,
        "seed": case.seed,
        "score": round(100 * float(world.truth[place, model].mean()), 3),
        "p95": round(float(np.percentile(latency, 95)), 3),
        "p50": round(float(np.median(latency)), 3),
        "mean": round(float(latency.mean()), 3),
        "price": round(100 * float(price[model].mean()), 2),
        "shares": np.round(np.bincount(model, minlength=3) / len(model), 3).tolist(),
        "smallest": round(100 * float(world.truth[place, 0].mean()), 3),
    }


@lru_cache(maxsize=2)
def world_of(seed: int, data: Path) -> World:
    """Return the questions of a seed, and a table made of other questions."""
    dataset = dataset_of(DATA, data)
    assert dataset.scores is not None
    assert dataset.embeddings is not None
    assert dataset.categories is not None
    scores = dataset.scores[:, [dataset.models.index(name) for name in MODELS]]
    rng = np.random.default_rng([seed, 10])
    train, test = split_queries(dataset.n_queries, test_size=TEST_SHARE, rng=rng)
    train = rng.choice(train, N_TRAIN, replace=False)
    gathering = Gathering()
    for number, query in enumerate(train):
        for place in rng.permutation(len(MODELS))[:N_ANSWERS]:
            gathering.score(
                str(number),
                MODELS[place],
                float(scores[query, place]),
                answered=0.0,
                arrived=0.0,
                source="scores",
            )
    evidence = gathering.evidence()
    table = fit(
        np.asarray(dataset.embeddings[train], np.float64),
        evidence,
        np.ones(len(evidence)),
        config=FitConfig(folds=2),
        embedder="from the data",
        prices=dict(zip(MODELS, parameters(MODELS).tolist(), strict=True)),
        rng=rng,
    ).table
    asked = rng.choice(test, N_JOBS, replace=False)
    subjects, subject = np.unique(np.array(dataset.categories)[asked], return_inverse=True)
    questions = Questions(subject=subject, subjects=tuple(subjects.tolist()), seed=seed)
    quality = np.stack([table.quality(dataset.embeddings[query]) for query in train[:1000]])
    return World(
        table=table,
        questions=questions,
        embeddings=np.asarray(dataset.embeddings[asked], np.float32),
        truth=np.asarray(scores[asked], np.float64),
        rates=full_rates(questions),
        practice=quality[:, [table.models.index(name) for name in MODELS]].astype(np.float64),
    )


def full_rates(questions: Questions) -> Floats:
    """Return the questions per second that the workers of each model can answer.

    As if they had one cache, never idled, and read the weights for so many answers at once.
    """
    asked = list(questions.arrivals())
    rates = []
    for cost in HARDWARE:
        held = PrefixCache(N_EACH * cost.kv_tokens // PAGE, least_recently_used())
        work = 0.0
        for job in asked:
            n_cached = min(held.match(job.key).n_pages * PAGE, job.n_prompt - 1)
            held.insert(job.key_after)
            per_token = max(cost.token, cost.weights / BATCH) + cost.cache * job.n_prompt
            work += cost.prompt_seconds(job.n_prompt, n_cached)
            work += 1e-3 * per_token * (job.n_output - 1)
        rates.append(N_EACH * len(asked) / work)
    return np.array(rates)


def tolls_of(quality: Floats, rates: Floats, load: float, utilisation: float) -> Floats:
    """Return what keeps the workers of all models but the first within a share of what they can do.

    The shadow prices of the linear program that shares questions out for the most quality in all:
    no choice that does not look at queues has more for the same shares.
    """
    n_questions, n_models = quality.shape
    share = utilisation * rates / (load * rates.sum())
    share[0] = 1.0
    within = np.tile(np.eye(n_models), n_questions) / n_questions
    each = np.repeat(np.eye(n_questions), n_models, axis=1)
    solved = linprog(
        -quality.ravel(), A_ub=within, b_ub=share, A_eq=each, b_eq=np.ones(n_questions)
    )
    return np.maximum(-solved.ineqlin.marginals / n_questions, 0.0)


def averaged(rows: Sequence[Row]) -> list[Row]:
    """Return mean and error over seeds of each setting of each rule at each load."""
    alike: dict[tuple[str, float, float], list[Row]] = defaultdict(list)
    for row in rows:
        alike[row["rule"], row["setting"], row["load"]].append(row)
    return [
        {"part": "mean", "rule": rule, "setting": setting, "load": load}
        | {
            name: [float(f"{x:.5g}") for x in mean_and_error([row[name] for row in its])]
            for name in ("score", "p95", "p50", "mean", "price", "smallest")
        }
        for (rule, setting, load), its in alike.items()
    ]


def figures_of(rows: Sequence[Row]) -> Iterator[Figure]:
    """Yield the figures of the claim: over all loads with their goals, and of each load."""
    loads = sorted({row["load"] for row in rows})
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    rivals = {rule: (rule,) for rule in rules if rule not in (PRICED, JOINT)}
    rivals |= {f"the best of {names}": among for names, among in RIVALS.items()}
    of_load = {load: [row for row in rows if row["load"] == load] for load in loads}
    areas_of = {load: areas(here, [JOINT]) for load, here in of_load.items()}
    leads = {
        rival: [
            [a - b for a, b in zip(areas_of[load], areas(of_load[load], among), strict=True)]
            for load in loads
        ]
        for rival, among in rivals.items()
    }
    for rival, its in leads.items():
        value, error = mean_and_error(np.mean(its, axis=0).tolist())
        yield Figure(
            name=f"all loads: area above {rival}",
            value=value,
            spread=error,
            unit=" points",
            goal="> two errors",
            holds=value > NOISE * error,
        )
    for names, among in RIVALS.items():
        yield from _domination(of_load, names, among)
    for place, load in enumerate(loads):
        value, error = mean_and_error(areas_of[load])
        yield Figure(name=f"load {load:g}: area", value=value, spread=error, unit=" points")
        for rival, its in leads.items():
            value, error = mean_and_error(its[place])
            name = f"load {load:g}: area above {rival}"
            yield Figure(name=name, value=value, spread=error, unit=" points")
        if PRICED in rules:
            yield from _prices(of_load[load], load)
    yield from _at_quality(rows, loads)


def levels_of(rows: Sequence[Row], seed: int, *, fastest: float = 0.0) -> Floats:
    """Return the latencies at which the frontiers of a seed are compared, in seconds.

    They end where quality only is.
    """
    its = [row for row in rows if row["seed"] == seed]
    first = max(fastest, min(row["p95"] for row in its))
    last = next(row["p95"] for row in its if row["rule"] == QUALITY)
    return np.geomspace(first, last, N_LEVELS)


def frontier(rows: Sequence[Row], levels: Floats) -> Floats:
    """Return the highest score for at most each latency; −∞ where nothing is as fast."""
    points = sorted((row["p95"], -row["score"]) for row in rows)
    best: list[tuple[float, float]] = []
    for seconds, worse in points:
        if not best or -worse > best[-1][1]:
            best.append((seconds, -worse))
    seconds, score = np.array(best).T
    return np.interp(np.log(levels), np.log(seconds), score, left=-np.inf)


def highest(rows: Sequence[Row], rules: Sequence[str], seed: int, levels: Floats) -> Floats:
    """Return the highest of the frontiers of some rules in one seed."""
    its = [[row for row in rows if (row["seed"], row["rule"]) == (seed, rule)] for rule in rules]
    return np.max([frontier(one, levels) for one in its], axis=0)


def areas(rows: Sequence[Row], rules: Sequence[str]) -> list[float]:
    """Return the area under the highest frontier of some rules, of each seed."""
    floors = {row["seed"]: row["smallest"] for row in rows}
    return [
        float(np.maximum(highest(rows, rules, seed, levels_of(rows, seed)) - floor, 0.0).mean())
        for seed, floor in floors.items()
    ]


def _domination(
    of_load: Mapping[float, Sequence[Row]], names: str, rivals: Sequence[str]
) -> Iterator[Figure]:
    """Yield where the joint frontier is below the best of some others, and where it is above."""
    n_below, n_above = [], []
    details: list[Figure] = []
    for load, rows in of_load.items():
        leads, slower = _leads(rows, rivals)
        lead, error = np.array([mean_and_error(at) for at in zip(*leads, strict=True)]).T
        n_below.append(int((lead < -NOISE * error).sum()))
        n_above.append(int((lead > NOISE * error).sum()))
        name = f"load {load:g}, {names}"
        for what, number in (("below", n_below[-1]), ("above", n_above[-1])):
            details.append(
                Figure(
                    name=f"{name}: latencies at which the joint frontier is {what}",
                    value=number,
                    unit=f" of {N_LEVELS}",
                )
            )
        for what, at in (("least", int(lead.argmin())), ("largest", int(lead.argmax()))):
            details.append(
                Figure(
                    name=f"{name}: {what} lead at any latency",
                    value=float(lead[at]),
                    spread=float(error[at]),
                    unit=" points",
                )
            )
        value, spread = mean_and_error(slower)
        details.append(
            Figure(
                name=f"{name}: fastest joint P95 above theirs",
                value=value,
                spread=spread,
                unit=" %",
            )
        )
    yield Figure(
        name=f"{names}: latencies at which the joint frontier is below",
        value=sum(n_below),
        unit=f" of {N_LEVELS * len(of_load)}",
        goal="0",
        holds=not any(n_below),
    )
    yield Figure(
        name=f"{names}: latencies at which it is above",
        value=sum(n_above),
        unit=f" of {N_LEVELS * len(of_load)}",
        goal="> 0 at every load",
        holds=all(n_above),
    )
    yield from details


def _leads(rows: Sequence[Row], rivals: Sequence[str]) -> tuple[list[list[float]], list[float]]:
    """Return the lead of the joint frontier of each seed, and how much later it begins, in %.

    From where both have begun.
    """
    leads, later = [], []
    for seed in sorted({row["seed"] for row in rows}):
        its = [row for row in rows if row["seed"] == seed]
        mine = min(row["p95"] for row in its if row["rule"] == JOINT)
        theirs = min(row["p95"] for row in its if row["rule"] in rivals)
        later.append(100 * (mine / theirs - 1))
        levels = levels_of(rows, seed, fastest=max(mine, theirs))
        ours = highest(rows, [JOINT], seed, levels)
        leads.append((ours - highest(rows, rivals, seed, levels)).tolist())
    return leads, later


def _prices(rows: Sequence[Row], load: float) -> Iterator[Figure]:
    """Yield what a weight on prices saves, at the same weights of seconds."""
    for what, unit in (("price", " % of the largest model's"), ("score", " points")):
        changes = []
        for seed in sorted({row["seed"] for row in rows}):
            means = [
                np.mean(
                    [
                        row[what]
                        for row in rows
                        if (row["seed"], row["rule"]) == (seed, rule)
                        and row["setting"] in SETTINGS[PRICED]
                    ]
                )
                for rule in (PRICED, JOINT)
            ]
            changes.append(float(means[0] - means[1]))
        value, error = mean_and_error(changes)
        yield Figure(
            name=f"load {load:g}: mean {what} with prices above that without",
            value=value,
            spread=error,
            unit=unit,
        )


def _at_quality(rows: Sequence[Row], loads: Sequence[float]) -> Iterator[Figure]:
    """Yield how much sooner the joint rule answers at the score that a sequential one has."""
    for load in loads:
        here = [row for row in rows if row["load"] == load]
        seeds = sorted({row["seed"] for row in here})
        for rival in (MARGIN, TOLLS):
            ratios = []
            for seed in seeds:
                mine = [r for r in here if (r["rule"], r["seed"]) == (JOINT, seed)]
                its = [r for r in here if (r["rule"], r["seed"]) == (rival, seed)]
                # Halfway from the smallest model to the best that the rival comes to.
                target = (its[0]["smallest"] + max(r["score"] for r in its)) / 2
                ratios.append(np.log(_seconds_for(mine, target) / _seconds_for(its, target)))
            value, error = mean_and_error(ratios)
            yield Figure(
                name=f"load {load:g}: P95 at half the score {rival} gains, share of its",
                value=100 * float(np.exp(value)),
                spread=100 * float(np.exp(value)) * error,
                unit=" %",
            )


def _seconds_for(rows: Sequence[Row], score: float) -> float:
    """Return the least latency of a frontier for a score."""
    points = sorted((row["p95"], row["score"]) for row in rows)
    levels = np.geomspace(points[0][0], points[-1][0], 2001)
    reached = np.flatnonzero(frontier(rows, levels) >= score)
    return float(levels[reached[0]]) if reached.size else float(points[-1][0])


@cache
def _workers_of(name: str, workers: tuple[Worker, ...]) -> tuple[Worker, ...]:
    """Return the same tuple every time: that is how routers notice that nothing has changed."""
    at = N_EACH * MODELS.index(name)
    return workers[at : at + N_EACH]


def _preference(case: Case) -> Preference:
    own_rules = {
        QUALITY: Preference(margin=0.0, price=0.0),
        LATENCY: Preference(),
        MARGIN: Preference(margin=case.setting if case.rule == MARGIN else 0.0),
        TOLLS: Preference(margin=1.0, quality=1.0),
        JOINT_MARGIN: Preference(
            margin=case.setting if case.rule == JOINT_MARGIN else 0.0, price=0.0, latency=1.0
        ),
    }
    price = PRICE if case.rule == PRICED else 0.0
    together = Preference(margin=1.0, quality=1.0, price=price, latency=case.setting)
    return own_rules.get(case.rule, together)


def _in_order(values: Floats, table: CapabilityTable) -> Floats:
    """Return values of ``MODELS`` in the order of the table's models."""
    return np.array([values[MODELS.index(name)] for name in table.models])


def _lengths(mean: float, spread: float, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    drawn = rng.lognormal(np.log(mean) - spread**2 / 2, spread, n)
    return np.rint(drawn).clip(1, None).astype(np.int64)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw mean score over the 95th percentile of latency, a panel per load."""
    looks = {
        QUALITY: (INK, "D", "none"),
        LATENCY: (MUTED, "s", "none"),
        MARGIN: ("#7fa8a0", "o", "-"),
        TOLLS: ("#2f6690", "o", "-"),
        JOINT_MARGIN: ("#c9952b", ".", ":"),
        OWN: ("#9d8ec1", ".", ":"),
        JOINT: ("#b5473c", "o", "-"),
    }
    loads = sorted({row["load"] for row in rows})
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            1, len(loads), figsize=(3.4 * len(loads), 4.0), sharey=True, squeeze=False
        )
        for axis, load in zip(axes[0], loads, strict=True):
            for rule, (color, marker, line) in looks.items():
                its = [r for r in rows if (r["rule"], r["load"]) == (rule, load)]
                if not its:
                    continue
                its.sort(key=lambda row: row["setting"])
                p95 = np.array([row["p95"][0] for row in its])
                score = np.array([row["score"][0] for row in its])
                width = 2.0 if rule == JOINT else 1.1
                axis.plot(
                    p95, score, color=color, marker=marker, ls=line, lw=width, ms=4, label=rule
                )
            axis.set(xscale="log", xlabel="95th percentile of latency, s")
            axis.set_xticks([3, 5, 10, 20, 50, 100], ["3", "5", "10", "20", "50", "100"])
            axis.minorticks_off()
            axis.set_title(f"load {load:g}", loc="left", fontsize=10)
            tidy(axis)
        axes[0, 0].set_ylabel("mean true score, %")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
        figure.tight_layout(rect=(0, 0.13, 1, 1))
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
