"""Claim: evidence-calibrated clustering ranks the models of a query better than anything else here.

On four real data sets, for 2, 4, 7 and 14 comparisons per training query, and for 0, 1 and 3
comparisons of the held-out query that are shown: the share of its other comparisons that are
predicted rightly and their log-loss, in the plain protocol and where what is asked shares no model
with what is shown. With right-or-wrong scores a comparison that is shown decides every other one of
its two models; methods that cannot know are therefore also run with the two rules that do
(deduction, and Plackett–Luce for graded scores). Further: the mean score of the model that each
held-out query is sent to, and where a model left out stands after 100 comparisons.

    python -m benchmarks.claims.ranking_gain --data PATH            one seed, 7 per query; 3 minutes
    python -m benchmarks.claims.ranking_gain --data PATH --full     five seeds; 40 minutes

PATH holds a folder per data set.
"""

import argparse
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from scipy.special import expit
from sklearn.frozen import FrozenEstimator

from benchmarks.evaluating import (
    DATASETS,
    Split,
    calibration_error,
    dataset_of,
    figures,
    split,
)
from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.style import MUTED, STYLE, tidy
from triskele.evaluate import Comparisons, EvidenceCalibratedClustering, Onboarding
from triskele.evaluate.baselines import (
    AverageCapability,
    EmbeddingClusters,
    GlobalBradleyTerry,
    LabelledBradleyTerry,
    LinearCapability,
    NeighbourBradleyTerry,
    WithProbes,
    comparison_only,
)
from triskele.evaluate.onboarding import median_opponent
from triskele.evaluate.routing import choose

OURS, PUBLISHED, GLOBAL = "ECC (ours)", "ECC, published", "one ranking"
LABELS = "labelled categories"
PER_QUERY, SHOWN = (2, 4, 7, 14), (0, 1, 3)
RULES = {"deduction": "deduction", "Plackett–Luce": "plackett-luce"}
STRICT = ("mmlupro", "openllm_lb2", "zeroeval")
GOAL_POINTS = 4.0
GOAL_CALIBRATION = 2.0
N_ONBOARDED, BUDGET, BATCH = 3, 100, 10
Row = dict[str, Any]


def main() -> None:
    """Run every method, print one line per figure, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--full", action="store_true", help="five seeds, four budgets")
    parser.add_argument("--seeds", type=int, help="how many seeds")
    parser.add_argument("--processes", type=int, default=2, help="jobs at a time")
    args = parser.parse_args()
    for name in DATASETS:
        if not (args.data / name).is_dir():
            parser.error(f"{args.data} holds no {name}")
    seeds = range(args.seeds or (5 if args.full else 1))
    budgets = PER_QUERY if args.full else (7,)
    jobs = [(name, seed, n) for name in DATASETS for seed in seeds for n in budgets]
    rows: list[Row] = []
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        results = pool.imap_unordered(partial(run, data=args.data), jobs)
        for n_done, found in enumerate(results, 1):
            rows.extend(found)
            minutes = (time.monotonic() - began) / 60
            print(f"{n_done} of {len(jobs)} fits, {minutes:.1f} min", flush=True)
    rows.sort(key=lambda row: [str(value) for value in row.values()])
    written = record(
        "ranking_gain",
        list(figures_of(rows)),
        rows=averaged(rows),
        seeds=list(seeds),
        directory=RESULTS if args.full else SHORT,
        notes="means over held-out queries; ± is the standard error over seeds, each with a split"
        " and comparisons of its own; a cell is a data set, a number of comparisons per training"
        " query, a number shown, and a protocol; within noise means one standard error of the"
        " paired difference",
    )
    plot(rows, written.with_suffix(".png"))


def averaged(rows: list[Row]) -> list[Row]:
    """Return the rows of all seeds as one, each figure as its mean and standard error."""
    measured = ("accuracy", "loss", "calibration", "score", "seconds")
    alike: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        place = {key: value for key, value in row.items() if key not in (*measured, "seed")}
        alike[tuple(place.items())].append(row)
    return [
        dict(place)
        | {
            key: [float(f"{value:.5g}") for value in mean_and_error([row[key] for row in its])]
            for key in measured
            if key in its[0]
        }
        for place, its in alike.items()
    ]


def run(job: tuple[str, int, int], data: Path) -> list[Row]:
    """Fit every method once and ask it everything."""
    name, seed, per_query = job
    dataset = dataset_of(name, data)
    given = split(dataset, per_query=per_query, seed=seed)
    assert dataset.embeddings is not None
    rows: list[Row] = []
    for method, estimator in methods(dataset.categories is not None, seed).items():
        X: Any = dataset.embeddings
        if method == LABELS:
            X = np.array(dataset.categories)
        began = time.perf_counter()
        fitted = estimator.fit(X[given.train], comparisons=given.evidence)
        seconds = time.perf_counter() - began
        place = {"dataset": name, "seed": seed, "per_query": per_query}
        rows.extend(
            {**place, **row, "seconds": round(seconds, 2)}
            for row in asked(method, fitted, X[given.test], given)
        )
        if per_query == 7:
            rows.append({**place, **routed(method, fitted, X[given.test], given)})
    if per_query == 7:
        place = {"dataset": name, "seed": seed}
        rows.extend({**place, **row} for row in onboarded(given, seed))
    return rows


def methods(labelled: bool, seed: int) -> dict[str, Any]:
    """Return all methods, not fitted."""
    simple: dict[str, Any] = {
        GLOBAL: GlobalBradleyTerry(),
        "neighbours": NeighbourBradleyTerry(),
        "linear": LinearCapability(random_state=seed),
    }
    both = [(name, simple[name]) for name in ("neighbours", "linear")]
    return {
        **simple,
        "neighbours and linear": AverageCapability(both),
        **({LABELS: LabelledBradleyTerry()} if labelled else {}),
        "embedding clusters": EmbeddingClusters(random_state=seed),
        "comparisons only": comparison_only(random_state=seed),
        PUBLISHED: EvidenceCalibratedClustering.published(random_state=seed),
        OURS: EvidenceCalibratedClustering(random_state=seed),
    }


def asked(method: str, fitted: Any, X: Any, given: Split) -> Iterator[Row]:
    """Yield how good a method's predictions are, for each number shown and each protocol."""
    knows = method in (OURS, PUBLISHED, "comparisons only")
    told = {method: fitted}
    if not knows:
        told |= {
            f"{method}, {name}": WithProbes(FrozenEstimator(fitted), rule=rule).fit(
                X, comparisons=given.probes
            )
            for name, rule in RULES.items()
        }
    for n_shown in SHOWN:
        shown = given.shown(n_shown)
        protocols = {"plain": np.ones(len(given.asked), np.bool_)}
        if n_shown:
            protocols["disjoint"] = given.disjoint(shown)
        for name, estimator in told.items():
            if name != method and not n_shown:
                continue
            chance = estimator.predict_pairwise(X, given.asked, comparisons=shown)
            for protocol, kept in protocols.items():
                accuracy, loss = figures(given.asked, chance, kept)
                error = calibration_error(given.asked.take(kept), chance[kept])
                yield {
                    "method": name,
                    "shown": n_shown,
                    "protocol": protocol,
                    "accuracy": round(accuracy, 3),
                    "loss": round(loss, 5),
                    "calibration": round(error, 3),
                }


def routed(method: str, fitted: Any, X: Any, given: Split) -> Row:
    """Return the mean score of the model that each query is sent to, nothing being shown."""
    scores = given.dataset.scores
    assert scores is not None
    true = scores[given.test]
    places = [given.dataset.models.index(model) for model in fitted.models_]
    true = true[:, places]
    chosen = choose(fitted.capabilities(X), allowed=~np.isnan(true))
    value = float(true[np.arange(len(true)), chosen].mean())
    return {"method": method, "protocol": "routing", "score": round(value, 5)}


def onboarded(given: Split, seed: int) -> Iterator[Row]:
    """Yield what is known of models left out after some comparisons, by who chose these."""
    dataset, rng = given.dataset, np.random.default_rng([seed, 1])
    assert dataset.scores is not None
    assert dataset.embeddings is not None
    known_well = np.flatnonzero(~np.isnan(dataset.scores).any(0))
    for new in rng.choice(known_well, N_ONBOARDED, replace=False).tolist():
        others = np.delete(np.arange(dataset.n_models), new)
        is_old = (given.evidence.model_a != new) & (given.evidence.model_b != new)
        names = tuple(dataset.models[other] for other in others)
        old = given.evidence.take(is_old)
        number = np.searchsorted(others, np.column_stack([old.model_a, old.model_b]))
        evidence = Comparisons.from_arrays(
            old.query,
            number[:, 0],
            number[:, 1],
            old.outcome,
            models=names,
            n_queries=len(given.train),
        )
        X = dataset.embeddings
        ecc = EvidenceCalibratedClustering(random_state=seed).fit(
            X[given.train], comparisons=evidence
        )
        truth = dataset.scores[given.test]
        lead = truth[:, [new]] - truth[:, others]
        query, opponent = np.nonzero(~np.isnan(lead) & (lead != 0))
        won = lead[query, opponent] > 0
        θ = ecc.capabilities(X[given.test])
        θ -= θ.mean(1, keepdims=True)
        for rule in ("ours", "median of the query", "median of all"):
            fitted = _interview(ecc, given, X, new=new, others=others, rule=rule, rng=rng)
            mean, deviation = fitted.capabilities(X[given.test])
            scale = np.sqrt(1 + np.pi / 8 * np.square(deviation))
            p = expit(((mean[:, None] - θ) / scale[:, None])[query, opponent])
            p = p.clip(1e-6, 1 - 1e-6)
            yield {
                "method": rule,
                "protocol": "onboarding",
                "model": dataset.models[new],
                "accuracy": round(100 * float(((p > 0.5) == won).mean()), 3),
                "loss": round(float(-np.log(np.where(won, p, 1 - p)).mean()), 5),
            }


def _interview(
    ecc: EvidenceCalibratedClustering,
    given: Split,
    X: Any,
    *,
    new: int,
    others: Any,
    rule: str,
    rng: np.random.Generator,
) -> Onboarding:
    """Ask about a new model until the budget of comparisons that are no ties is spent."""
    assert given.dataset.scores is not None
    scores = given.dataset.scores[given.train]
    # A model with only its own profile, as published, where the rule is the published one.
    is_ours = rule == "ours"
    talk = Onboarding(ecc, X[given.train], name="new", n_factors=8 if is_ours else 0)
    models = (*talk.models, "new")
    median = median_opponent(ecc.capabilities(X[given.train]))
    of_all = int(median_opponent(ecc.global_[None])[0])
    place = {name: index for index, name in enumerate(talk.models)}
    answers: list[tuple[int, int, float]] = []
    spent: list[int] = []
    while len(answers) < BUDGET and len(spent) + BATCH <= len(given.train):
        if is_ours:
            asked_before = _comparisons(
                [(query, 0, 0.5) for query in spent], models, len(given.train)
            )
            questions = [
                (question.query, place[question.opponent])
                for question in talk.suggest(BATCH, asked=asked_before)
            ]
        else:
            left = np.setdiff1d(np.arange(len(given.train)), spent)
            drawn = rng.choice(left, BATCH, replace=False).tolist()
            questions = [
                (query, of_all if rule == "median of all" else int(median[query]))
                for query in drawn
            ]
        for query, opponent in questions:
            spent.append(query)
            lead = scores[query, new] - scores[query, others[opponent]]
            if not np.isnan(lead) and lead != 0 and len(answers) < BUDGET:
                answers.append((query, opponent, float(lead > 0)))
        talk.fit(_comparisons(answers, models, len(given.train)))
    return talk


def _comparisons(
    answers: list[tuple[int, int, float]], models: tuple[str, ...], n_queries: int
) -> Comparisons:
    query = [answer[0] for answer in answers]
    opponent = [answer[1] for answer in answers]
    outcome = [answer[2] for answer in answers]
    new = [len(models) - 1] * len(answers)
    return Comparisons.from_arrays(
        query, opponent, new, outcome, models=models, n_queries=n_queries
    )


def figures_of(rows: list[Row]) -> Iterator[Figure]:
    """Yield the figures of the claim."""
    cells = _cells(rows)
    for name in DATASETS:
        of_set = {cell: found for cell, found in cells.items() if cell[0] == name}
        for measure, sign in (("accuracy", 1), ("loss", -1)):
            leads = [_lead(found, measure, sign) for found in of_set.values()]
            near = float(np.mean([lead >= -error for lead, error in leads]))
            best = float(np.mean([lead > 0 for lead, _ in leads]))
            yield _share(f"{name}: best or within noise, {measure}", near, 1.0)
            yield _share(f"{name}: best, {measure}", best, 1.0 if name in STRICT else None)
        over_global = [_over(found, GLOBAL, "accuracy") for found in of_set.values()]
        yield Figure(
            name=f"{name}: least accuracy above one ranking",
            value=min(over_global),
            unit=" points",
            goal="≥ 0",
            holds=min(over_global) >= 0,
        )
        over_published = [_over(found, PUBLISHED, "accuracy") for found in of_set.values()]
        yield Figure(
            name=f"{name}: mean accuracy above the published method",
            value=float(np.mean(over_published)),
            spread=float(np.std(over_published)),
            unit=" points",
            goal=f"≥ {GOAL_POINTS:g}",
            holds=float(np.mean(over_published)) >= GOAL_POINTS,
        )
        errors = [
            float(np.mean([row["calibration"] for row in found[OURS]])) for found in of_set.values()
        ]
        yield Figure(
            name=f"{name}: worst calibration error",
            value=max(errors),
            unit=" %",
            goal=f"≤ {GOAL_CALIBRATION:g} %",
            holds=max(errors) <= GOAL_CALIBRATION,
        )
        yield from _routing(rows, name)
        yield from _onboarding(rows, name)


def _cells(rows: list[Row]) -> dict[tuple[Any, ...], dict[str, list[Row]]]:
    """Return the rows of each cell by method, in the order of the seeds."""
    cells: dict[tuple[Any, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        if row["protocol"] in ("plain", "disjoint"):
            cell = (row["dataset"], row["per_query"], row["shown"], row["protocol"])
            cells[cell][row["method"]].append(row)
    return cells


def _lead(found: dict[str, list[Row]], measure: str, sign: int) -> tuple[float, float]:
    """Return by how much ours leads the best of the others, and the error of that."""
    ours = np.array([row[measure] for row in found[OURS]])
    others = {
        method: np.array([row[measure] for row in its])
        for method, its in found.items()
        if method != OURS
    }
    best = max(others.values(), key=lambda values: sign * float(values.mean()))
    return mean_and_error((sign * (ours - best)).tolist())


def _over(found: dict[str, list[Row]], method: str, measure: str) -> float:
    ours, other = found[OURS], found[method]
    return float(np.mean([a[measure] - b[measure] for a, b in zip(ours, other, strict=True)]))


def _share(name: str, value: float, goal: float | None) -> Figure:
    return Figure(
        name=name,
        value=100 * value,
        unit=" % of cells",
        goal=None if goal is None else f"≥ {100 * goal:g} %",
        holds=None if goal is None else value >= goal,
    )


def _routing(rows: list[Row], name: str) -> Iterator[Figure]:
    scores: dict[str, list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        if row["protocol"] == "routing" and row["dataset"] == name:
            scores[row["method"]].append(row["score"])
    others = {method: values for method, values in scores.items() if method != OURS}
    best = max(others, key=lambda method: float(np.mean(others[method])))
    lead, error = mean_and_error((np.array(scores[OURS]) - np.array(scores[best])).tolist())
    yield Figure(
        name=f"{name}: routing, mean score above the best other ({best})",
        value=lead,
        spread=error,
        goal="≥ 0 within noise",
        holds=lead >= -error,
    )


def _onboarding(rows: list[Row], name: str) -> Iterator[Figure]:
    losses: dict[str, dict[tuple[int, str], float]] = defaultdict(dict)
    for row in rows:
        if row["protocol"] == "onboarding" and row["dataset"] == name:
            losses[row["method"]][row["seed"], row["model"]] = row["loss"]
    ours = losses["ours"]
    for rule in ("median of the query", "median of all"):
        gain, error = mean_and_error([losses[rule][key] / ours[key] - 1 for key in ours])
        yield Figure(
            name=f"{name}: onboarding, log-loss of the {rule} over ours",
            value=100 * gain,
            spread=100 * error,
            unit=" %",
            goal="≥ 0 %",
            holds=gain >= 0,
        )


def plot(rows: list[Row], path: Path) -> None:
    """Draw the accuracy above one ranking, by number of comparisons shown."""
    drawn = {
        OURS: "#b5473c",
        PUBLISHED: "#c9952b",
        f"{GLOBAL}, deduction": "#2f6690",
        f"{GLOBAL}, Plackett–Luce": "#7fa8a0",
        "neighbours and linear, deduction": "#9d8ec1",
        "neighbours and linear": "#cfc7e2",
        "comparisons only": "#b9c0c7",
    }
    cells = _cells(rows)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(2, len(DATASETS), figsize=(11, 5.2), sharex=True)
        for column, name in enumerate(DATASETS):
            for axis, protocol in zip(axes[:, column], ("plain", "disjoint"), strict=True):
                for method, color in drawn.items():
                    points = []
                    for shown in SHOWN:
                        of_shown = protocol if shown else "plain"
                        found = cells.get((name, 7, shown, of_shown), {})
                        if method in found:
                            points.append((shown, _above(found, method)))
                    if points:
                        x, y = zip(*points, strict=True)
                        axis.plot(x, y, marker="o", ms=3.5, color=color, label=method)
                axis.axhline(0, color=MUTED, lw=0.8)
                axis.set_xticks(SHOWN)
                tidy(axis)
            axes[0, column].set_title(name, fontsize=10)
        axes[0, 0].set_ylabel("all that is asked")
        axes[1, 0].set_ylabel("no model in common\nwith what is shown")
        axes[1, 0].set_xlabel("comparisons shown of the query")
        handles: dict[str, Any] = {}
        for axis in axes.flat:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=4, frameon=False)
        figure.suptitle("Accuracy above one ranking for all queries, in points", fontsize=11)
        figure.tight_layout(rect=(0, 0.09, 1, 1))
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def _above(found: dict[str, list[Row]], method: str) -> float:
    values, base = found[method], found[GLOBAL]
    return float(
        np.mean([a["accuracy"] - b["accuracy"] for a, b in zip(values, base, strict=True)])
    )


if __name__ == "__main__":
    main()
