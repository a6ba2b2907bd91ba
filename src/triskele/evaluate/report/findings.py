"""All that a report says, computed: figures and rows, no markup."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triskele.evaluate.bradley_terry.counts import count_wins
from triskele.evaluate.clustering.ecc import EvidenceCalibratedClustering
from triskele.evaluate.columns import Floats, Integers
from triskele.evaluate.fitting import Step, silent
from triskele.evaluate.holdout import Holdout, hold_out
from triskele.evaluate.report.neighbours import Pair, splits_and_merges
from triskele.evaluate.report.projection import plane
from triskele.evaluate.sources import Source
from triskele.evaluate.standings import Leaderboard, global_leaderboard
from triskele.evaluate.storage import FittedModel
from triskele.evaluate.summaries import ClusterSummary, summarize
from triskele.evaluate.terms import example_queries

N_EXAMPLES, N_PAIRS = 4, 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Map:
    """Some queries on a plane."""

    rows: Integers
    """Which ones, (n,)."""
    points: Floats
    """Where, (n, 2), within [0, 1]²."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What there is to report."""

    source: Source
    models: tuple[str, ...]
    """In the order of ``counts``."""
    leaderboard: Leaderboard
    clusters: tuple[ClusterSummary, ...]
    """The largest first; one where queries do not differ."""
    labels: Integers
    """Cluster of each query, (n_queries,)."""
    suited: tuple[str, ...]
    """Model that suits each query best by its cluster, (n_queries,)."""
    counts: Floats
    """Comparisons of each pair of models, (n_models, n_models), by weight."""
    map: Map
    splits: tuple[Pair, ...]
    merges: tuple[Pair, ...]
    holdout: Holdout | None
    is_structured: bool
    """Whether queries differ, by more than chance, in which model suits them."""
    verdict: str
    """That, in a sentence."""


def findings_of(
    source: Source,
    model: FittedModel,
    X: NDArray[np.floating[Any]],
    *,
    verdict: str,
    map_queries: int,
    seed: int,
    step: Step = silent,
) -> Findings:
    """Find what there is to report.

    Parameters
    ----------
    source
        Queries and comparisons.
    model
        A fit of these or of earlier comparisons, of the same models.
    X
        Embeddings of the queries, (n_queries, n_features).
    verdict
        What the fit says of its own worth.
    map_queries
        Queries on the map at most.
    seed
        Of all that is drawn.
    step
        Hears what is being done.

    Raises
    ------
    ValueError
        If the fit does not know a model.
    """
    rng = np.random.default_rng(seed)
    ecc = model.ecc
    comparisons = source.comparisons.with_models(ecc.models_)
    responsibilities = ecc.predict_proba(X, comparisons=comparisons)
    labels = responsibilities.argmax(1)
    with step("ranking the models in every cluster"):
        leaderboard = global_leaderboard(comparisons)
        examples = example_queries(
            np.asarray(X - ecc.center_, X.dtype), labels, ecc.cluster_centers_, N_EXAMPLES
        )
        clusters = summarize(
            ecc, responsibilities, comparisons, terms=model.terms, examples=examples
        )
        counts = count_wins(comparisons)
    with step("predicting queries held out"):
        holdout = hold_out(ecc, X, comparisons, rng=rng)
    with step("drawing the map"):
        rows = np.sort(rng.permutation(len(X))[:map_queries])
        placed = Map(rows=rows, points=plane(np.asarray(X[rows]), seed=seed))
    splits, merges = _pairs(source, ecc, X, responsibilities, rng)
    return Findings(
        source=source,
        models=ecc.models_,
        leaderboard=leaderboard,
        clusters=clusters,
        labels=labels,
        suited=tuple(
            ecc.models_[place] for place in (responsibilities @ ecc.profiles_).argmax(1).tolist()
        ),
        counts=counts + counts.T,
        map=placed,
        splits=splits,
        merges=merges,
        holdout=holdout,
        is_structured=ecc.n_clusters_ > 1,
        verdict=verdict,
    )


def _pairs(
    source: Source,
    ecc: EvidenceCalibratedClustering,
    X: NDArray[np.floating[Any]],
    responsibilities: Floats,
    rng: np.random.Generator,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    if ecc.n_clusters_ < 2 or not any(source.texts):
        return (), ()
    return splits_and_merges(
        X,
        responsibilities @ ecc.profiles_,
        ecc.global_,
        np.unique(source.comparisons.query),
        source.texts,
        n_pairs=N_PAIRS,
        rng=rng,
    )
