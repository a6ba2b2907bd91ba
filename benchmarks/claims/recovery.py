"""Claim: planted clusters are found again, so are their rankings; intervals hold their promise.

Queries of four kinds, each with a capability profile of its own; embeddings that tell the kinds
apart more or less well (signal: distance of the centres over the noise); 1 to 16 comparisons per
query. How well the partition agrees with the kinds (adjusted Rand index), how well the ranking of
each kind is found (Kendall's τ, of the profiles of the clusters that its queries are in), and how
often the 90 % interval of a model's strength in its cluster holds the true one.

    python -m benchmarks.claims.recovery            three seeds; 1 minute
    python -m benchmarks.claims.recovery --full     twenty seeds; 10 minutes
"""

import argparse
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from scipy.special import expit
from scipy.stats import kendalltau
from sklearn.metrics import adjusted_rand_score

from benchmarks.record import RESULTS, SHORT, Figure, mean_and_error, record
from benchmarks.style import STYLE, tidy
from triskele.evaluate import Comparisons, EvidenceCalibratedClustering
from triskele.evaluate.standings import shrunk_leaderboard

N_QUERIES, N_MODELS, N_FEATURES, N_KINDS = 3_000, 12, 32, 4
SHARES = {"equal": (0.25,) * 4, "55/25/15/5": (0.55, 0.25, 0.15, 0.05)}
SPREAD = 1.0
"""Standard deviation of a kind's profile around the common one."""
PER_QUERY, SIGNALS = (1, 2, 4, 8, 16), (0.35, 1.0)
N_STARTS = 4
LEVEL, LEAST, MOST = 0.9, 0.85, 0.95
GOAL_RAND = 0.9
Row = dict[str, Any]


def main() -> None:
    """Plant and recover, print one line per figure, write JSON and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="twenty seeds")
    parser.add_argument("--processes", type=int, default=2, help="jobs at a time")
    args = parser.parse_args()
    seeds = range(20 if args.full else 3)
    jobs = [
        (shares, signal, per_query, seed)
        for shares in SHARES
        for signal in SIGNALS
        for per_query in PER_QUERY
        for seed in seeds
    ]
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        rows = []
        for n_done, row in enumerate(pool.imap(run, jobs), 1):
            rows.append(row)
            if n_done % 20 == 0:
                print(f"{n_done} of {len(jobs)}", flush=True)
    written = record(
        "recovery",
        list(figures_of(rows)),
        rows=rows,
        seeds=list(seeds),
        directory=RESULTS if args.full else SHORT,
        notes=f"{N_QUERIES} queries of {N_KINDS} kinds, {N_MODELS} models, {N_FEATURES} dimensions;"
        f" best of {N_STARTS} starts; ± is the standard error over seeds; intervals are of"
        " strengths less their mean",
    )
    plot(rows, written.with_suffix(".png"))


def run(job: tuple[str, float, int, int]) -> Row:
    """Plant clusters and look for them."""
    shares, signal, per_query, seed = job
    rng = np.random.default_rng([seed, per_query, int(100 * signal), len(shares)])
    kind = rng.choice(N_KINDS, N_QUERIES, p=SHARES[shares])
    centre = rng.standard_normal((N_KINDS, N_FEATURES))
    X = signal * centre[kind] + rng.standard_normal((N_QUERIES, N_FEATURES))
    profile = rng.standard_normal(N_MODELS) + SPREAD * rng.standard_normal((N_KINDS, N_MODELS))
    query = np.repeat(np.arange(N_QUERIES), per_query)
    a = rng.integers(N_MODELS, size=len(query))
    b = (a + rng.integers(1, N_MODELS, size=len(query))) % N_MODELS
    lead = profile[kind[query], b] - profile[kind[query], a]
    votes = Comparisons.from_arrays(
        query,
        a,
        b,
        (rng.random(len(query)) < expit(lead)).astype(np.float64),
        models=[f"model {number}" for number in range(N_MODELS)],
        n_queries=N_QUERIES,
    )
    # Embeddings here are no texts: the cosine's weight is that of this noise.
    ecc = EvidenceCalibratedClustering(
        N_KINDS, ridge=1 / SPREAD**2, n_init=N_STARTS, temperature=1.0, random_state=seed
    ).fit(X, comparisons=votes)
    agreement, size, held = [], [], []
    for cluster in range(ecc.n_clusters_):
        of_cluster = ecc.responsibilities_[:, cluster]
        members = kind[ecc.labels_ == cluster]
        if not len(members):
            continue
        true = profile[np.bincount(members, minlength=N_KINDS).argmax()]
        agreement.append(float(kendalltau(ecc.profiles_[cluster], true).statistic))
        size.append(len(members))
        weighed = replace(votes, weight=of_cluster[votes.query])
        board = shrunk_leaderboard(weighed, prior=ecc.global_, ridge=1 / SPREAD**2)
        place = {line.model: line for line in board.lines}
        lines = [place[model] for model in votes.models]
        relative = true - true.mean()
        held += [
            line.lower <= value <= line.upper for line, value in zip(lines, relative, strict=True)
        ]
    return {
        "shares": shares,
        "signal": signal,
        "per_query": per_query,
        "seed": seed,
        "clusters": ecc.n_clusters_,
        "rand": round(float(adjusted_rand_score(kind, ecc.labels_)), 4),
        "tau": round(float(np.average(agreement, weights=size)), 4),
        "held": round(float(np.mean(held)), 4),
    }


def figures_of(rows: list[Row]) -> Iterator[Figure]:
    """Yield the figures of the claim."""
    for shares in SHARES:
        for signal in SIGNALS:
            at = [row for row in rows if row["shares"] == shares and row["signal"] == signal]
            where = f"{shares}, signal {signal:g}"
            for per_query in (PER_QUERY[1], PER_QUERY[3]):
                some = [row for row in at if row["per_query"] == per_query]
                rand, error = mean_and_error([row["rand"] for row in some])
                is_claimed = signal == 1.0 and per_query == PER_QUERY[3]
                yield Figure(
                    name=f"adjusted Rand index, {where}, {per_query} comparisons",
                    value=rand,
                    spread=error,
                    goal=f"≥ {GOAL_RAND:g}" if is_claimed else None,
                    holds=rand >= GOAL_RAND if is_claimed else None,
                )
                tau, error = mean_and_error([row["tau"] for row in some])
                name = f"Kendall's τ, {where}, {per_query} comparisons"
                yield Figure(name=name, value=tau, spread=error)
    for shares in SHARES:
        for signal in SIGNALS:
            some = [
                row["held"] for row in rows if (row["shares"], row["signal"]) == (shares, signal)
            ]
            held, error = mean_and_error(some)
            yield Figure(
                name=f"coverage of 90 % intervals, {shares}, signal {signal:g}",
                value=100 * held,
                spread=100 * error,
                unit=" %",
                goal=f"{100 * LEAST:g} to {100 * MOST:g} %",
                holds=LEAST <= held <= MOST,
            )


def plot(rows: list[Row], path: Path) -> None:
    """Draw agreement, ranking and coverage by comparisons per query."""
    colors = ("#b5473c", "#c9952b", "#2f6690", "#7fa8a0")
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 3, figsize=(10, 3.6))
        names = ("adjusted Rand index", "Kendall's τ", "coverage of 90 % intervals")
        for axis, key, name in zip(axes, ("rand", "tau", "held"), names, strict=True):
            cases = [(shares, signal) for shares in SHARES for signal in SIGNALS]
            for color, (shares, signal) in zip(colors, cases, strict=True):
                means = [
                    np.mean(
                        [
                            row[key]
                            for row in rows
                            if (row["shares"], row["signal"], row["per_query"])
                            == (shares, signal, per_query)
                        ]
                    )
                    for per_query in PER_QUERY
                ]
                label = f"{shares}, signal {signal:g}"
                axis.semilogx(PER_QUERY, means, "o-", base=2, ms=4, color=color, label=label)
            axis.set_xticks(PER_QUERY, [str(value) for value in PER_QUERY])
            axis.set_xlabel("comparisons per query")
            axis.set_title(name, fontsize=10)
            tidy(axis)
        axes[2].axhspan(LEAST, MOST, color="#e3e6e9", zorder=0)
        labels = axes[0].get_legend_handles_labels()
        figure.legend(*labels, loc="lower center", ncols=len(cases), frameon=False)
        figure.tight_layout(rect=(0, 0.08, 1, 1))
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


if __name__ == "__main__":
    main()
