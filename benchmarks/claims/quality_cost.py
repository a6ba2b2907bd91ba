"""Claim: routing by capability keeps the best model's quality at half its cost.

On four real score matrices: a fifth of the queries is held out and routed from their embeddings
alone, by capabilities learned from a few comparisons of each training query. Choosing the largest
quality − λ · price draws a curve of mean true score over mean cost, from always the cheapest model
to always the one expected to be best; measured are the area under it and the cost at which it
reaches the quality of the single model that was best in training. Two prices: dollars by list, and
parameters (models with open weights alone). A tenth of the training queries is set aside: their
scores say how capability is best turned into expected quality.

    python -m benchmarks.claims.quality_cost --data PATH          one seed, two sets; 20 s
    python -m benchmarks.claims.quality_cost --data PATH --full   five seeds, four sets; 30 min

PATH holds a folder per data set.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from benchmarks.evaluating import DATASETS, TEST_SHARE, dataset_of
from benchmarks.model_prices import list_prices, parameters
from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.style import INK, MUTED, STYLE, tidy
from triskele.evaluate import (
    Comparisons,
    CostCurve,
    EvidenceCalibratedClustering,
    cost_curve,
    expected_wins,
    sample_comparisons,
    split_queries,
)
from triskele.evaluate.baselines import (
    AverageCapability,
    EmbeddingClusters,
    GlobalBradleyTerry,
    LabelledBradleyTerry,
    LinearCapability,
    NeighbourBradleyTerry,
    comparison_only,
)
from triskele.evaluate.dataset import Dataset

Floats = NDArray[np.float64]
Row = dict[str, Any]
Forecast = Callable[[Floats], Floats]
OURS, PUBLISHED, GLOBAL, LABELS = "ECC (ours)", "ECC, published", "one ranking", "labels"
RANDOM, MIX, PERFECT = "random", "mix of single models", "perfect forecast"
KNOWN_NEAR, KNOWN_LINEAR = "scores known, neighbours", "scores known, linear"
BLEND = "ECC and embedding clusters"
AVERAGES = {"neighbours and linear": ("neighbours", "linear"), BLEND: (OURS, "embedding clusters")}
NO_RIVALS = (OURS, BLEND, PERFECT, KNOWN_NEAR, KNOWN_LINEAR)
"""The last three know what no router knows: the score of the query itself, or the scores of all
models on all training queries."""

COVERED = 0.99
"""Share of the queries that a model must have a score on to take part: where whole subjects are
missing, which models are offered would tell a router what the query is about."""
ASIDE = 0.1
FORM = "log odds"
"""What wins on the queries set aside, over all data sets; see the figures of the other forms."""
N_NEAR, RIDGE = 80, 30.0
Ties = Literal["drop", "half"]
HEADLINE: tuple[int, Ties] = (7, "drop")
EVIDENCE: tuple[tuple[int, Ties], ...] = ((2, "drop"), HEADLINE, (14, "drop"), (14, "half"))
PRICES = {"list price": list_prices, "parameters": parameters}
GOAL_COST = 50.0
GRID = np.linspace(0.0, 1.0, 501)
"""Shares of the best single model's price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Models for sale, and the true scores of the queries to be routed."""

    places: NDArray[np.int64]
    prices: Floats
    truth: Floats
    best: int
    """The single model with the highest mean score in training."""

    def curve(self, quality: Floats) -> CostCurve:
        """Return the curve of routing by an expected quality of all models."""
        return cost_curve(quality[:, self.places], self.prices, self.truth)


def main() -> None:
    """Route by every method, print one line per figure, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--full", action="store_true", help="five seeds, four sets, all evidence")
    parser.add_argument("--seeds", type=int, help="how many seeds")
    args = parser.parse_args()
    names = DATASETS if args.full else ("zeroeval", "wildbench")
    for name in names:
        if not (args.data / name).is_dir():
            parser.error(f"{args.data} holds no {name}")
    seeds = range(args.seeds or (5 if args.full else 1))
    evidence = EVIDENCE if args.full else (HEADLINE,)
    rows: list[Row] = []
    began = time.monotonic()
    for name in names:
        dataset = covered(dataset_of(name, args.data))
        for seed in seeds:
            for per_query, ties in evidence:
                rows.extend(run(name, dataset, seed=seed, per_query=per_query, ties=ties))
            print(f"{name}, seed {seed}: {(time.monotonic() - began) / 60:.1f} min", flush=True)
    drawn = averaged(rows)
    written = record(
        "quality_cost",
        list(figures_of(rows, names)),
        rows=drawn,
        seeds=list(seeds),
        directory=RESULTS if args.full else SHORT,
        notes="means over held-out queries; ± is the standard error over seeds, each with a split"
        " and comparisons of its own, of leads that of the paired difference; what is matched is"
        " the score of the model that was best in training, at a mean cost in per cent of its"
        " price, 100 if only by that model itself; 7 comparisons of models with different scores"
        " per training query unless said; areas are in points of score, from the cheapest to the"
        " dearest model",
    )
    plot(drawn, names, written.with_suffix(".png"))


def covered(dataset: Dataset) -> Dataset:
    """Return the data set without the models that lack a score on many queries."""
    assert dataset.scores is not None
    kept = np.flatnonzero((~np.isnan(dataset.scores)).mean(0) >= COVERED)
    models = tuple(dataset.models[place] for place in kept)
    # Scores from 1 to 10 become shares, so that points are points on every data set.
    scores = dataset.scores[:, kept] / max(1.0, float(np.nanmax(dataset.scores)))
    return replace(dataset, models=models, scores=scores, prices=None)


def run(name: str, dataset: Dataset, *, seed: int, per_query: int, ties: Ties) -> Iterator[Row]:
    """Fit every method on some evidence and yield what routing by each comes to."""
    assert dataset.scores is not None
    assert dataset.embeddings is not None
    rng = np.random.default_rng(seed)
    train, test = split_queries(dataset.n_queries, test_size=TEST_SHARE, rng=rng)
    fitted, aside = (train[part] for part in split_queries(len(train), test_size=ASIDE, rng=rng))
    evidence = sample_comparisons(
        dataset.scores[fitted], per_query=per_query, ties=ties, models=dataset.models, rng=rng
    )
    place = {"dataset": name, "seed": seed, "per_query": per_query, "ties": ties}
    is_headline = (per_query, ties) == HEADLINE
    of_test = offers(dataset, train, test)
    of_aside = offers(dataset, train, aside)
    for method, done, X in fitted_methods(dataset, fitted, evidence, seed):
        quality = done.capabilities(X[test])
        for price, offer in of_test.items():
            row = {**place, "price": price, "method": method, "form": FORM}
            yield row | measured(offer.curve(quality), offer)
            if not is_headline:
                continue
            ways = forms(done.capabilities(X[aside]), dataset.scores[aside], quality, seed)
            for form, checked, final in ways:
                yield {**row, "form": form} | {
                    "aside": _area(of_aside[price].curve(checked), of_aside[price]),
                    "held_out": _area(offer.curve(final), offer),
                }
    for price, offer in of_test.items():
        for method, curve in references(dataset, train, test, offer):
            yield {**place, "price": price, "method": method, "form": FORM} | measured(curve, offer)


def offers(dataset: Dataset, train: Any, asked: Any) -> dict[str, Offer]:
    """Return what is for sale at each kind of price."""
    assert dataset.scores is not None
    found = {}
    for kind, prices_of in PRICES.items():
        prices = prices_of(dataset.models)
        places = np.flatnonzero(~np.isnan(prices))
        found[kind] = Offer(
            places=places,
            prices=prices[places],
            truth=dataset.scores[np.ix_(asked, places)],
            best=int(np.nanmean(dataset.scores[np.ix_(train, places)], axis=0).argmax()),
        )
    return found


def fitted_methods(
    dataset: Dataset, rows: Any, evidence: Comparisons, seed: int
) -> Iterator[tuple[str, Any, Any]]:
    """Yield all methods, fitted, with what they know queries by."""
    methods: dict[str, Any] = {
        OURS: EvidenceCalibratedClustering(random_state=seed),
        GLOBAL: GlobalBradleyTerry(),
        "neighbours": NeighbourBradleyTerry(),
        "linear": LinearCapability(random_state=seed),
        **({LABELS: LabelledBradleyTerry()} if dataset.categories else {}),
        "embedding clusters": EmbeddingClusters(random_state=seed),
        "comparisons only": comparison_only(random_state=seed),
        PUBLISHED: EvidenceCalibratedClustering.published(random_state=seed),
    }
    for method, estimator in methods.items():
        X: Any = np.array(dataset.categories) if method == LABELS else dataset.embeddings
        yield method, estimator.fit(X[rows], comparisons=evidence), X
    X = dataset.embeddings
    for method, parts in AVERAGES.items():
        mean = AverageCapability([(part, FrozenEstimator(methods[part])) for part in parts])
        yield method, mean.fit(X[rows], comparisons=evidence), X


def forms(
    asked: Floats, truth: Floats, final: Floats, seed: int
) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield ways to make expected quality of capabilities, for queries set aside and held out.

    What is fitted to scores is fitted to one half of the queries set aside to be checked on the
    other, and to all of them for the held-out ones.
    """
    yield FORM, asked, final
    yield "expected wins", expected_wins(asked), expected_wins(final)
    is_first = np.random.default_rng(seed).permutation(len(asked)) < len(asked) // 2
    for form, learn in (("isotonic", isotonic), ("line per model", line_per_model)):
        checked = np.empty_like(asked)
        for half in (is_first, ~is_first):
            checked[~half] = learn(asked[half], truth[half])(asked[~half])
        yield form, checked, learn(asked, truth)(final)


def isotonic(capabilities: Floats, scores: Floats) -> Forecast:
    """Return one rising function of capability for all models, less its mean over a row."""
    known = ~np.isnan(scores)
    rise = IsotonicRegression(out_of_bounds="clip").fit(
        _centred(capabilities)[known], scores[known]
    )
    # A trace of capability breaks the ties of its steps.
    return lambda θ: rise.predict(_centred(θ).ravel()).reshape(θ.shape) + 1e-6 * _centred(θ)


def line_per_model(capabilities: Floats, scores: Floats) -> Forecast:
    """Return a model's mean score plus what its capability is above its mean, one slope for all."""
    known = ~np.isnan(scores)
    level = np.nanmean(scores, axis=0)
    mean = _centred(capabilities).mean(0)
    above = _centred(capabilities) - mean
    left = np.where(known, scores - level, 0.0)
    slope = float((above * left).sum() / max(float(np.square(above[known]).sum()), 1e-12))
    return lambda θ: level + slope * (_centred(θ) - mean)


def references(
    dataset: Dataset, train: Any, test: Any, offer: Offer
) -> Iterator[tuple[str, CostCurve]]:
    """Yield what needs no router, and what none can have."""
    assert dataset.scores is not None
    assert dataset.embeddings is not None
    mean = np.nanmean(offer.truth, axis=0)
    ends = [int(offer.prices.argmin()), offer.best]
    yield RANDOM, CostCurve(cost=offer.prices[ends], quality=mean[ends])
    yield MIX, CostCurve(cost=offer.prices, quality=mean)
    yield PERFECT, cost_curve(np.nan_to_num(offer.truth), offer.prices, offer.truth)
    seen = dataset.scores[np.ix_(train, offer.places)]
    seen = np.where(np.isnan(seen), np.nanmean(seen, axis=0), seen)
    X = dataset.embeddings.astype(np.float64)
    for method, model in (
        (KNOWN_NEAR, KNeighborsRegressor(N_NEAR)),
        (KNOWN_LINEAR, Ridge(RIDGE)),
    ):
        quality = model.fit(X[train], seen).predict(X[test])
        yield method, cost_curve(quality, offer.prices, offer.truth)


def measured(curve: CostCurve, offer: Offer) -> Row:
    """Return areas, and the curve as score above the best single model by share of its price."""
    price = float(offer.prices[offer.best])
    single = float(np.nanmean(offer.truth[:, offer.best]))
    return {
        "area": _area(curve, offer),
        "area_to_best": 100 * curve.area(float(offer.prices.min()), price),
        "best": 100 * float(curve.quality.max() - single),
        "curve": np.stack([curve.cost / price, 100 * (curve.quality - single)]),
    }


def _area(curve: CostCurve, offer: Offer) -> float:
    return 100 * curve.area(float(offer.prices.min()), float(offer.prices.max()))


def _centred(θ: Floats) -> Floats:
    return np.asarray(θ - θ.mean(1, keepdims=True))


def averaged(rows: list[Row]) -> list[Row]:
    """Return the rows of all seeds as one: of figures mean and error, of curves the mean."""
    alike: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    keys = ("dataset", "price", "per_query", "ties", "method", "form")
    for row in rows:
        alike[*(row[key] for key in keys), "aside" in row].append(row)
    found = []
    for place, its in alike.items():
        row = dict(zip(keys, place[:-1], strict=True))
        for key in its[0]:
            if key in keys or key in ("seed", "curve"):
                continue
            row[key] = [float(f"{value:.5g}") for value in mean_and_error([x[key] for x in its])]
        if "curve" in its[0] and (row["per_query"], row["ties"]) == HEADLINE:
            drawn = _mean_curve(np.array([x["curve"] for x in its])).mixed(GRID[::10])
            row["above"] = [round(float(value), 3) if value > -np.inf else None for value in drawn]
        found.append(row)
    return found


def figures_of(rows: list[Row], names: tuple[str, ...]) -> Iterator[Figure]:
    """Yield the figures of the claim."""
    for price in PRICES:
        costs = []
        for name in names:
            found = _cell(rows, name, price, *HEADLINE)
            cost, error = _matched(found[OURS])
            costs.append(cost)
            yield _cost(f"{name}, {price}: cost of the best single model's score", cost, error)
            for method in (KNOWN_NEAR, KNOWN_LINEAR):
                cost, error = _matched(found[method])
                yield Figure(
                    name=f"{name}, {price}: that cost, {method}",
                    value=cost,
                    spread=error,
                    unit=" %",
                )
        yield _cost(f"mean of all, {price}: cost of the best single model's score", np.mean(costs))
    for price in PRICES:
        for name in names:
            found = _cell(rows, name, price, *HEADLINE)
            lead, error, best, n_beaten, n_rivals = _lead(found, "area")
            yield Figure(
                name=f"{name}, {price}: area above the best other ({best})",
                value=lead,
                spread=error,
                unit=" points",
                goal="> one error",
                holds=lead > error,
            )
            yield Figure(
                name=f"{name}, {price}: others beaten by more than one error, of {n_rivals}",
                value=n_beaten,
            )
            lead, error, best, *_ = _lead(found, "area_to_best")
            yield Figure(
                name=f"{name}, {price}: area up to the best model's price, above {best}",
                value=lead,
                spread=error,
                unit=" points",
            )
        yield from _overall(rows, names, price)
    yield from _other_evidence(rows, names)
    yield from _forms(rows, names)


def _cost(name: str, value: Any, error: float | None = None) -> Figure:
    cost = float(value)
    holds = cost <= GOAL_COST
    goal = f"≤ {GOAL_COST:g} %"
    return Figure(name=name, value=cost, spread=error, unit=" %", goal=goal, holds=holds)


def _cell(
    rows: list[Row], name: str, price: str, per_query: int, ties: str
) -> dict[str, list[Row]]:
    """Return the rows of each method, in the order of the seeds."""
    wanted = {"dataset": name, "price": price, "per_query": per_query, "ties": ties}
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if "area" in row and all(row[key] == value for key, value in wanted.items()):
            found[row["method"]].append(row)
    return {method: sorted(its, key=lambda row: int(row["seed"])) for method, its in found.items()}


def _matched(its: list[Row]) -> tuple[float, float]:
    """Return the share of its price at which the best single model is matched, by all seeds.

    The trade is the same for all seeds, so that none is chosen for the luck of a split; the error
    is the jackknife's.
    """
    curves = np.array([row["curve"] for row in its])

    def share(of: Floats) -> float:
        reached = np.flatnonzero(_mean_curve(of).mixed(GRID) >= 0)
        return 100 * float(GRID[reached[0]]) if reached.size else 100.0

    n = len(curves)
    if n < 2:
        return share(curves), 0.0
    without = np.array([share(np.delete(curves, seed, axis=0)) for seed in range(n)])
    return share(curves), float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))


def _mean_curve(curves: Floats) -> CostCurve:
    """Return the mean over seeds at each trade of quality for price."""
    cost, quality = curves.mean(0)
    return CostCurve(cost=cost, quality=quality)


def _lead(found: dict[str, list[Row]], measure: str) -> tuple[float, float, str, int, int]:
    """Return by how much ours leads the best other, its error, and how many others it beats."""
    ours = np.array([row[measure] for row in found[OURS]])
    others = {
        method: np.array([row[measure] for row in its])
        for method, its in found.items()
        if method not in NO_RIVALS
    }
    leads = {m: mean_and_error((ours - values).tolist()) for m, values in others.items()}
    best = min(leads, key=lambda method: leads[method][0])
    n_beaten = sum(lead > error for lead, error in leads.values())
    return *leads[best], best, n_beaten, len(leads)


def _overall(rows: list[Row], names: tuple[str, ...], price: str) -> Iterator[Figure]:
    """Yield how much of what a perfect forecast gains over one ranking is gained, on average."""
    shares: dict[str, list[Floats]] = defaultdict(list)
    for name in names:
        found = _cell(rows, name, price, *HEADLINE)
        area = {method: np.array([row["area"] for row in its]) for method, its in found.items()}
        most = (area[PERFECT] - area[GLOBAL]).mean()
        for method, its in area.items():
            shares[method].append(100 * (its - area[GLOBAL]) / most)
    mean = {m: np.mean(its, axis=0) for m, its in shares.items() if len(its) == len(names)}
    others = {method: its for method, its in mean.items() if method not in NO_RIVALS}
    best = max(others, key=lambda method: float(others[method].mean()))
    for method in (OURS, best, BLEND, KNOWN_NEAR, KNOWN_LINEAR):
        value, error = mean_and_error(mean[method].tolist())
        yield Figure(
            name=f"mean of all, {price}: share of a perfect forecast's gain in area, {method}",
            value=value,
            spread=error,
            unit=" %",
        )
    lead, error = mean_and_error((mean[OURS] - others[best]).tolist())
    yield Figure(
        name=f"mean of all, {price}: that share above the best other on all sets ({best})",
        value=lead,
        spread=error,
        unit=" points",
        goal="> one error",
        holds=lead > error,
    )


def _other_evidence(rows: list[Row], names: tuple[str, ...]) -> Iterator[Figure]:
    """Yield matched cost and lead for other numbers of comparisons, and where ties are kept."""
    kinds = sorted({(row["per_query"], row["ties"]) for row in rows} - {HEADLINE})
    for per_query, ties in kinds:
        what = f"{per_query} comparisons{', ties kept' if ties == 'half' else ''}"
        for name in names:
            found = _cell(rows, name, "list price", per_query, ties)
            cost, error = _matched(found[OURS])
            yield Figure(
                name=f"{name}, {what}: cost of the best single model's score",
                value=cost,
                spread=error,
                unit=" %",
            )
            lead, error, best, *_ = _lead(found, "area")
            yield Figure(
                name=f"{name}, {what}: area above the best other ({best})",
                value=lead,
                spread=error,
                unit=" points",
            )


def _forms(rows: list[Row], names: tuple[str, ...]) -> Iterator[Figure]:
    """Yield what the other ways to make quality of capability gain, on queries set aside."""
    areas: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if "aside" in row and row["method"] == OURS and row["price"] == "list price":
            for which in ("aside", "held_out"):
                areas[row["dataset"], which][row["form"]].append(row[which])
    for which, where in (("aside", "set aside in training"), ("held_out", "held out")):
        for form in areas[names[0], which]:
            if form == FORM:
                continue
            gains = [
                np.mean(areas[name, which][form]) - np.mean(areas[name, which][FORM])
                for name in names
            ]
            yield Figure(
                name=f"mean of all, queries {where}: area of {form} above that of {FORM}",
                value=float(np.mean(gains)),
                unit=" points",
            )


def plot(rows: list[Row], names: tuple[str, ...], path: Path) -> None:
    """Draw the mean score above the best single model by share of its price."""
    drawn = {
        OURS: ("#b5473c", 2.2),
        LABELS: ("#2f6690", 1.2),
        "neighbours": ("#7fa8a0", 1.2),
        "embedding clusters": ("#c9952b", 1.2),
        "neighbours and linear": ("#9d8ec1", 1.2),
        KNOWN_NEAR: (INK, 0.9),
        MIX: ("#b9c0c7", 1.2),
    }
    curves = {
        (row["price"], row["dataset"], row["method"]): np.array(row["above"], np.float64)
        for row in rows
        if "above" in row
    }
    share = 100 * GRID[::10]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(PRICES), len(names), figsize=(2.8 * len(names), 5.6), sharex=True, squeeze=False
        )
        for line, price in zip(axes, PRICES, strict=True):
            for axis, name in zip(line, names, strict=True):
                seen = [0.0]
                for method, (color, width) in drawn.items():
                    if (price, name, method) not in curves:
                        continue
                    curve = curves[price, name, method]
                    style = ":" if method == KNOWN_NEAR else "-"
                    axis.plot(share, curve, style, color=color, lw=width, label=method)
                    seen.extend(curve[share >= 20])
                axis.axhline(0, color=MUTED, lw=0.8)
                axis.axvline(GOAL_COST, color=MUTED, lw=0.8, ls="--")
                low, high = max(np.nanmin(seen), -10.0), np.nanmax(seen)
                axis.set_ylim(low, high + 0.1 * (high - low))
                tidy(axis)
        for axis, name in zip(axes[0], names, strict=True):
            axis.set_title(name, fontsize=10)
        for line, price in zip(axes, PRICES, strict=True):
            line[0].set_ylabel(f"{price}\npoints above the best model")
        axes[-1, 0].set_xlabel("mean cost, % of the best model's")
        handles: dict[str, Any] = {}
        for axis in axes.flat:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        columns = min(4, len(names))
        figure.legend(
            handles.values(), handles.keys(), loc="lower center", ncols=columns, frameon=False
        )
        figure.suptitle("Mean score of routed queries, 7 comparisons per training query")
        figure.tight_layout(rect=(0, 0.14 if columns < 4 else 0.09, 1, 1))
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
