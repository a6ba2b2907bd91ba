"""From evidence to a capability table.

Where there are enough queries it is evidence-calibrated clustering, distilled; that finds one
ranking of all queries if they do not differ in which model suits them. Where there are few it is
that ranking at once. Log odds are those against par; without any score, those against a model of
the mean strength.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from triskele.evaluate import BradleyTerry, Comparisons, EvidenceCalibratedClustering
from triskele.loop.distillation import distil
from triskele.loop.evidence import Evidence, Floats
from triskele.serve.routing.capability_table import CapabilityTable, table_of

QUERIES_PER_CLUSTER = 20
"""K is the root of the number of compared queries divided by this."""
FEWEST, MOST = 2, 30
UNKNOWN_PRICE = 1.0
"""Of a model of which nobody says what it costs, where nothing is known of the others either."""

Fit = Callable[[Floats, Evidence, Floats], "Fitted"]
"""Makes a table of embeddings, (n_queries, n_features), evidence, and a weight of each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How a table is made of evidence."""

    fewest_queries: int = 60
    """Compared queries below which there is one ranking for all."""
    landmarks: int = 300
    """Points by which the table tells queries apart."""
    kinds: int | None = None
    """Kinds of queries to look for; about √(queries / 20), from 2 to 30, if not given."""
    folds: int = 4
    """Parts in which queries are held out to learn what kinds are worth."""

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted."""
        if self.landmarks < 1 or self.folds < 2 or (self.kinds is not None and self.kinds < 1):
            raise ValueError(f"expected landmarks, kinds and at least two folds, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A table that is not published, and what it was made of.

    Attributes
    ----------
    table
        Version 0.
    is_structured
        Whether queries differ in which model suits them.
    error
        Of the distillation, in quality.
    """

    table: CapabilityTable
    is_structured: bool
    error: float


def fit(
    x: Floats,
    evidence: Evidence,
    weight: Floats,
    *,
    config: FitConfig,
    embedder: str,
    prices: Mapping[str, float],
    rng: np.random.Generator,
) -> Fitted:
    """Make a table.

    Parameters
    ----------
    x
        Embeddings of the queries, (n_queries, n_features).
    evidence
        Of at least one model.
    weight
        Of each row, (n,).
    config
        How.
    embedder
        Name of what made the embeddings.
    prices
        Of models.
    rng
        Chooses starts, folds and landmarks.

    Raises
    ------
    ValueError
        If nothing has any weight.
    """
    if not weight.any():
        raise ValueError("expected evidence of some weight, got none")
    known = evidence.weighted(weight).take(weight > 0)
    compared = np.unique(known.query)
    known, x = known.of_queries(compared), x[compared]
    is_scored = bool((known.model_a == evidence.par).any())
    if len(compared) < config.fewest_queries:
        strength = BradleyTerry(intervals=None).fit(known).theta_
        bias, odds = _against_par(strength, is_scored), None
    else:
        bias, odds = _clustered(x, known, is_scored, config, rng)
    models = evidence.models
    price = priced(models, prices)
    if odds is None:
        table = table_of(models, prices=price, bias=bias, embedder=embedder)
        return Fitted(table=table, is_structured=False, error=0.0)
    found = distil(x, odds, bias_M=bias, n_landmarks=config.landmarks, rng=rng)
    table = table_of(
        models,
        prices=price,
        bias=bias,
        points=found.points_LD,
        gamma=found.gamma,
        weights=found.weights_LM,
        embedder=embedder,
    )
    return Fitted(table=table, is_structured=True, error=found.error)


def priced(models: Sequence[str], prices: Mapping[str, float]) -> list[float]:
    """Return what each model costs; one of unknown price costs as much as the dearest."""
    dearest = max(prices.values(), default=UNKNOWN_PRICE)
    return [prices.get(name, dearest) for name in models]


def _clustered(
    x: Floats,
    known: Comparisons,
    is_scored: bool,
    config: FitConfig,
    rng: np.random.Generator,
) -> tuple[Floats, Floats | None]:
    """Return log odds overall, and on each query if queries differ."""
    kinds = config.kinds
    if kinds is None:
        kinds = int(np.clip(round((len(x) / QUERIES_PER_CLUSTER) ** 0.5), FEWEST, MOST))
    seed = int(rng.integers(1 << 31))
    ecc = EvidenceCalibratedClustering(kinds, n_folds=config.folds, random_state=seed)
    # Single precision is enough for embeddings, and twice as fast.
    x32 = x.astype(np.float32)
    ecc.fit(x32, comparisons=known)
    odds = _against_par(ecc.capabilities(x32), is_scored)
    bias = _against_par(ecc.global_, is_scored)
    calibration = ecc.calibration_
    if calibration is not None and not any(calibration.weights[1:4]):
        # One ranking, of which calibration may have taken something.
        return odds[0], None
    return bias, odds


def _against_par(strength: Floats, is_scored: bool) -> Floats:
    """Return log odds against par, the last column; against the mean if nothing was scored."""
    real = strength[..., :-1]
    against = strength[..., -1:] if is_scored else real.mean(-1, keepdims=True)
    return np.asarray(real - against)
